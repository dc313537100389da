"""Fair shares among the members of one level: the flows of a namespace, or the namespaces.

Each member has a settled tag: the device time that its requests took, per unit of weight. It grows when they end. Three
more are derived from it while some run. The accrued tag adds the time for which they run already, which is true
whatever was predicted: it decides how far a member may be ahead. The start tag adds what they are predicted to take: it
orders those that may be served, so that parallel slots spread. The covered tag adds to the accrued one what is
predicted to remain, but never more than the longest request that the member had: virtual time follows the least of
them. So a wrong prediction changes an order and no bound. docs/concepts/theory.md has the rules, the theorem and its
proof; V, T, L and the tags C, A, S and B here are those of the proof.

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

_BEYOND = 1 << 100
"""A tag that nobody reaches."""

First = Callable[[FlowRanking, AbstractSet[str]], Head | None]
"""The first eligible member of a ranking, but for those in the set."""


class Member:
    """One share."""

    __slots__ = (
        "dispatched_us",
        "key",
        "level",
        "longest_us",
        "number",
        "predicted_us",
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
        self.predicted_us = 0
        """The sum of the device times that are predicted for them."""
        self.longest_us = 0
        """L: the longest that a request of it took, since it is remembered."""
        self.queued = False
        """Whether it is backlogged."""
        self.level: FairLevel | None = None
        """Its own members, where it is a namespace."""

    def accrued(self, now_us: int) -> int:
        """A."""
        if not self.running:
            return self.settled
        return self.settled + (self.running * now_us - self.dispatched_us) * UNIT // self.weight

    def covered(self, now_us: int) -> int:
        """B."""
        if not self.running:
            return self.settled
        accrued_us = self.running * now_us - self.dispatched_us
        remaining_us = self.predicted_us - accrued_us
        if remaining_us > 0:
            accrued_us = self.predicted_us if remaining_us <= self.longest_us else accrued_us + self.longest_us
        return self.settled + accrued_us * UNIT // self.weight

    def is_active(self, now_us: int, limit: int) -> bool:
        """Whether it is within the limit (V + T), and will be if what runs takes what is predicted."""
        return self.start <= limit and (not self.running or self.accrued(now_us) <= limit)

    def until_us(self, tag: int) -> int:
        """Device time that it gets before its start tag reaches this one."""
        return max(0, tag - self.start) * self.weight // UNIT


class FairLevel:
    """The members of one level. An operation is O(log n) comparisons and a look at each member that has some running.

    All that is public is for reading. now_us is an instant of the caller's clock, and never goes back.
    """

    __slots__ = ("_idle", "_serial", "busy", "members", "settled", "starts", "virtual")

    def __init__(self) -> None:
        self.virtual = 0
        """V: the least covered tag of a backlogged member at the last advance(), and never less than it was."""
        self.starts = FlowRanking()
        """The backlogged members by start tag, then by last service."""
        self.settled = FlowRanking()
        """Those of them that have nothing running, by settled tag, then in the order of their coming."""
        self.members: dict[str, Member] = {}
        """All that are remembered."""
        self.busy: dict[str, Member] = {}
        """Those of them that have something running."""
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

    def enter(self, member: Member, now_us: int, settled: int | None = None) -> None:
        """The member becomes backlogged, at V at the least: it banks no credit while it has nothing queued.

        `settled` gives it that tag instead, be it behind V: it was backlogged but for a dispatch that failed.
        """
        if settled is not None:
            member.settled = settled
        else:
            covered = member.covered(now_us) if member.running else member.settled
            if covered < self.virtual:
                member.settled += self.virtual - covered
        member.queued = True
        self._place(member)

    def leave(self, member: Member) -> None:
        """The member is not backlogged any more."""
        member.queued = False
        self.starts.discard(member.key)
        if not member.running:
            self.settled.discard(member.key)
            self._rest(member)
        if not self.starts.heads:
            # Nobody competes: the leads of those that have nothing running are void.
            while self._idle:
                self._forget(*heappop(self._idle))

    def dispatch(self, member: Member, now_us: int, predicted_us: int, *, stays: bool) -> None:
        """A request of a backlogged member was dispatched; leave() comes next unless the member stays backlogged."""
        key = member.key
        self._serial = member.served = self._serial + 1
        if member.settled < self.virtual:
            self._catch_up(member, now_us)
        if not member.running:
            self.busy[key] = member
            self.settled.discard(key)
        member.running += 1
        member.dispatched_us += now_us
        member.predicted_us += predicted_us
        member.start = start = member.settled + member.predicted_us * UNIT // member.weight
        if stays:
            self.starts.put(key, (start, member.served, key))

    def settle(self, member: Member, dispatched_us: int, predicted_us: int, actual_us: int) -> None:
        """A request ended that was dispatched then, with that prediction."""
        member.running -= 1
        member.dispatched_us -= dispatched_us
        member.predicted_us -= predicted_us
        member.settled += actual_us * UNIT // member.weight
        if actual_us > member.longest_us:  # noqa: PLR1730  max() costs three lines as this
            member.longest_us = actual_us
        if not member.running:
            del self.busy[member.key]
            if not member.queued:
                member.start = member.settled
                self._rest(member)
                return
        self._place(member)

    def charge(self, member: Member, actual_us: int) -> None:
        """A request ended that was not dispatched here."""
        member.running += 1
        self.busy[member.key] = member
        self.settle(member, 0, 0, actual_us)

    def weigh(self, weights: Mapping[str, int]) -> None:
        """New weights from now on, 1 where none is given; leads stay what they are, in tags."""
        for member in self.members.values():
            member.weight = weights.get(member.key, 1)
            self._place(member)

    def due(self, now_us: int) -> int:
        """V as advance() would leave it."""
        virtual, heads = self.virtual, self.settled.heads
        least = heads[0][0] if heads else _BEYOND
        for member in self.busy.values():
            if least <= virtual:
                break
            if member.queued and member.settled < least:
                least = min(least, member.covered(now_us))
        return least if virtual < least < _BEYOND else virtual

    def advance(self, now_us: int) -> None:
        """Bring V up to date. To be called when a slot is free, and then before relent()."""
        heads = self.settled.heads
        if not heads or heads[0][0] > self.virtual:
            self._raise_to(self.due(now_us))

    def relent(self, least: Member, first: First, has: Callable[[str], bool], now_us: int, overrun: int) -> Member:
        """Whom to serve where the eligible member with the least start tag is beyond V + T (`overrun`: T in tags).

        `first` and `has` say who is eligible. V comes up to T behind the one of them that is least ahead, since a slot
        that idles would give nothing to those that cannot use it; and that one is served, unless the other one is
        within V + T now.
        """
        behind, tag = least, least.covered(now_us)
        head = first(self.settled, self.busy.keys())
        if head is not None and head[0] < tag:
            behind, tag = self.members[head[2]], head[0]
        for key, member in self.busy.items():
            if member.queued and (covered := member.covered(now_us)) < tag and has(key):
                behind, tag = member, covered
        self._overtake(tag - overrun, now_us)
        return least if least.accrued(now_us) <= self.virtual + overrun else behind

    def has_passed(self, ranking: FlowRanking) -> bool:
        """Whether V is beyond the first tag of `starts` or `settled`."""
        head = ranking.first()
        return head is not None and head[0] < self.virtual

    def start_of(self, key: str) -> int:
        """The start tag of a member: as it is, or as it would be if it became backlogged now."""
        member = self.members.get(key)
        if member is None:
            return self.virtual
        return member.start if member.queued else max(member.start, self.virtual)

    def _overtake(self, virtual: int, now_us: int) -> None:
        """Move V on past those that are further behind. What they could not use is not made up for."""
        if virtual > self.virtual:
            self._raise_to(virtual)
            for member in self.busy.values():
                if self._catch_up(member, now_us):
                    self._place(member)

    def _catch_up(self, member: Member, now_us: int) -> bool:
        """Let a member be behind V by no more than the longest of its requests, which may have been covered."""
        behind = self.virtual - member.longest_us * UNIT // member.weight - member.accrued(now_us)
        if behind <= 0:
            return False
        member.settled += behind
        return True

    def _place(self, member: Member) -> None:
        member.start = start = member.settled + member.predicted_us * UNIT // member.weight
        if member.queued:
            key = member.key
            self.starts.put(key, (start, member.served, key))
            if not member.running:
                self.settled.put(key, (start, member.number, key))

    def _raise_to(self, virtual: int) -> None:
        if virtual > self.virtual:
            self.virtual = virtual
            while self._idle and self._idle[0][0] <= virtual:
                self._forget(*heappop(self._idle))

    def _rest(self, member: Member) -> None:
        """Nothing of it is queued or runs: its lead is remembered while others are queued and V has not reached it."""
        if member.settled <= self.virtual or not self.starts.heads:
            del self.members[member.key]
            return
        heappush(self._idle, (member.settled, member.key))
        if len(self._idle) > _REMEMBERED:
            self._forget(*heappop(self._idle))

    def _forget(self, settled: int, key: str) -> None:
        member = self.members.get(key)
        if member is not None and member.settled == settled and not member.queued and not member.running:
            del self.members[key]
