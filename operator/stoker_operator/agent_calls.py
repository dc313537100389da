"""Calls to agents: the one that asks to drain a replica. Knows where agents are and nothing of why."""

import asyncio
from enum import Enum
from ssl import SSLContext

import msgspec

from stoker.wire.cluster import DRAIN_PATH, DRAIN_WAIT_S, PORT_CONTROL, DrainAnswer, DrainRequest
from stoker_runtime.http_client import BadAnswer, ConnectFailed, ConnectionLost, HttpPool, request_head

_ANSWER_WAIT_S = DRAIN_WAIT_S + 5.0
_MAX_ANSWER_BYTES = 64 * 1024


class Drained(Enum):
    """What an agent says of a replica that it was asked to drain."""

    YES = "yes"
    """Nothing is in flight and nothing more will be; or it knows no such pod."""
    NOT_YET = "not yet"
    NO_ANSWER = "no answer"


class AgentCalls:
    """One pool per agent; `set_agents` whenever they change, `set_agent` when another one of a node acts."""

    def __init__(self, ssl: SSLContext, server_hostname: str, *, port: int = PORT_CONTROL) -> None:
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._port = port
        self._pools: dict[str, tuple[str, HttpPool]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def set_agents(self, addresses: dict[str, str]) -> None:
        """The address of the agent of each node that has one."""
        for node in self._pools.keys() - addresses.keys():
            self._close(node)
        for node, address in addresses.items():
            self.set_agent(node, address)

    def set_agent(self, node: str, address: str) -> None:
        """The address of the agent of one node."""
        known = self._pools.get(node)
        if known is not None and known[0] == address:
            return
        if known is not None:
            self._close(node)
        pool = HttpPool(address, self._port, ssl=self._ssl, server_hostname=self._server_hostname, max_idle=4)
        self._pools[node] = (address, pool)

    async def drain(self, node: str, pod_uid: str) -> Drained:
        """Ask once; waits up to DRAIN_WAIT_S for the last request to end. Never raises."""
        entry = self._pools.get(node)
        if entry is None:
            return Drained.NO_ANSWER
        try:
            async with asyncio.timeout(_ANSWER_WAIT_S):
                return await _ask(entry[1], pod_uid)
        except (ConnectFailed, ConnectionLost, BadAnswer, TimeoutError, msgspec.MsgspecError):
            return Drained.NO_ANSWER

    async def stop(self) -> None:
        """Hang up."""
        for node in list(self._pools):
            self._close(node)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self, node: str) -> None:
        _, pool = self._pools.pop(node)
        task = asyncio.get_running_loop().create_task(pool.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _ask(pool: HttpPool, pod_uid: str) -> Drained:
    body = msgspec.json.encode(DrainRequest(pod_uid=pod_uid))
    headers = [(b"host", b"stoker"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    connection = await pool.connect(timeout_s=5.0)
    try:
        connection.start(request_head(b"POST", DRAIN_PATH.encode(), headers), body)
        head = await connection.head()
        content = bytearray()
        while chunk := await connection.read():
            content += chunk
            if len(content) > _MAX_ANSWER_BYTES:
                raise BadAnswer("the answer to a drain is too long")
    finally:
        connection.close()
    if head.status == 404:
        return Drained.YES
    if head.status != 200:
        return Drained.NO_ANSWER
    answer = msgspec.json.decode(content, type=DrainAnswer)
    return Drained.YES if answer.drained else Drained.NOT_YET
