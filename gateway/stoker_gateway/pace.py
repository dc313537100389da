"""How slow a client may be: one that sends its body, or takes its answer, too slowly is cut off.

While a body comes its request holds a place in the queue of its function, and the work that it announces counts as
ahead of others; while an answer waits to be read, the replica that gives it holds a slot. So neither may last for as
long as a client likes. Only time spent waiting for the client counts. A body must come as fast as at an agent
(stoker.wire.agent); for answers the rates are ours.
"""

import asyncio

from aiohttp.streams import StreamReader

from stoker.wire.agent import BODY_RATE_BYTES, BODY_RATE_WINDOW_S
from stoker_gateway.inbound import Inbound
from stoker_runtime.send_queue import unacknowledged_bytes

BODY_WINDOW_S = float(BODY_RATE_WINDOW_S)
ANSWER_RATE_BYTES = 16 * 1024
"""A second: slower than any network that people wait at."""
ANSWER_WINDOW_S = 10.0


class TooSlow(Exception):  # noqa: N818  the name states the fact
    """The client was. The text says how slow, for it."""


class _Window:
    """Time spent waiting, and what came meanwhile."""

    __slots__ = ("_rate_bytes", "_window_s", "came_bytes", "waited_s")

    def __init__(self, rate_bytes: int, window_s: float) -> None:
        self._rate_bytes = rate_bytes
        self._window_s = window_s
        self.waited_s = 0.0
        self.came_bytes = 0

    @property
    def left_s(self) -> float:
        return max(0.0, self._window_s - self.waited_s)

    def too_slow(self) -> bool:
        """Asked when nothing is left of the window: begins a new one where enough came in it."""
        if self.came_bytes < self._rate_bytes * self._window_s:
            return True
        self.waited_s, self.came_bytes = 0.0, 0
        return False


class BodyPace:
    """Reads the body of one request."""

    __slots__ = ("_window",)

    def __init__(self) -> None:
        self._window = _Window(BODY_RATE_BYTES, BODY_WINDOW_S)

    async def read(self, payload: StreamReader) -> bytes:
        """What comes next, empty at the end of the body. TooSlow; RequestPayloadError as by aiohttp."""
        window, loop = self._window, asyncio.get_running_loop()
        while not (data := payload.read_nowait()) and not payload.at_eof():
            began_s = loop.time()
            try:
                async with asyncio.timeout(window.left_s):
                    data = await payload.readany()
            except TimeoutError:
                window.waited_s += loop.time() - began_s
                if window.too_slow():
                    raise TooSlow(
                        f"The body came at less than {BODY_RATE_BYTES} bytes/s over {BODY_WINDOW_S:g} s."
                    ) from None
                continue
            window.waited_s += loop.time() - began_s
            break
        window.came_bytes += len(data)
        return data


class AnswerPace:
    """Waits until a client has taken what was written to it."""

    __slots__ = ("_inbound", "_seen_bytes", "_window", "_written_bytes")

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound
        self._window = _Window(ANSWER_RATE_BYTES, ANSWER_WINDOW_S)
        self._written_bytes = 0
        self._seen_bytes = 0
        """Of these, what the client's side had acknowledged at the last look."""

    async def taken(self, written_bytes: int) -> None:
        """Until the kernel has taken it all. TooSlow."""
        self._written_bytes += written_bytes
        inbound, window = self._inbound, self._window
        if not inbound.protocol.writing_paused:
            return
        loop = asyncio.get_running_loop()
        # Not cancelled between two looks: aiohttp's drain does not survive that.
        draining = loop.create_task(inbound.drain())
        try:
            while not draining.done():
                began_s = loop.time()
                await asyncio.wait((draining,), timeout=window.left_s)
                window.waited_s += loop.time() - began_s
                self._look()
                if not draining.done() and window.too_slow():
                    rate = f"{ANSWER_RATE_BYTES} bytes/s over {ANSWER_WINDOW_S:g} s"
                    raise TooSlow(f"The client read its answer at less than {rate}.")
            await draining
        finally:
            draining.cancel()

    def _look(self) -> None:
        transport = self._inbound.transport
        if transport is not None:
            seen_bytes = self._written_bytes - transport.get_write_buffer_size() - unacknowledged_bytes(transport)
            if seen_bytes > self._seen_bytes:
                self._window.came_bytes += seen_bytes - self._seen_bytes
                self._seen_bytes = seen_bytes
