"""Members that take turns by virtual time: one level of a two-level fair order (functions of a namespace, namespaces).

A member's virtual time is the service it was charged divided by its weight; the least one is next, ties go to whoever
was served longest ago. A member that comes back from idleness starts at the level's base, which was the least virtual
time of all that waited at the last turn: it banks no credit. Where a member is not resident it is ranked by its virtual
time plus a penalty. Knows no requests, no clock and no weights: charges come divided.
"""

from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_ranking import SlotRanking


class Level:
    """The members of one level, ranked while they have something queued."""

    __slots__ = ("_base", "_clocks", "_turn", "ranking")

    def __init__(self) -> None:
        self.ranking = SlotRanking()
        self._base = 0
        self._turn = 0
        self._clocks: FlowMemory[tuple[int, int]] = FlowMemory()
        """Virtual time and last turn."""

    def __len__(self) -> int:
        return len(self.ranking.resident)

    def __contains__(self, member: object) -> bool:
        return member in self.ranking.resident

    def first(self) -> str | None:
        """The member with the least virtual time, wherever it is resident."""
        head = self.ranking.resident.first()
        return None if head is None else head[2]

    def charge(self, member: str, amount: int) -> None:
        """A ranked member is served: `amount`, at least 1, of its virtual time. enter() or leave() follows."""
        order = self.ranking.resident
        first = order.first()
        assert first is not None, "whoever is served is ranked"
        self._base = first[0]
        self._turn += 1
        self._clocks.put(member, (order[member][0] + amount, self._turn))

    def enter(self, member: str, penalty: int) -> None:
        """The member has something queued; one that is ranked already is brought up to date."""
        virtual, turn = self._clocks.get(member, (self._base, 0))
        if turn == 0:
            self._turn = turn = self._turn + 1
            self._clocks.put(member, (virtual, turn))
        if virtual < self._base and member not in self:
            virtual = self._base
            self._clocks.put(member, (virtual, turn))
        self.ranking.put(member, (virtual, turn, member), (virtual + penalty, turn, member))

    def leave(self, member: str) -> None:
        """The member has nothing queued any more."""
        self.ranking.discard(member)

    def clear(self) -> None:
        """Nobody has anything queued any more."""
        self.ranking.clear()
