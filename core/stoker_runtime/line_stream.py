"""A stream of JSON lines from another process, dialled and dialled again: what the load, replica and demand streams
have in common.

Says every line, and says once when nothing was heard for too long. Knows nothing of what the lines mean, but that a
reader who cannot make sense of one (ValueError) wants the stream from its beginning.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from ssl import SSLContext

import structlog

from stoker.wire.cluster import STALE_S
from stoker_runtime.background import Background
from stoker_runtime.http_client import BadAnswer, ConnectFailed, ConnectionLost, HttpPool, request_head

FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 1.0
MAX_LINE_BYTES = 16 * 2**20
"""A whole snapshot of very many functions fits; an endless line does not."""

log = structlog.get_logger(__name__)


class LineStream:
    """`start()`, then `on_line` with every line until `await stop()`.

    `on_lost` is called when no line came for `stale_s` since the last one or since start(), once per outage; the
    dialling goes on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        *,
        ssl: SSLContext | None,
        server_hostname: str | None,
        on_line: Callable[[bytes], None],
        on_lost: Callable[[], None],
        stale_s: float = STALE_S,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self.peer = f"{host}:{port}"
        self.lost = True
        """Nothing was heard for `stale_s`, or nothing yet."""
        self._path = path
        # No connection is kept: an endless stream must never be taken for one that may be used again.
        self._pool = HttpPool(host, port, ssl=ssl, server_hostname=server_hostname, max_idle=0)
        self._on_line = on_line
        self._on_lost = on_lost
        self._stale_s = stale_s
        self._max_line_bytes = max_line_bytes
        self._stale: asyncio.TimerHandle | None = None
        self._task = Background(f"{path} of {self.peer}")

    def start(self) -> None:
        """Dial, and go on dialling until stop()."""
        loop = asyncio.get_running_loop()
        self._stale = loop.call_later(self._stale_s, self._grow_stale)
        self._task.start(self._follow_forever)

    async def stop(self) -> None:
        """Hang up. Nothing is called any more."""
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None
        await self._task.stop()
        await self._pool.close()

    async def _follow_forever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            heard = 0
            try:
                async with contextlib.aclosing(self._lines()) as lines:
                    async for line in lines:
                        self._on_line(line)
                        heard += 1
                        self._hear()
            except (ConnectFailed, ConnectionLost, BadAnswer, TimeoutError, ValueError, _Broken) as exc:
                self._say(exc, heard, pause_s)
            except Exception:
                # A mistake of the reader's must not end the stream for good, silently.
                log.exception("stream_reader_failed", path=self._path, peer=self.peer)
            pause_s = FIRST_PAUSE_S if heard else min(LAST_PAUSE_S, pause_s * 2)
            await asyncio.sleep(pause_s)

    async def _lines(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        connection = await self._pool.connect(timeout_s=self._stale_s)
        try:
            connection.start(request_head(b"GET", self._path.encode(), [(b"host", b"stoker")]))
            async with asyncio.timeout(self._stale_s):
                head = await connection.head()
            if head.status != 200:
                raise _Broken(f"it was answered with status {head.status}")
            rest = bytearray()
            due_s = loop.time() + self._stale_s
            while True:
                # Until a whole line is here: one that comes byte by byte is no sign of life.
                async with asyncio.timeout_at(due_s):
                    chunk = await connection.read()
                if not chunk:
                    raise _Broken("it ended")
                searched = len(rest)
                rest += chunk
                end = rest.find(b"\n", searched)
                if end < 0:
                    if len(rest) > self._max_line_bytes:
                        raise _Broken(f"a line of it is longer than {self._max_line_bytes} bytes")
                    continue
                *lines, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in lines:
                    yield line
                due_s = loop.time() + self._stale_s
        finally:
            connection.close()

    def _hear(self) -> None:
        self.lost = False
        if self._stale is not None:
            self._stale.cancel()
        self._stale = asyncio.get_running_loop().call_later(self._stale_s, self._grow_stale)

    def _grow_stale(self) -> None:
        self._stale = None
        self.lost = True
        log.warning("stream_stale", path=self._path, peer=self.peer, silent_s=self._stale_s)
        self._on_lost()

    def _say(self, exc: Exception, heard: int, pause_s: float) -> None:
        # Once per outage, not once per attempt.
        if heard or pause_s == FIRST_PAUSE_S:
            error = "nothing came in time" if isinstance(exc, TimeoutError) else str(exc)
            log.warning("stream_lost", path=self._path, peer=self.peer, error=error)


class _Broken(Exception):  # noqa: N818  never leaves this module
    pass
