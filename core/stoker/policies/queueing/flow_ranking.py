"""Flows in the order of a key each, and the least one among those that a slot may run.

All are kept in one sorted list: with many eligible flows a short walk along it meets one of them; with few the
eligible ones are looked up and compared. The list holds no garbage: what leaves is found by bisection and taken out
(O(log n) comparisons; the move of the pointers behind it is a memmove). Knows no requests, no clock and no policy;
the names may as well be those of namespaces.
"""

from bisect import bisect_left, insort
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from stoker.policies.queueing.interface import SlotView

AT_ONCE = 8
"""Heads walked before anybody counts the eligible flows, which may cost as much as looking at each of them."""
NONE: frozenset[str] = frozenset()
_SETS = frozenset({frozenset, set, type({}.keys())})

Head = tuple[Any, int, str]
"""What a flow is ranked by: its key, a number that breaks ties, and its name."""


def walk_of(eligible: int, flows: int) -> int:
    """How many heads of so many flows to walk before the eligible flows are looked up: as many as cost what it costs to
    see which of them have a head.

    Where eligible flows stand anywhere in the order the walk soon meets one; where all of them have just been served
    they stand last and it is in vain. All heads, where to pass over all others costs no more than to look up.
    """
    return flows if flows <= 2 * eligible else eligible // 2


def as_set(flows: Collection[str]) -> AbstractSet[str]:
    """The flows as something that answers `in` at once. Views are not copied."""
    # Asking the abstract class costs 0.4 us, which is once in each pop.
    if type(flows) in _SETS or isinstance(flows, AbstractSet):
        return flows  # type: ignore[return-value]
    return frozenset(flows)


class FlowRanking:
    """Flows, each once, least head first. put and discard are O(log n) comparisons."""

    __slots__ = ("_head_of", "heads")

    def __init__(self) -> None:
        self.heads: list[Head] = []
        """In order. For reading."""
        self._head_of: dict[str, Head] = {}

    def __len__(self) -> int:
        return len(self.heads)

    def __contains__(self, flow: object) -> bool:
        return flow in self._head_of

    def __getitem__(self, flow: str) -> Head:
        return self._head_of[flow]

    def put(self, flow: str, head: Head) -> None:
        """Rank a flow; one that is ranked already gets the new head."""
        heads, before = self.heads, self._head_of.get(flow)
        self._head_of[flow] = head
        if before is not None:
            if len(heads) == 1:
                heads[0] = head
                return
            del heads[0 if heads[0] is before else bisect_left(heads, before)]
        insort(heads, head)

    def discard(self, flow: str) -> None:
        """Take a flow out; nothing happens when it is not there."""
        head = self._head_of.pop(flow, None)
        if head is not None:
            heads = self.heads
            del heads[0 if heads[0] is head else bisect_left(heads, head)]

    def clear(self) -> None:
        self.heads.clear()
        self._head_of.clear()

    def first(self) -> Head | None:
        return self.heads[0] if self.heads else None

    def first_from(self, bound: Head) -> Head | None:
        """The least head that is not below the bound."""
        at = bisect_left(self.heads, bound)
        return self.heads[at] if at < len(self.heads) else None

    def least(self, among: AbstractSet[str], but: AbstractSet[str] = NONE) -> Head | None:
        """The least head of the flows that are in `among` and not in `but`."""
        heads = self.heads
        if not heads:
            return None
        head = heads[0]
        if head[2] in among and head[2] not in but:
            return head
        for head in islice(heads, 1, AT_ONCE):
            if head[2] in among and head[2] not in but:
                return head
        # To find that none of them is there costs a tenth of walking past all others: late requests wait so.
        if len(heads) <= AT_ONCE or self._head_of.keys().isdisjoint(among):
            return None
        steps = walk_of(len(among), len(heads))
        for head in islice(heads, AT_ONCE, steps):
            if head[2] in among and head[2] not in but:
                return head
        if steps >= len(heads):
            return None
        there = self._head_of.keys() & among
        if but:
            there = there - but
        return min(map(self._head_of.__getitem__, there), default=None)

    def meets(self, among: AbstractSet[str], but: AbstractSet[str], steps: int) -> bool:
        """Whether one of the first heads, that many, is in `among` and not in `but`."""
        for head in islice(self.heads, steps):  # noqa: SIM110  a generator costs as much as the few steps
            if head[2] in among and head[2] not in but:
                return True
        return False


class SlotRanking:
    """Flows by two keys: where they are resident on the device of a slot, and where they are not."""

    __slots__ = ("absent", "resident")

    def __init__(self) -> None:
        self.resident = FlowRanking()
        self.absent = FlowRanking()

    def put(self, flow: str, resident: Head, absent: Head) -> None:
        self.resident.put(flow, resident)
        self.absent.put(flow, absent)

    def discard(self, flow: str) -> None:
        self.resident.discard(flow)
        self.absent.discard(flow)

    def clear(self) -> None:
        self.resident.clear()
        self.absent.clear()

    def least(self, slot: SlotView) -> Head | None:
        """The least head among the slot's eligible flows, each by the key that holds on its device."""
        eligible, warm = parts(slot)
        if warm is None:
            return self.resident.least(eligible)
        heads = (self.resident.least(warm), self.absent.least(eligible, warm))
        return min((head for head in heads if head is not None), default=None)


def parts(slot: SlotView) -> tuple[AbstractSet[str], AbstractSet[str] | None]:
    """The eligible flows of a slot, and those of them that are resident; None: all."""
    return as_set(slot.eligible), None if slot.warm is None else as_set(slot.warm)
