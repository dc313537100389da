"""Which slots each flow of an agent may run on, as lanes and pools, and what holds them now.

Reads the replica table and changes nothing in it. Renewed whenever a replica becomes warm or ceases to be; between two
renewals it is only read. Generic over the shell's replicas, as the table is.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from msgspec import Struct

from stoker.model.replica import ReplicaState
from stoker.policies.queueing.lanes import Lane, Room, pooled
from stoker.slots.table import AnyReplica, DeviceSlots, FlowState, Run

P = TypeVar("P", bound=AnyReplica)


class _Resource(Struct, frozen=True):
    """The slots of a shared device, or the replicas of one flow that have theirs (or their cores) to themselves."""

    device: DeviceSlots[Any]
    flow: FlowState[Any] | None
    """None: everybody who lives on the device."""
    servers: int

    def runs(self) -> Iterator[Run]:
        for replica in self.device.residents:
            if self.flow is None or replica.flow is self.flow:
                yield from replica.running

    def begun_us(self) -> int:
        """Predicted execution time of all that was ever started there."""
        return self.device.begun_us if self.flow is None else self.flow.begun_us


class Expectation(Struct, frozen=True):
    """What a request found when it was queued: from it follows, once it is known what ran before it, when it was to be
    expected to end.
    """

    lane: Lane
    room: Room
    begun_us: int
    since_us: int

    def wait_us(self, begun_us: int) -> int:
        """The expected wait, `begun_us` being what had been started on its lane when it was dispatched."""
        return self.room.start_us(max(0, begun_us - self.begun_us))


class Arrangement(Generic[P]):
    """See the module."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        """By flow; only flows with a warm replica."""
        self._resources: dict[str, _Resource] = {}
        self._of_pool: dict[str, list[Lane]] = {}
        self._flows_of: dict[str, list[str]] = {}
        self._servers_of: dict[str, int] = {}

    def renew(self, flows: Iterable[FlowState[P]]) -> bool:
        """Look again; whether any lane is another one now."""
        resources: dict[str, _Resource] = {}
        taken: dict[str, tuple[tuple[str, ...], int]] = {}
        for flow in flows:
            names: list[str] = []
            servers = 0
            for device in flow.devices:
                name, resource, count = _resource(flow, device)
                names.append(name)
                resources[name] = resource
                servers += count
            if names:
                taken[flow.key] = tuple(names), max(1, servers)
        before, self.lanes = self.lanes, pooled(taken)
        self._resources = resources
        self._of_pool = {}
        self._flows_of = {}
        self._servers_of = {}
        for key, lane in self.lanes.items():
            lanes = self._of_pool.setdefault(lane.pool, [])
            if lane not in lanes:
                lanes.append(lane)
            self._flows_of.setdefault(lane.pool, []).append(key)
        for pool, lanes in self._of_pool.items():
            within = {name for lane in lanes for name in lane.resources}
            self._servers_of[pool] = sum(resources[name].servers for name in within)
        return self.lanes != before

    def rooms(self, flow: str, now_us: int) -> tuple[tuple[Lane, Room], ...]:
        """What holds the slots of each lane of the flow's pool; empty where the flow has no lane."""
        lane = self.lanes.get(flow)
        if lane is None:
            return ()
        lanes = self._of_pool[lane.pool]
        return tuple((one, self._room(one, now_us)) for one in lanes)

    def around(self, flow: str) -> tuple[int, list[str]]:
        """How many requests of the flow can run at a time, at least 1, and the flows of its pool with it."""
        lane = self.lanes.get(flow)
        return (1, [flow]) if lane is None else (lane.servers, self._flows_of[lane.pool])

    def pool(self, flow: str) -> tuple[int, list[str]]:
        """Servers and flows of the flow's pool, at least 1 and itself."""
        lane = self.lanes.get(flow)
        return (1, [flow]) if lane is None else (self._servers_of[lane.pool], self._flows_of[lane.pool])

    def pools(self) -> Iterator[tuple[int, list[str]]]:
        """Servers and flows of each pool."""
        for pool, servers in self._servers_of.items():
            yield servers, self._flows_of[pool]

    def begun_us(self, lane: Lane) -> int:
        """Predicted execution time of all that was ever started on the lane's slots."""
        return sum(self._resources[name].begun_us() for name in lane.resources)

    def expect(self, flow: str, now_us: int) -> Expectation | None:
        """What a request of the flow finds that is queued now; None without a lane."""
        lane = self.lanes.get(flow)
        if lane is None:
            return None
        return Expectation(lane, self._room(lane, now_us), self.begun_us(lane), now_us)

    def wait_us(self, expectation: Expectation, flow: str) -> int | None:
        """The expected wait of a request that is dispatched now; None: its lane has changed since it was queued."""
        if self.lanes.get(flow) != expectation.lane:
            return None
        return expectation.wait_us(self.begun_us(expectation.lane))

    def _room(self, lane: Lane, now_us: int) -> Room:
        remaining_us = [remaining_of(run, now_us) for name in lane.resources for run in self._resources[name].runs()]
        remaining_us.sort()
        return Room(lane.servers, tuple(remaining_us))


AnyArrangement = Arrangement[Any]


def remaining_of(run: Run, now_us: int) -> int:
    """Predicted time to the end of a run. One that has overrun is expected to do so by as much again.

    A replica that hangs must not look as if it came free at any moment.
    """
    return abs(run.dispatched_us + run.request.predicted_exec_us - now_us)


def _resource(flow: FlowState[P], device: DeviceSlots[P]) -> tuple[str, _Resource, int]:
    """The flow's resource on a device: its name, itself, and how many requests of the flow can run there at a time."""
    mine = [r for r in device.residents if r.flow is flow and r.state is ReplicaState.WARM]
    concurrency = sum(replica.concurrency for replica in mine)
    if device.slots is None or any(replica.exclusive for replica in mine):
        return f"{flow.key}@{device.device.id}", _Resource(device, flow, concurrency), concurrency
    return device.device.id, _Resource(device, None, device.slots), min(device.slots, concurrency)
