"""One agent as a gateway sees it: connections for requests, and its load stream kept open and kept fresh.

The stream is dialled again with a growing pause when it ends, skips a sequence number, says nothing for too long or
says something else than LoadFrames. What it said last counts for LOAD_STALE_S after the last frame; then the agent
is unusable until it speaks again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from ssl import SSLContext

import msgspec
import structlog

from stoker.model.function import Variant
from stoker.wire.agent import LOAD_PATH, LOAD_STALE_S, LoadFrame, VariantLoad
from stoker_gateway.config import AgentAddress
from stoker_runtime import http_client
from stoker_runtime.http_client import BadAnswer, ConnectFailed, ConnectionLost, HttpPool, request_head

FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 1.0
# More than what an agent lets through from a replica: it adds headers of its own to that.
MAX_HEAD_BYTES = 2 * http_client.MAX_HEAD_BYTES
MAX_HEADERS = 2 * http_client.MAX_HEADERS
MAX_LINE_BYTES = 16 * 2**20
"""A full frame of very many functions fits; an endless line does not."""

log = structlog.get_logger(__name__)


class AgentLink:
    """See the module. `on_frame` is called with the functions that changed after every frame (heartbeats too), and
    when the agent becomes unusable.
    """

    def __init__(
        self,
        address: AgentAddress,
        *,
        ssl: SSLContext | None,
        max_idle: int,
        on_frame: Callable[[Iterable[str]], None],
        stale_s: float = LOAD_STALE_S,
    ) -> None:
        self.address = address
        self.pool = HttpPool(
            address.host,
            address.port,
            ssl=ssl,
            max_idle=max_idle,
            max_head_bytes=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
        )
        """For requests."""
        self.functions: dict[str, dict[Variant, VariantLoad]] = {}
        """The agent's last word on each function; empty while the agent is unusable."""
        self.usable = False
        """It speaks, and it accepts requests."""
        # Its own pool, so that the endless stream is never taken for a connection that may be used again.
        self._stream_pool = HttpPool(address.host, address.port, ssl=ssl, max_idle=0)
        self._on_frame = on_frame
        self._stale_s = stale_s
        self._stale: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._decoder = msgspec.json.Decoder(LoadFrame)

    def start(self) -> None:
        """Dial, and go on dialling until stop()."""
        self._task = asyncio.get_running_loop().create_task(self._follow_forever(), name=f"load of {self.address.host}")

    async def stop(self) -> None:
        """Hang up; requests in flight lose their connections too."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._stale is not None:
            self._stale.cancel()
        await self._stream_pool.close()
        await self.pool.close()

    async def _follow_forever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            frames = 0
            try:
                async for frame in self._frames():
                    self._apply(frame)
                    frames += 1
            except (ConnectFailed, ConnectionLost, BadAnswer, TimeoutError, msgspec.MsgspecError, _StreamBroken) as exc:
                # Once per outage, not once per attempt.
                if frames or pause_s == FIRST_PAUSE_S:
                    log.warning("load_stream_lost", agent=f"{self.address.host}:{self.address.port}", error=str(exc))
            pause_s = FIRST_PAUSE_S if frames else min(LAST_PAUSE_S, pause_s * 2)
            await asyncio.sleep(pause_s)

    async def _frames(self) -> AsyncIterator[LoadFrame]:
        async with asyncio.timeout(self._stale_s):
            connection = await self._stream_pool.acquire()
        try:
            connection.start(request_head(b"GET", LOAD_PATH.encode(), [(b"host", b"agent")]))
            async with asyncio.timeout(self._stale_s):
                head = await connection.head()
            if head.status != 200:
                raise _StreamBroken(f"the load stream was answered with status {head.status}")
            expected: int | None = None
            rest = b""
            while True:
                async with asyncio.timeout(self._stale_s):
                    chunk = await connection.read()
                if not chunk:
                    raise _StreamBroken("the load stream ended")
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise _StreamBroken(f"a line of the load stream is longer than {MAX_LINE_BYTES} bytes")
                for line in lines:
                    frame = self._decoder.decode(line)
                    if (expected is None and not frame.full) or (expected is not None and frame.seq != expected):
                        raise _StreamBroken(f"the load stream skipped to frame {frame.seq}")
                    expected = frame.seq + 1
                    yield frame
        finally:
            connection.close()

    def _apply(self, frame: LoadFrame) -> None:
        changed = {*frame.functions, *frame.removed}
        if frame.full or frame.accepting != self.usable:
            changed.update(self.functions)
        if frame.full:
            self.functions = {}
        self.functions.update(frame.functions)
        for key in frame.removed:
            self.functions.pop(key, None)
        self.usable = frame.accepting
        if self._stale is not None:
            self._stale.cancel()
        self._stale = asyncio.get_running_loop().call_later(self._stale_s, self._grow_stale)
        self._on_frame(changed)

    def _grow_stale(self) -> None:
        self._stale = None
        self.usable = False
        changed, self.functions = self.functions, {}
        log.warning("agent_unusable", agent=f"{self.address.host}:{self.address.port}", silent_s=self._stale_s)
        self._on_frame(changed)


class _StreamBroken(Exception):  # noqa: N818  never leaves this module
    pass
