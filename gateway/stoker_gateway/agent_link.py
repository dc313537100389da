"""One agent as a gateway sees it: connections for requests, and its load stream kept open and kept fresh.

A stream that skips a sequence number or says something else than LoadFrames is dialled anew. What it said last counts
for LOAD_STALE_S after the last frame; then the agent is unusable until it speaks again.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from ssl import SSLContext

import msgspec
import structlog

from stoker.closed_book import ClosedBook
from stoker.model.function import Variant
from stoker.tickets import agent_mark
from stoker.wire.agent import LOAD_PATH, LOAD_STALE_S, LoadFrame, VariantLoad
from stoker_gateway.config import AgentAddress
from stoker_runtime import http_client
from stoker_runtime.http_client import HttpPool
from stoker_runtime.line_stream import LineStream

# More than what an agent lets through from a replica: it adds headers of its own to that.
MAX_HEAD_BYTES = 2 * http_client.MAX_HEAD_BYTES
MAX_HEADERS = 2 * http_client.MAX_HEADERS

log = structlog.get_logger(__name__)
_DECODER = msgspec.json.Decoder(LoadFrame)


class AgentDial(msgspec.Struct, frozen=True):
    """How this gateway talks to all of its agents."""

    ssl: SSLContext | None
    server_hostname: str | None
    """The name that an agent's certificate must have; None: it is known by its authority alone."""
    max_idle: int


class AgentLink:
    """See the module. `on_frame` is called with the functions that changed after every frame (heartbeats too), and
    when the agent becomes unusable.
    """

    def __init__(
        self,
        address: AgentAddress,
        dial: AgentDial,
        on_frame: Callable[[Iterable[str]], None],
        clock_us: Callable[[], int],
        *,
        stale_s: float = LOAD_STALE_S,
    ) -> None:
        self.address = address
        self.mark = agent_mark(address.host, address.port)
        """Its name in tickets."""
        self.pool = HttpPool(
            address.host,
            address.port,
            ssl=dial.ssl,
            server_hostname=dial.server_hostname,
            max_idle=dial.max_idle,
            max_head_bytes=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
        )
        """For requests."""
        self.functions: dict[str, dict[Variant, VariantLoad]] = {}
        """The agent's last word on each function; empty while the agent is unusable."""
        self.told_us: dict[str, int] = {}
        """When it said that."""
        self.sent: Counter[tuple[str, Variant]] = Counter()
        """Requests that went there since its last word, which therefore does not count them."""
        self.closed = ClosedBook()
        """What it said of requests to come, with refusals, since its last word."""
        self.usable = False
        """It speaks, and it accepts requests."""
        self.heard = False
        """It has spoken, or has been silent for so long that it is not worth waiting for."""
        self._stream = LineStream(
            address.host,
            address.port,
            LOAD_PATH,
            ssl=dial.ssl,
            server_hostname=dial.server_hostname,
            on_line=self._take,
            on_lost=self._lose,
            stale_s=stale_s,
        )
        self._on_frame = on_frame
        self._clock_us = clock_us
        self._expected: int | None = None

    def start(self) -> None:
        """Dial, and go on dialling until it is ended."""
        self._stream.start()

    async def retire(self) -> None:
        """The agent is no longer there for new requests; those under way may finish (see `pool.open`)."""
        self.pool.retire()
        self.usable = False
        self.functions, self.told_us = {}, {}
        await self._stream.stop()

    async def stop(self) -> None:
        """Hang up; requests in flight lose their connections too."""
        await self._stream.stop()
        await self.pool.close()

    def _take(self, line: bytes) -> None:
        frame = _DECODER.decode(line)
        if not frame.full and frame.seq != self._expected:
            self._expected = None
            raise ValueError(f"the load stream skipped to frame {frame.seq}")
        self._expected = frame.seq + 1
        changed = {*frame.functions, *frame.removed}
        if frame.full or frame.accepting != self.usable:
            changed.update(self.functions)
        if frame.full:
            self.functions, self.told_us = {}, {}
        self.functions.update(frame.functions)
        for key in frame.removed:
            self.functions.pop(key, None)
            self.told_us.pop(key, None)
        self.told_us.update(dict.fromkeys(frame.functions, self._clock_us()))
        self.sent.clear()
        self.closed.clear()
        self.usable = frame.accepting
        self.heard = True
        self._on_frame(changed)

    def _lose(self) -> None:
        self.usable = False
        self.heard = True
        changed, self.functions, self.told_us = self.functions, {}, {}
        self._on_frame(changed)
