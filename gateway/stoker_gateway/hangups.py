"""Clients that left while nobody read from them.

While a body waits unread, reading from its socket is paused, so the event loop hears nothing of a hang-up. The
kernel knows: this asks it, for all such sockets at once, every second.
"""

import asyncio
import select
from collections.abc import Collection

from stoker_gateway.visit import Visit
from stoker_runtime.hang_ups import GONE, descriptor


class HangupWatch:
    """Cuts the connections of live visits whose client has hung up; the rest follows from the cut."""

    def __init__(self, live: Collection[Visit], interval_s: float) -> None:
        self._live = live
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look every interval until stop()."""
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.look()
        self.start()

    def look(self) -> int:
        """Look once; how many had left."""
        poll = select.poll()
        watched: dict[int, Visit] = {}
        for visit in self._live:
            transport = visit.inbound.transport
            if transport is None or visit.inbound.payload.is_eof():
                continue
            number = descriptor(transport)
            if number >= 0:
                poll.register(number, GONE)
                watched[number] = visit
        gone = [watched[number] for number, events in poll.poll(0) if events & GONE] if watched else []
        for visit in gone:
            visit.inbound.abort()
        return len(gone)
