"""What is queued in the order in which it will run, and which promises that order keeps: the schedule of DESIGN 6.

For policies whose requests run by a fixed rank. Beside each request stands the instant until which it must start so
that its promise is kept. A request of lane f starts, at the latest, when the slots of f have done what runs on them now
and all queued work of lower rank in the pool of f (Room.start_us): while it waits no slot of f idles, and none takes a
request behind it. That bound never grows while nothing is put before it and no run exceeds its own; so a promise that
is kept with a request put in its place is kept by whatever follows, if what is put in later is asked here first
(docs/concepts/theory.md, commitment).

Requests stand in blocks of some dozens. A block remembers its work and, for each lane, the least room that its promises
leave, so a question is a look at each block and at the requests of two of them. It knows no clock and changes nothing
but by add and discard.
"""

from bisect import bisect_left
from collections.abc import Mapping

from stoker.policies.queueing.lanes import Lane, Room

Rank = tuple[int | str, ...]
Place = tuple[Rank, int]
"""Rank, and the number of the push: the order in which requests run."""

_MOST = 32
"""Requests of a block; a full one is halved."""
_UNBOUND = 1 << 62
"""Promise of a request that has none."""
_NOWHERE = Lane("", (), 1)
"""Of a request whose flow has no lane."""


class Entry:
    """One queued request."""

    __slots__ = ("flow", "lane", "place", "priority", "promise_us", "request_id", "work_us")

    def __init__(  # noqa: PLR0917  made in one place
        self, place: Place, request_id: str, flow: str, lane: Lane, work_us: int, promise_us: int, priority: int
    ) -> None:
        self.place = place
        self.request_id = request_id
        self.flow = flow
        self.lane = lane
        self.work_us = work_us
        self.promise_us = promise_us
        self.priority = priority


class _Block:
    """Some requests that follow one another."""

    __slots__ = ("entries", "places", "room_us", "work_us")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.settle()

    def settle(self) -> None:
        """Bring what is remembered up to date."""
        self.places = [entry.place for entry in self.entries]
        self.work_us = 0
        self.room_us: dict[Lane, int] = {}
        for entry in self.entries:
            if entry.promise_us < _UNBOUND:
                room_us = entry.lane.servers * entry.promise_us - self.work_us
                if room_us < self.room_us.get(entry.lane, _UNBOUND << 8):
                    self.room_us[entry.lane] = room_us
            self.work_us += entry.work_us


class _Pool:
    """What is queued in one pool."""

    __slots__ = ("blocks",)

    def __init__(self) -> None:
        self.blocks: list[_Block] = []

    def find(self, place: Place) -> int:
        """The block that holds the place, or would."""
        blocks = self.blocks
        low, high = 0, len(blocks) - 1
        while low < high:
            middle = (low + high) // 2
            if blocks[middle].places[-1] < place:
                low = middle + 1
            else:
                high = middle
        return low


class Commitments:
    """See the module. Requests of flows without a lane are not looked at until they have one: nothing is known of
    their slots.
    """

    def __init__(self) -> None:
        self._lanes: Mapping[str, Lane] = {}
        self._pools: dict[str, _Pool] = {}
        self._where: dict[str, Entry] = {}
        """By id."""
        self._apart: dict[str, Entry] = {}
        """The same of flows without a lane: their replicas went, and others may come."""

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """By flow, as arranged last."""
        return self._lanes

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        """These are the lanes from now on, also of what is queued."""
        self._lanes = dict(lanes)
        entries = sorted((*self._where.values(), *self._apart.values()), key=lambda entry: entry.place)
        self.clear()
        for entry in entries:
            self._settle(entry)

    def add(  # noqa: PLR0917  the facts of one request
        self, place: Place, request_id: str, flow: str, work_us: int, promise_us: int, priority: int
    ) -> None:
        """A request is queued. `promise_us`: the last instant for its start; 0: it has no promise."""
        self._settle(Entry(place, request_id, flow, _NOWHERE, work_us, promise_us or _UNBOUND, priority))

    def discard(self, request_id: str) -> None:
        """It is not queued any more; nothing happens to one that is not known."""
        if request_id in self._where:
            self.take(request_id)
        elif self._apart:
            self._apart.pop(request_id, None)

    def take(self, request_id: str) -> Entry:
        """discard() of one that is known; put_back() undoes it."""
        entry = self._where.pop(request_id)
        pool = self._pools[entry.lane.pool]
        at = pool.find(entry.place)
        block = pool.blocks[at]
        del block.entries[bisect_left(block.places, entry.place)]
        if block.entries:
            block.settle()
            return entry
        del pool.blocks[at]
        if not pool.blocks:
            del self._pools[entry.lane.pool]
        return entry

    def clear(self) -> None:
        """Nothing is queued any more."""
        self._pools.clear()
        self._where.clear()
        self._apart.clear()

    def ahead_us(self, flow: str, place: Place) -> int:
        """Queued work that would run before a request of the flow at that place."""
        pool = self._pools.get(self._lanes[flow].pool)
        if pool is None:
            return 0
        at = pool.find(place)
        block = pool.blocks[at]
        ahead_us = sum(other.work_us for other in pool.blocks[:at])
        return ahead_us + sum(entry.work_us for entry in block.entries[: bisect_left(block.places, place)])

    def broken_by(  # noqa: PLR0917  as above
        self, flow: str, place: Place, work_us: int, priority: int, rooms: Mapping[Lane, Room], now_us: int
    ) -> list[str] | None:
        """Queued requests below that priority whose promise is not kept any more with so much work put at the place,
        and which have to go; None: one of at least that priority would be broken.

        `rooms`: the slots of each lane of the pool now. A promise of a lane that is not among them is not looked at.
        """
        pool = self._pools.get(self._lanes[flow].pool)
        broken: list[str] = []
        if pool is None:
            return broken
        first = pool.find(place)
        # What a lane's slots can have done until an instant, without the slots that run for longer: linear in it.
        linear_us = {lane: room.servers * now_us + sum(room.remaining_us) for lane, room in rooms.items()}
        before_us = work_us + sum(block.work_us for block in pool.blocks[:first])
        for at, block in enumerate(pool.blocks[first:], first):
            if not _is_tight(block, before_us, linear_us):
                before_us += block.work_us
                continue
            begin = bisect_left(block.places, place) if at == first else 0
            before_us += sum(entry.work_us for entry in block.entries[:begin])
            for entry in block.entries[begin:]:
                room = rooms.get(entry.lane) if entry.promise_us < _UNBOUND else None
                if room is not None and room.work_until_us(entry.promise_us - now_us) < before_us:
                    if entry.priority >= priority:
                        return None
                    broken.append(entry.request_id)
                else:
                    before_us += entry.work_us
        return broken

    def sheddable(self, flow: str, priority: int) -> list[str]:
        """What is queued in the flow's pool below a priority: the least first, of those the last to run first."""
        pool = self._pools.get(self._lanes[flow].pool)
        if pool is None:
            return []
        lower = [entry for block in pool.blocks for entry in block.entries if entry.priority < priority]
        lower.sort(key=lambda entry: entry.place, reverse=True)
        lower.sort(key=lambda entry: entry.priority)
        return [entry.request_id for entry in lower]

    def put_back(self, entry: Entry) -> None:
        """Put an entry in its place."""
        self._where[entry.request_id] = entry
        pool = self._pools.get(entry.lane.pool)
        if pool is None:
            pool = self._pools[entry.lane.pool] = _Pool()
            pool.blocks.append(_Block([entry]))
            return
        at = pool.find(entry.place)
        block = pool.blocks[at]
        block.entries.insert(bisect_left(block.places, entry.place), entry)
        if len(block.entries) > _MOST:
            half = len(block.entries) // 2
            pool.blocks.insert(at + 1, _Block(block.entries[half:]))
            del block.entries[half:]
        block.settle()

    def _settle(self, entry: Entry) -> None:
        """Put an entry on the lane that its flow has now."""
        entry.lane = self._lanes.get(entry.flow, _NOWHERE)
        if entry.lane is _NOWHERE:
            self._apart[entry.request_id] = entry
        else:
            self.put_back(entry)


def _is_tight(block: _Block, before_us: int, linear_us: Mapping[Lane, int]) -> bool:
    """Whether some promise of the block might be broken by so much work before it."""
    for lane, room_us in block.room_us.items():
        taken_us = linear_us.get(lane)
        if taken_us is not None and room_us < before_us + taken_us:
            return True
    return False
