"""Fair shares among the members of one level: the flows of a namespace, or the namespaces.

Each member has a settled tag: the device time that its requests really took, per unit of weight. It grows when they
end. Two tags are derived from it. The accrued tag adds the time for which the running requests run already, which is
true whatever was predicted: accrued tags decide how far a member may get ahead. The start tag adds what the running
ones are predicted to take in all: start tags order those that may be served, so that parallel slots spread. A wrong
prediction changes an order, and no bound. docs/concepts/theory.md has the rules, the theorem and its proof; V, T, C, A
and S here are those of the proof.

It knows no request and no policy, and reads no clock. Tags are integers, UNIT of them to a microsecond at weight 1.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush

from stoker.policies.queueing.flow_ranking import FlowRanking, Head

UNIT = 1 << 20
"""Tags to a microsecond at weight 1: a request of weight 1,000 is charged to a thousandth of a microsecond."""
_REMEMBERED = 1_024
"""Idle members of a level whose lead is remembered: those with the largest leads (ours)."""

First = Callable[[FlowRanking, AbstractSet[str]], Head | None]
"""The first eligible member of a ranking that is not in the set."""


class Member:
    """One share."""

    __slots__ = (
        "charged_us",
        "dispatched_us",
        "key",
        "level",
        "number",
        "queued",
        "running",
        "served",
        "settled",
        "start",
        "weight",
    )

    def __init__(self, key: str, weight: int, settled: int, number: int) -> None:
        self.key = key
        self.weight = weight
        self.settled = settled
        """C."""
        self.start = settled
        """S."""
        self.number = number
        """Serial number of its coming."""
        self.served = number
        """Serial number of its last dispatch; of its coming while there was none. No two members share one."""
        self.running = 0
        """Its dispatched requests that have not settled."""
        self.dispatched_us = 0
        """The sum of the instants of their dispatch."""
        self.charged_us = 0
        """The sum of the device times that were predicted for them."""
        self.queued = False
        """Whether it is backlogged."""
        self.level: FairLevel | None = None
        """Its own members, where it is a namespace."""

    def accrued(self, now_us: int) -> int:
        """A."""
        if not self.running:
            return self.settled
        return self.settled + (self.running * now_us - self.dispatched_us) * UNIT // self.weight

    def until_us(self, tag: int) -> int:
        """Device time that it gets before its start tag reaches this one."""
        return max(0, tag - self.start) * self.weight // UNIT


class FairLevel:
    """The members of one level. An operation is O(log n) comparisons, and looks at those that run.

    All that is public is for reading.
    """

    __slots__ = ("_idle", "_serial", "busy", "members", "settled", "starts", "virtual")

    def __init__(self) -> None:
        self.virtual = 0
        """V: the least accrued tag of a backlogged member at the last pop, and never less than it was."""
        self.starts = FlowRanking()
        """The backlogged members by start tag, then by last service."""
        self.settled = FlowRanking()
        """The same by settled tag, then in the order of their coming."""
        self.members: dict[str, Member] = {}
        """All that are remembered."""
        self.busy: dict[str, Member] = {}
        """Those that have something running."""
        self._idle: list[tuple[int, str]] = []
        """Settled tag and key of members that are ahead of V with nothing queued or running; some entries are stale."""
        self._serial = 0

    def meet(self, key: str, weight: int) -> Member:
        """The member; one that is not remembered begins at V."""
        member = self.members.get(key)
        if member is None:
            self._serial += 1
            member = self.members[key] = Member(key, weight, self.virtual, self._serial)
        return member

    def start_of(self, key: str) -> int:
        """The start tag of a member: as it is, or as it would be if it became backlogged now."""
        member = self.members.get(key)
        if member is None:
            return self.virtual
        return member.start if member.queued else max(member.start, self.virtual)

    def enter(self, member: Member, now_us: int, settled: int | None = None) -> None:
        """The member becomes backlogged, at V at the least: it banks no credit while it has nothing queued.

        `settled` gives it that tag instead, be it behind V: it was backlogged but for a dispatch that failed.
        """
        if settled is None:
            self._catch_up(member, now_us)
        else:
            member.settled = settled
        member.queued = True
        self._place(member)

    def leave(self, member: Member) -> None:
        """The member is not backlogged any more."""
        member.queued = False
        self.starts.discard(member.key)
        self.settled.discard(member.key)
        if not member.running:
            self._rest(member)
        if not self.starts.first():
            # Nobody competes: the leads of those that have nothing running are void.
            while self._idle:
                self._forget(*heappop(self._idle))

    def dispatch(self, member: Member, now_us: int, charged_us: int, *, stays: bool) -> None:
        """A request of a backlogged member was dispatched and is predicted to take this long; leave() comes next unless
        the member stays backlogged.
        """
        self._serial += 1
        member.served = self._serial
        self._catch_up(member, now_us)
        member.charged_us += charged_us
        member.dispatched_us += now_us
        member.running += 1
        self.busy[member.key] = member
        if stays:
            self._place(member)

    def settle(self, member: Member, dispatched_us: int, charged_us: int, actual_us: int) -> None:
        """A request ended: what it took takes the place of what was predicted and of what had accrued."""
        member.running -= 1
        member.dispatched_us -= dispatched_us
        member.charged_us -= charged_us
        member.settled += actual_us * UNIT // member.weight
        if not member.running:
            del self.busy[member.key]
        self._place(member)
        if not member.queued and not member.running:
            self._rest(member)

    def weigh(self, weights: Mapping[str, int]) -> None:
        """New weights from now on, 1 where none is given; leads stay what they are, in tags."""
        for member in self.members.values():
            member.weight = weights.get(member.key, 1)
            self._place(member)

    def advance(self, now_us: int) -> None:
        """Bring V up to the least accrued tag of a backlogged member."""
        least: int | None = None
        for tag, _, key in self.settled:
            if least is not None and tag >= least:
                break
            accrued = self.members[key].accrued(now_us)
            least = accrued if least is None else min(least, accrued)
            if accrued == tag:
                break
        if least is not None and least > self.virtual:
            self._raise_to(least)

    def choose(self, first: First, now_us: int, overrun: int) -> Member | None:
        """The eligible member to serve, V being up to date; `overrun` is T in tags.

        It is the one with the least start tag if its accrued tag lies within V + T. If not, V comes up to T behind the
        eligible one that is least ahead, since a slot that idles would give nothing to those that cannot use it; and
        that one is served if the other still may not be.
        """
        head = first(self.starts, _NONE)
        if head is None:
            return None
        least = self.members[head[2]]
        if least.accrued(now_us) <= self.virtual + overrun:
            return least
        behind = self._least_accrued(first, now_us, least)
        self._overtake(behind.accrued(now_us) - overrun, now_us)
        return least if least.accrued(now_us) <= self.virtual + overrun else behind

    def _least_accrued(self, first: First, now_us: int, least: Member) -> Member:
        head = first(self.settled, self.busy.keys())
        found = least if head is None else self.members[head[2]]
        best = found.accrued(now_us)
        for key, member in self.busy.items():
            if member.queued and member.accrued(now_us) < best and first(self.starts, _AllBut(key)) is not None:
                found, best = member, member.accrued(now_us)
        return found

    def _overtake(self, virtual: int, now_us: int) -> None:
        """Move V on past those that are behind it: what they could not use while not eligible is not made up for."""
        if virtual > self.virtual:
            self._raise_to(virtual)
            for member in self.busy.values():
                self._catch_up(member, now_us)
                self._place(member)

    def _catch_up(self, member: Member, now_us: int) -> None:
        behind = self.virtual - member.accrued(now_us)
        if behind > 0:
            member.settled += behind

    def _place(self, member: Member) -> None:
        settled = member.settled
        member.start = start = settled + member.charged_us * UNIT // member.weight
        if member.queued:
            key = member.key
            self.starts.put(key, (start, member.served, key))
            self.settled.put(key, (settled, member.number, key))

    def _raise_to(self, virtual: int) -> None:
        self.virtual = virtual
        while self._idle and self._idle[0][0] <= virtual:
            self._forget(*heappop(self._idle))

    def _rest(self, member: Member) -> None:
        """Nothing of it is queued or runs: its lead is remembered while others are queued and V has not reached it."""
        if member.settled <= self.virtual or not self.starts.first():
            del self.members[member.key]
            return
        heappush(self._idle, (member.settled, member.key))
        if len(self._idle) > _REMEMBERED:
            self._forget(*heappop(self._idle))

    def _forget(self, settled: int, key: str) -> None:
        member = self.members.get(key)
        if member is not None and member.settled == settled and not member.queued and not member.running:
            del self.members[key]
