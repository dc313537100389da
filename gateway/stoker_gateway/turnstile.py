"""How many new requests are looked at in one turn of the event loop: a few, so that what is under way goes first.

A gateway, and an agent in the same process, has one thread. In a storm hundreds of requests are readable at once; if
all of them were refused before the loop reads anything else, the answers of replicas would wait for that long, slots
would stand idle meanwhile, and executions would look longer than they are. New requests wait in the order in which they
came; what they arrive for (objective, timeout) counts from before the wait.
"""

import asyncio
from collections import deque

AT_ONCE = 8
"""Ours: about a millisecond of refusals."""


class Turnstile:
    """Of one event loop. Bounded by the connections that there may be."""

    def __init__(self) -> None:
        self._left = AT_ONCE
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        """Each with the time since when it waits."""
        self._turns = False
        """The next turn is asked for."""

    @property
    def since_us(self) -> int | None:
        """Since when the first of those waits that wait now (or left while it did); None: nobody does."""
        return self._waiting[0][1] if self._waiting else None

    async def enter(self, now_us: int) -> None:
        """Go on in this turn of the loop if there is room, and else in a later one."""
        loop = asyncio.get_running_loop()
        if not self._turns:
            self._turns = True
            loop.call_soon(self._turn)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, now_us))
        await turn

    def _turn(self) -> None:
        self._left = AT_ONCE
        while self._waiting and self._left:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                # Else its client left.
                self._left -= 1
                turn.set_result(None)
        # The loop reads between two turns.
        self._turns = bool(self._waiting)
        if self._turns:
            asyncio.get_running_loop().call_soon(self._turn)
