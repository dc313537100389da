"""What happens next: simulated time, and one heap of events (time, sequence, kind, subject).

Events of one instant happen in the order in which they were put down, and before an arrival of the same instant: a
slot that comes free is free for whoever comes then. Knows no request and no device; each kind has one handler.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

Event = tuple[int, int, int, Any]
Handler = Callable[[Any], None]


class Agenda:
    """`now_us` is the simulated time of what is being handled."""

    __slots__ = ("_handlers", "_heap", "_sequence", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: list[Event] = []
        self._sequence = 0
        self._handlers: list[Handler] = []

    def kind(self, handler: Handler) -> int:
        """A new kind of event, which the handler gets the subjects of."""
        self._handlers.append(handler)
        return len(self._handlers) - 1

    def at(self, time_us: int, kind: int, subject: Any) -> None:
        """Put an event down, not before now. It cannot be taken back: a handler finds that its subject has moved on."""
        assert time_us >= self.now_us, f"an event at {time_us} us is put down at {self.now_us} us"
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (time_us, sequence, kind, subject))

    def play(self, arrivals_us: Iterable[int], arrive: Callable[[int], None], goes_on: Callable[[int], bool]) -> None:
        """Handle all arrivals (sorted), each by `arrive(index)`, and the events between and after them.

        After the last arrival events are handled while `goes_on` says so of the time of the next one.
        """
        heap, handlers = self._heap, self._handlers
        for index, time_us in enumerate(arrivals_us):
            while heap and heap[0][0] <= time_us:
                self.now_us, _, kind, subject = heappop(heap)
                handlers[kind](subject)
            self.now_us = time_us
            arrive(index)
        while heap and goes_on(heap[0][0]):
            self.now_us, _, kind, subject = heappop(heap)
            handlers[kind](subject)
