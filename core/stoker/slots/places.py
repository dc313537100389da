"""The places that one agent has reserved for requests that it refused and that come back: who may come when, once.

A place is an execution at an instant t. The places of flows that share slots follow each other as on a server of half
the slots' rate (a virtual scheduler as GCRA, ITU-T I.371: an arrival conforms from the end of the one before it on;
here also gaps that were given back are filled). So places are spread, and over any stretch reserved work is at most
half of what the slots can do, and one execution more. The other half stays with requests that come for the first time.
A flow that is bound to a share has half of that only: whoever asks for too much gets no more by tickets.

Clients may not come back: a client that knows nothing of tickets never does. So of what is reserved as much stands
before the work of others as lately came for its place, by flow.

Pure: who is refused and what the slots can do is the caller's to say. It reads no clock and draws nothing. Bounded:
PER_FLOW and IN_ALL places, of which no namespace has more than it leaves free. Ours: the half, the horizon, the window,
the bounds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from enum import StrEnum
from heapq import heappop, heappush

from msgspec import Struct

from stoker.hold_shares import HoldShares
from stoker.turns import Turns

HORIZON_US = 60_000_000
"""No place is further ahead: few clients wait longer, and no forecast of load holds for longer."""
HORIZON_OBJECTIVES = 4
"""Nor further than so many times the function's objective, or HORIZON_MIN_US where that is more. Newcomers have half of
the slots, so whoever comes back without a place finds room by chance long before a line of places has passed: a place
behind a long one is told too late. And it is one more overload long after the first.
"""
HORIZON_MIN_US = 2_000_000
UNRESERVED_OBJECTIVES = 1
"""Who gets no place is told an instant within so many times the objective, or UNRESERVED_MIN_US where that is more,
after there is room: nothing is kept for it then, so it may as well try sooner.
"""
UNRESERVED_MIN_US = 1_000_000
WINDOW_MIN_US = 1_000_000
"""A client's timer, a TLS connection far away and a busy machine fit into it."""
WINDOW_MAX_US = 5_000_000
PER_FLOW = 512
IN_ALL = 8_192
MEMORY = 8
"""Of the share of those who come: each place counts for one in so many."""
PRIOR_PPM = 500_000
"""That share while nothing is known: half (in millionths)."""
_ALL = 1_000_000


class Redemption(StrEnum):
    """What came of a place that a request named."""

    HONOURED = "honoured"
    EARLY = "early"
    """It stays reserved."""
    LATE = "late"
    USED = "used"
    """It was honoured before."""
    UNKNOWN = "unknown"
    """Of another flow, of another agent, given back, or long void."""


class Place(Struct, frozen=True):
    """Good for one request of the flow that comes from `at_us` until `window_us` after it, both included."""

    id: str
    flow: str
    at_us: int
    window_us: int
    exec_us: int
    span_us: int
    """How long half of the slots are taken by it, from `at_us` on: until then the next place begins no earlier."""
    level: int = 0
    """Of its priority: it does not stand before work of a higher one."""

    @property
    def void_us(self) -> int:
        """The last instant at which it is good."""
        return self.at_us + self.window_us


class Places:
    """See the module. `name` begins every id: no two ledgers may have the same, nor one agent before and after it was
    restarted, or a place of the one would be taken for one of the other.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._given = 0
        self._lines: dict[str, _Line] = {}
        self._all: dict[str, Place] = {}
        """Until they are void and their spans are over; also those that were redeemed."""
        self._open: set[str] = set()
        """Those that may still be redeemed."""
        self._come_ppm: dict[str, int] = {}
        """Of each flow how many in a million came for their places lately; of those that are not in it: the prior."""
        self._shares = HoldShares(IN_ALL, 0)
        """How many each namespace has."""
        self._turns: dict[str, Turns] = {}
        """Of those who got no place."""
        self._ends: list[tuple[int, str]] = []
        """A heap: when each may be forgotten."""

    def offer(
        self,
        flow: str,
        beside: Collection[str],
        *,
        exec_us: int,
        servers: int,
        earliest_us: int,
        now_us: int,
        objective_us: int,
        apart_us: int = 0,
        level: int = 0,
    ) -> Place | None:
        """Reserve the first place from `earliest_us` on for one execution of `exec_us` on `servers` slots, which the
        flow shares with those `beside` it. `objective_us` is the function's, a duration; the places of the flow itself
        are at least `apart_us` apart.

        None: it would be further ahead than the horizon, or there are as many as may be; or it can never be on time.
        """
        self.expire(now_us)
        namespace = flow.partition("/")[0]
        if exec_us > objective_us or servers < 1 or self._shares.full(namespace, 0):
            return None
        line = self._lines.get(flow)
        if line is not None and len(line.places) >= PER_FLOW:
            return None
        span_us = max(1, -(-2 * exec_us // servers))
        lines = [found for key in {flow, *beside} if (found := self._lines.get(key)) is not None]
        own_us = line.next_us if line is not None and apart_us else 0
        at_us = _first_gap(lines, max(earliest_us, now_us, own_us), span_us)
        if at_us > now_us + horizon_us(objective_us):
            return None
        self._given += 1
        window_us = min(WINDOW_MAX_US, max(WINDOW_MIN_US, objective_us // 2))
        place = Place(f"{self._name}{self._given}", flow, at_us, window_us, exec_us, span_us, level)
        if line is None:
            line = self._lines[flow] = _Line()
        line.add(place)
        line.next_us = at_us + apart_us
        self._shares.add(namespace, 1, 0)
        self._all[place.id] = place
        self._open.add(place.id)
        heappush(self._ends, (max(place.void_us, at_us + span_us), place.id))
        return place

    def redeem(self, place_id: str, flow: str, now_us: int) -> Redemption:
        """A request of the flow comes now and names a place. HONOURED once, and within its window."""
        place = self._all.get(place_id)
        if place is None or place.flow != flow:
            return Redemption.UNKNOWN
        if place_id not in self._open:
            return Redemption.USED
        if now_us < place.at_us:
            return Redemption.EARLY
        if now_us > place.void_us:
            return Redemption.LATE
        self._open.discard(place_id)
        self._note(flow, came=True)
        return Redemption.HONOURED

    def held(self, place_id: str) -> Place | None:
        """A place that may still be redeemed."""
        return self._all[place_id] if place_id in self._open else None

    def give_back(self, place_id: str) -> None:
        """Nobody will come: the request was taken without it. Unknown and used ones: nothing."""
        if place_id in self._open:
            self._open.discard(place_id)
            place = self._all[place_id]
            self._lines[place.flow].free(place)

    def expire(self, now_us: int) -> None:
        """Forget what is void. offer() does so too."""
        while self._ends and self._ends[0][0] < now_us:
            _, place_id = heappop(self._ends)
            place = self._all.pop(place_id)
            self._shares.add(place.flow.partition("/")[0], -1, 0)
            if place_id in self._open:
                self._open.discard(place_id)
                self._note(place.flow, came=False)
            line = self._lines[place.flow]
            line.drop(place, now_us)
            if not line.places:
                del self._lines[place.flow]

    def reserved_us(self, flows: Collection[str], servers: int, now_us: int, until_us: int, level: int = 0) -> int:
        """Reserved work of these flows that is not there yet and falls due until then: others have it before them, but
        for those of a higher priority than it has.

        At most what half of the slots do meanwhile: those who are overdue, of whom many may never come, take no more.
        """
        if not self._open:
            return 0
        most_us = max(0, until_us - now_us) * servers // 2
        total_us, still_open = 0, self._open
        for flow in flows:
            line, due_us = self._lines.get(flow), 0
            for place in line.places if line is not None else ():
                at_us = place.at_us
                if at_us > until_us:
                    break
                # Written out (void_us): each request of an agent that is overwhelmed looks at hundreds of places.
                if at_us + place.window_us >= now_us and place.level >= level and place.id in still_open:
                    due_us += place.exec_us
            total_us += due_us * self._come_ppm.get(flow, PRIOR_PPM) // _ALL
            if total_us >= most_us:
                return most_us
        return total_us

    def come_back_us(self, flow: str, *, step_us: int, earliest_us: int, now_us: int, objective_us: int) -> int:
        """When somebody who gets no place may try again: unreserved_us(), by flow."""
        turns = self._turns.get(flow)
        if turns is None:
            if len(self._turns) >= IN_ALL:
                self._turns.clear()  # of functions that are long gone, mostly
            turns = self._turns[flow] = Turns()
        return unreserved_us(turns, earliest_us=max(earliest_us, now_us), objective_us=objective_us, step_us=step_us)

    def _note(self, flow: str, *, came: bool) -> None:
        if len(self._come_ppm) > IN_ALL:
            self._come_ppm.clear()  # of functions that are long gone
        share_ppm = self._come_ppm.get(flow, PRIOR_PPM)
        self._come_ppm[flow] = share_ppm + ((_ALL if came else 0) - share_ppm) // MEMORY

    def __len__(self) -> int:
        """Places that may still be redeemed."""
        return len(self._open)


def unreserved_us(turns: Turns, *, earliest_us: int, objective_us: int, step_us: int) -> int:
    """When somebody for whom no place is kept may try again: each `step_us` later than the last, from `earliest_us` on,
    when there is room by the forecast, for a while, and round again. So that they do not all come at once.
    """
    until_us = earliest_us + max(UNRESERVED_MIN_US, UNRESERVED_OBJECTIVES * objective_us)
    return turns.next_us(earliest_us, until_us, step_us)


def horizon_us(objective_us: int) -> int:
    """How far ahead the places of a function with this objective may be."""
    return min(HORIZON_US, max(HORIZON_MIN_US, HORIZON_OBJECTIVES * objective_us))


class _Line:
    """The places of one flow, and what of half of its slots' time they take: disjoint stretches, in order."""

    __slots__ = ("begins", "ends", "next_us", "places")

    def __init__(self) -> None:
        self.places: list[Place] = []
        """By instant."""
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.next_us = 0
        """Where the next place may be of a flow whose places have to be some time apart."""

    def add(self, place: Place) -> None:
        self.places.insert(bisect_right(self.places, place.at_us, key=_at), place)
        begin, end = place.at_us, place.at_us + place.span_us
        index = bisect_left(self.begins, begin)
        if index and self.ends[index - 1] == begin:
            index -= 1
            self.ends[index] = end
        else:
            self.begins.insert(index, begin)
            self.ends.insert(index, end)
        if index + 1 < len(self.begins) and self.begins[index + 1] == end:
            del self.begins[index + 1]
            del self.ends[index]

    def free(self, place: Place) -> None:
        """Its time may be given to another."""
        begin, end = place.at_us, place.at_us + place.span_us
        index = bisect_right(self.begins, begin) - 1
        first, last = self.begins[index], self.ends[index]
        left = [(first, begin)] if first < begin else []
        right = [(end, last)] if end < last else []
        self.begins[index : index + 1] = [part[0] for part in left + right]
        self.ends[index : index + 1] = [part[1] for part in left + right]

    def drop(self, place: Place, now_us: int) -> None:
        """Its time is over."""
        passed = bisect_right(self.ends, now_us)
        del self.begins[:passed]
        del self.ends[:passed]
        index = bisect_left(self.places, place.at_us, key=_at)
        while self.places[index] is not place:
            index += 1
        del self.places[index]


def _at(place: Place) -> int:
    return place.at_us


def _first_gap(lines: Collection[_Line], from_us: int, length_us: int) -> int:
    """The first instant from which on none of the lines takes the slots for so long."""
    moved = True
    while moved:
        moved = False
        for line in lines:
            index = bisect_right(line.begins, from_us) - 1
            if index < 0 or line.ends[index] <= from_us:
                index += 1
            while index < len(line.begins) and line.begins[index] < from_us + length_us:
                from_us = line.ends[index]
                index += 1
                moved = True
    return from_us
