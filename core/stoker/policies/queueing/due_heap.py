"""Ids by an instant at which each is due: the earliest one, and all that are due at a given now.

Used for expiries and for slack that turns negative. Removal is lazy: an entry whose token is not the live one is
garbage. Garbage is dropped when the heap is twice as large as what was live when that was done last, and a constant
more, so memory stays bounded whatever is added and discarded. It knows nothing of requests, flows or policies, and
reads no clock.
"""

from heapq import heapify, heappop, heappush

_SPARE = 64
"""Garbage entries that are never worth a rebuild."""


class DueHeap:
    """A set of ids, each with one due instant. add, discard and each id of pop_due are O(log n) amortised."""

    __slots__ = ("_live", "_most", "_token", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, str]] = []
        """Instants, tokens, ids. For reading: nothing is due before the first of them."""
        self._live: dict[str, int] = {}
        self._most = _SPARE
        """Entries at which garbage is dropped."""
        self._token = 0

    def __len__(self) -> int:
        return len(self._live)

    def add(self, due_us: int, item: str) -> None:
        """Add an id; one that is there already gets the new instant."""
        self._token = token = self._token + 1
        self._live[item] = token
        heap = self.heap
        heappush(heap, (due_us, token, item))
        if len(heap) > self._most:
            self._compact()

    def discard(self, item: str) -> None:
        """Take an id out; nothing happens when it is not there."""
        self._live.pop(item, None)

    def next_due_us(self) -> int | None:
        """The earliest instant; None when empty."""
        heap, live = self.heap, self._live
        while heap:
            due_us, token, item = heap[0]
            if live.get(item) == token:
                return due_us
            heappop(heap)
        return None

    def pop_due(self, now_us: int) -> list[str]:
        """Take out all ids that are due at or before now, the earliest first, ties in the order of add."""
        due: list[str] = []
        heap, live = self.heap, self._live
        while heap and heap[0][0] <= now_us:
            _, token, item = heappop(heap)
            if live.get(item) == token:
                del live[item]
                due.append(item)
        return due

    def clear(self) -> None:
        """Take everything out."""
        self.heap.clear()
        self._live.clear()

    def _compact(self) -> None:
        self.heap = [entry for entry in self.heap if self._live.get(entry[2]) == entry[1]]
        heapify(self.heap)
        self._most = 2 * len(self.heap) + _SPARE
