"""`GET /v1/grant?pod=UID`: the waiting init container of a pod with shared devices asks whether it may go on.

Plain HTTP from the pods of this node, tenants' included, so everything is bounded: connections in all and per
address, the head of a request, the time it may take. A grant is no secret and opens nothing by itself. Whoever asks
for a pod that is not known waits like the others: the pod may not have been seen yet.
"""

import asyncio
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import structlog

from stoker.wire.cluster import GRANT_PATH, GRANT_WAIT_S

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 512
"""More than the pods of a node: 110 by default, 256 in large clusters."""
MAX_PER_ADDRESS = 8
_HEAD_BYTES = 4096
_HEAD_S = 5.0
_TEXTS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


class Grants:
    """Which pods may go on, and who waits for that."""

    def __init__(self) -> None:
        self._granted: set[str] = set()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def grant(self, uid: str) -> None:
        """The pod may use its devices. Twice is fine."""
        self._granted.add(uid)
        for waiter in self._waiting.pop(uid, ()):
            if not waiter.done():
                waiter.set_result(None)

    def forget(self, uid: str) -> None:
        """The pod is gone, or may not use them any more. Those who wait go on waiting, and time out."""
        self._granted.discard(uid)

    def granted(self, uid: str) -> bool:
        return uid in self._granted

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(waiters) for waiters in self._waiting.values())

    async def wait(self, uid: str, wait_s: float) -> bool:
        """Whether the pod is granted, at once or within the time."""
        if uid in self._granted:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, set()).add(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiters = self._waiting.get(uid)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[uid]
        return True


class GrantListener:
    """The port. One request per connection."""

    def __init__(
        self,
        grants: Grants,
        *,
        wait_s: float = GRANT_WAIT_S,
        max_connections: int = MAX_CONNECTIONS,
        max_per_address: int = MAX_PER_ADDRESS,
    ) -> None:
        self._grants = grants
        self._wait_s = wait_s
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Hang up on all who wait: they ask again, the next agent perhaps."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        full = len(self._tasks) >= self._max_connections or self._addresses[address] >= self._max_per_address
        if full:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._addresses[address] += 1
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        uid = _asked_for(head)
        if isinstance(uid, int):
            status = uid
        else:
            status = await self._answer(uid, reader)
        writer.write(
            f"HTTP/1.1 {status} {_TEXTS[status]}\r\nconnection: close\r\n".encode()
            + (b"" if status == 204 else b"content-length: 0\r\n")
            + b"\r\n"
        )
        async with asyncio.timeout(_HEAD_S):
            await writer.drain()

    async def _answer(self, uid: str, reader: asyncio.StreamReader) -> int:
        """200 or 204; ends early when the pod hangs up."""
        waiting = asyncio.ensure_future(self._grants.wait(uid, self._wait_s))
        hang_up = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({waiting, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ConnectionResetError
            return 200 if waiting.result() else 204
        finally:
            waiting.cancel()
            hang_up.cancel()


def _asked_for(head: bytes) -> str | int:
    """The uid that a request asks for, or the status that refuses it."""
    try:
        method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        url = urlsplit(target)
        uids = parse_qs(url.query, strict_parsing=bool(url.query), max_num_fields=4).get("pod", [])
    except ValueError:
        return 400
    if not version.startswith("HTTP/1."):
        return 400
    if method != "GET" or url.path != GRANT_PATH or len(uids) != 1:
        return 404
    return uids[0]
