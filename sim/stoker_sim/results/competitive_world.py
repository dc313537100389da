"""What the admission rule takes of a handful of requests whose execution times are known exactly.

The real replica table, lookout, verdict and queueing policy, driven from arrival to end without a gateway, a start-up
or a margin: the model in which competitive ratios are stated (docs/concepts/theory.md). Knows no optimum.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import ContainerSpec, Function, FunctionSpec, GpuOption, OnMiss, Priority, Slo, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import Lookout
from stoker.slots.offering import least_loaded_first, pop_for
from stoker.slots.table import Replica, ReplicaTable
from stoker.slots.verdict import bind, judge

_CONTAINER = ContainerSpec(image="none")
_SPEC = FunctionSpec(
    container=_CONTAINER,
    gpu=(GpuOption(memory_mib=1),),
    slo=Slo(latency_us=1),
    on_predicted_miss=(OnMiss.REFUSE,),
)


class Job(Struct, frozen=True):
    """One request; times in microseconds. Jobs of an instance are in the order of their arrival."""

    arrival_us: int
    exec_us: int
    """What it takes, and what is predicted."""
    slack_us: int
    """From its arrival until the last instant at which it may start."""
    lane: int = 0
    """Index into Slots.lanes."""
    priority: Priority = Priority.STANDARD

    @property
    def latest_us(self) -> int:
        return self.arrival_us + self.slack_us


class Slots(Struct, frozen=True):
    """Devices, and which of them the requests of each lane may run on."""

    devices: tuple[int, ...] = (1,)
    """Slots of each."""
    lanes: tuple[tuple[int, ...], ...] = ((0,),)
    """Indexes of devices."""

    def machines(self, lane: int) -> frozenset[int]:
        """The slots of a lane, all slots being numbered through."""
        firsts = [sum(self.devices[:device]) for device in range(len(self.devices))]
        return frozenset(firsts[device] + slot for device in self.lanes[lane] for slot in range(self.devices[device]))


class _Ran(Struct, eq=False):
    request: QueuedRequest
    dispatched_us: int


class World:
    """See the module."""

    def __init__(self, slots: Slots, queueing: str, *, shares: bool = False) -> None:
        """`shares`: with the limits of fair shares under contention."""
        self._shares = shares
        devices = [
            Device(id=f"g{index}", kind=DeviceKind.GPU, product="any", memory_mib=1_000, slots=count)
            for index, count in enumerate(slots.devices)
        ]
        self._table: ReplicaTable[Replica[_Ran]] = ReplicaTable(devices)
        self._policy = make_queueing(queueing)
        predictions = Predictions()
        self._lookout = Lookout(predictions)
        self._functions = [
            Function(namespace="ratio", name=f"f{lane}", uid="", generation=1, revision="1", spec=_SPEC)
            for lane in range(len(slots.lanes))
        ]
        self._ends: list[tuple[int, int, Replica[_Ran], _Ran]] = []
        self._now_us = 0
        self._ran = 0
        self.late: list[str] = []
        """Requests that were admitted and could not keep their objective; there are none."""
        for function, indexes in zip(self._functions, slots.lanes, strict=True):
            # Demand of what was never measured does not count as contention.
            predictions.observe_exec(function.key, Variant.GPU, "any", 1)
            for index in indexes:
                self._add(function, devices[index])

    def load_us(self, jobs: Sequence[Job]) -> int:
        """The execution time of all that is on time."""
        taken: dict[str, int] = {}
        for number, job in enumerate(jobs):
            self._play_until(job.arrival_us)
            self._arrive(str(number), job, taken)
        self._play_until(1 << 62)
        return sum(taken.values())

    def _add(self, function: Function, device: Device) -> None:
        spec = ReplicaSpec(
            id=f"{function.name}-{device.id}",
            function=function.key,
            variant=Variant.GPU,
            revision="1",
            ordinal=0,
            devices=(device.id,),
        )
        flow = self._table.flow(function.key, function.key, Variant.GPU)
        replica: Replica[_Ran] = Replica(spec, flow, self._table.devices[device.id], exclusive=False, now_us=0)
        # Only the slots of the device bound what runs.
        replica.concurrency = device.slots
        self._table.add(replica)
        replica.state = ReplicaState.WARM
        self._table.state_changed(replica)
        if self._lookout.arrangement.renew(self._table.flows.values()):
            self._policy.arrange(self._lookout.arrangement.lanes)

    def _arrive(self, request_id: str, job: Job, taken: dict[str, int]) -> None:
        function = self._functions[job.lane]
        flow = self._table.flows[function.key]
        objective_us = job.latest_us + job.exec_us
        request = QueuedRequest(
            id=request_id,
            flow=flow.key,
            variant=Variant.GPU,
            arrival_us=job.arrival_us,
            objective_us=objective_us,
            timeout_us=objective_us + 1,
            predicted_exec_us=job.exec_us,
            priority=job.priority,
            late_ok=False,
        )
        sight = self._lookout.sight(
            request, flow, function, policy=self._policy, takes_late=False, now_us=job.arrival_us
        )
        assert sight is not None
        # Times are known exactly, so there is no margin.
        exact = replace(sight, margin_ppm=0, limit_us=sight.limit_us if self._shares else None)
        verdict = judge(request, exact, policy=self._policy, accepting=True)
        if verdict.refusal is not None:
            return
        bind(request, verdict)
        for shed in verdict.shed:
            self._policy.cancel(shed)
            del taken[shed]
        taken[request_id] = job.exec_us
        self._lookout.contention.take(flow.key, job.exec_us, job.arrival_us)
        self._policy.push(request)
        for device in least_loaded_first(flow.devices):
            self._offer(device.device.id)

    def _offer(self, device_id: str) -> None:
        device = self._table.devices[device_id]
        while (popped := pop_for(self._policy, device, self._now_us)) is not None:
            request, replica = popped
            if replica is None:
                self.late.append(request.id)
                continue
            run = _Ran(request, self._now_us)
            self._table.occupy(replica, run)
            self._ran += 1
            end_us = self._now_us + request.predicted_exec_us
            if end_us > request.objective_us:
                self.late.append(request.id)
            heappush(self._ends, (end_us, self._ran, replica, run))

    def _play_until(self, until_us: int) -> None:
        """All ends up to an instant, those at it included."""
        while self._ends and self._ends[0][0] <= until_us:
            self._now_us, _, replica, run = heappop(self._ends)
            self._table.vacate(replica, run, self._now_us)
            self._policy.done(run.request, self._now_us - run.dispatched_us)
            self._offer(replica.device.device.id)
        self._now_us = until_us
