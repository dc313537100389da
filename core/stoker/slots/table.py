"""Replicas, the slots of devices and the flows that may use them, kept so that dispatch finds a match in O(1).

Knows no connection and no queue, and reads no clock. `DeviceSlots.ready` is the live view that queueing policies are
shown: flows with a warm replica on the device that has free concurrency. It is updated where something changes and
never scanned for. Generic over the replicas (a shell hangs its own things on them) and over what runs on them.
"""

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from stoker.cost.meter import Charge
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.model.request import QueuedRequest
from stoker.names import flow_of
from stoker.policies.queueing.interface import SlotView


class Run(Protocol):
    """A dispatched request."""

    @property
    def request(self) -> QueuedRequest: ...
    @property
    def dispatched_us(self) -> int: ...


R = TypeVar("R", bound=Run)


class Replica(Generic[R]):
    """One replica as its agent holds it."""

    __slots__ = (
        "charge",
        "concurrency",
        "device",
        "exclusive",
        "flow",
        "idle_since_us",
        "overdue",
        "ready_us",
        "running",
        "served",
        "spec",
        "started_us",
        "state",
        "suspended",
    )

    def __init__(
        self, spec: ReplicaSpec, flow: "FlowState[Any]", device: "DeviceSlots[Any]", *, exclusive: bool, now_us: int
    ) -> None:
        self.spec = spec
        self.flow = flow
        self.device = device
        self.exclusive = exclusive
        self.concurrency = 1
        self.state = ReplicaState.STARTING
        self.started_us = now_us
        self.ready_us: int | None = None
        self.idle_since_us: int | None = None
        self.served = 0
        self.running: set[R] = set()
        self.overdue: set[R] = set()
        """Those whose timeout has passed."""
        self.suspended = False
        """It refused a connection a moment ago."""
        self.charge: Charge | None = None
        """What it costs; None: nobody counts."""

    def free(self) -> int:
        """Requests that it could take now, slots of its device aside."""
        if self.state is not ReplicaState.WARM or self.suspended:
            return 0
        return max(0, self.concurrency - len(self.running))

    def status(self, now_us: int, *, queued: int) -> ReplicaStatus:
        return ReplicaStatus(
            spec=self.spec,
            state=self.state,
            started_us=self.started_us,
            ready_us=self.ready_us,
            idle_since_us=None if queued else self.idle_since_us,
            in_flight=len(self.running),
            served=self.served,
            overdue_us=max((now_us - run.request.timeout_us for run in self.overdue), default=None),
        )


AnyReplica = Replica[Any]
P = TypeVar("P", bound=AnyReplica)


class DeviceSlots(Generic[P]):
    """The slots of one device."""

    __slots__ = ("begun_us", "busy_us", "device", "ready", "residents", "running", "shared_running", "slots", "view")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.slots = None if device.kind is DeviceKind.CPU else device.slots
        """Concurrent executions of all shared residents together; None: only concurrency bounds them."""
        self.ready: dict[str, list[P]] = {}
        self.view = SlotView(device_id=device.id, eligible=self.ready.keys())
        self.residents: list[P] = []
        self.running = 0
        self.shared_running = 0
        self.busy_us = 0
        """Slot time used and not yet exported."""
        self.begun_us = 0
        """Predicted execution time of all that was ever started on the slots."""

    def has_slot(self) -> bool:
        # The concurrency of an exclusive resident is the only bound: it is not counted in shared_running.
        return self.slots is None or self.shared_running < self.slots

    def free_slots(self, wanted: int) -> int:
        """How many of the wanted executions the device has slots for."""
        if self.slots is None or any(replica.exclusive for replica in self.residents):
            return wanted
        return max(0, min(wanted, self.slots - self.shared_running))

    def choose(self, flow: str) -> P | None:
        """The ready replica of the flow with most free concurrency; ties go to the lowest ordinal."""
        ready = self.ready.get(flow)
        if not ready:
            return None
        if len(ready) == 1:
            return ready[0]
        return min(ready, key=lambda replica: (len(replica.running) - replica.concurrency, replica.spec.ordinal))


class FlowState(Generic[P]):
    """One (function, variant) that has or had replicas here."""

    __slots__ = (
        "begun_us",
        "definition",
        "devices",
        "explored_us",
        "function",
        "key",
        "labels",
        "name",
        "namespace",
        "product",
        "promised_us",
        "replicas",
        "running",
        "trials_kept",
        "variant",
    )

    def __init__(self, key: str, function: str, variant: Variant) -> None:
        self.key = key
        self.function = function
        self.namespace, _, self.name = function.partition("/")
        self.variant = variant
        self.labels = (self.namespace, self.name, variant.value)
        """Of metrics."""
        self.definition: Function | None = None
        """Its function as applied last; kept after the function was removed, while anything of it runs."""
        self.replicas: dict[str, P] = {}
        self.devices: tuple[DeviceSlots[P], ...] = ()
        """Devices on which it has warm replicas."""
        self.product: str | None = None
        """The product of those devices, if it is one."""
        self.running = 0
        self.promised_us = 0
        """Predicted work that was admitted and is not queued yet: grants, and bodies that are still coming."""
        self.begun_us = 0
        """Predicted execution time of all that was ever started."""
        self.explored_us: int | None = None
        """When a request was taken last only to learn how long it takes: a trial."""
        self.trials_kept = 0
        """So many trials in a row met their objective."""

    def ran(self, request: QueuedRequest, now_us: int) -> None:
        """A request of it ran to its end: was that a trial, then how it went decides when the next one may be."""
        if self.explored_us == request.arrival_us:
            self.trials_kept = self.trials_kept + 1 if now_us <= request.objective_us else 0

    def live(self) -> bool:
        """Whether a replica is warm or starting: requests may wait for it."""
        for replica in self.replicas.values():
            if replica.state is ReplicaState.WARM or replica.state is ReplicaState.STARTING:
                return True
        return False

    def has_free_slot(self) -> bool:
        for device in self.devices:  # noqa: SIM110  every request asks, and any() takes twice as long
            if self.key in device.ready and device.has_slot():
                return True
        return False

    def free(self) -> int:
        """Requests that its warm replicas could take at once now, slots of shared devices counted."""
        total = 0
        for device in self.devices:
            free = sum(replica.free() for replica in device.ready.get(self.key, ()))
            total += device.free_slots(free)
        return total

    def in_flight(self) -> int:
        """Executions that its device would have in flight with one more request of it, that one included; of several
        devices the least loaded one.
        """
        least = None
        for device in self.devices:
            count = device.running + (1 if self.key in device.ready and device.has_slot() else 0)
            if least is None or count < least:
                least = count
        return max(1, least or 0)

    def count(self, state: ReplicaState) -> int:
        return sum(replica.state is state for replica in self.replicas.values())


class ReplicaTable(Generic[P]):
    """All replicas of one agent."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self.devices: dict[str, DeviceSlots[P]] = {device.id: DeviceSlots(device) for device in devices}
        self.by_id: dict[str, P] = {}
        self.flows: dict[str, FlowState[P]] = {}

    def flow(self, key: str, function: str, variant: Variant) -> FlowState[P]:
        """The flow's state, made at first use."""
        state = self.flows.get(key)
        if state is None:
            state = self.flows[key] = FlowState(key, function, variant)
        return state

    def of_function(self, function: str) -> tuple[FlowState[P], ...]:
        """The flows that a function has here, one for each variant."""
        keys = (function, flow_of(function, Variant.CPU, Variant.GPU))
        return tuple(flow for key in keys if (flow := self.flows.get(key)) is not None)

    def forget_flow(self, flow: FlowState[P]) -> None:
        """Drop a flow that is not defined (any more) and has nothing left."""
        unused = flow.definition is None and not flow.replicas and not flow.running and not flow.promised_us
        if unused and self.flows.get(flow.key) is flow:
            del self.flows[flow.key]

    def add(self, replica: P) -> None:
        self.by_id[replica.spec.id] = replica
        replica.flow.replicas[replica.spec.id] = replica
        replica.device.residents.append(replica)

    def remove(self, replica: P) -> None:
        """The replica is gone. What still runs on it keeps its count of the device's slots until it ends."""
        replica.state = ReplicaState.GONE
        del self.by_id[replica.spec.id]
        del replica.flow.replicas[replica.spec.id]
        replica.device.residents.remove(replica)
        self.state_changed(replica)

    def refresh(self, replica: P) -> None:
        """Bring the ready view up to date after anything about the replica changed."""
        ready = replica.device.ready
        key = replica.flow.key
        listed = ready.get(key)
        if replica.free() > 0:
            if listed is None:
                ready[key] = [replica]
            elif replica not in listed:
                listed.append(replica)
        elif listed is not None and replica in listed:
            listed.remove(replica)
            if not listed:
                del ready[key]

    def state_changed(self, replica: P) -> None:
        """The same after its state changed: also which devices its flow has."""
        self.refresh(replica)
        flow = replica.flow
        warm = {r.device.device.id: r.device for r in flow.replicas.values() if r.state is ReplicaState.WARM}
        flow.devices = tuple(warm.values())
        products = {device.device.product for device in flow.devices}
        flow.product = products.pop() if len(products) == 1 else None

    def occupy(self, replica: P, run: Run) -> None:
        replica.running.add(run)
        if replica.charge is not None:
            replica.charge.begin(run, run.dispatched_us)
        replica.idle_since_us = None
        replica.flow.running += 1
        replica.flow.begun_us += run.request.predicted_exec_us
        replica.device.running += 1
        replica.device.begun_us += run.request.predicted_exec_us
        if not replica.exclusive:
            replica.device.shared_running += 1
        if len(replica.running) >= replica.concurrency:
            self.refresh(replica)

    def vacate(self, replica: P, run: Run, now_us: int) -> None:
        replica.running.remove(run)
        if replica.charge is not None:
            replica.charge.end(run, now_us)
        replica.overdue.discard(run)
        replica.flow.running -= 1
        replica.device.running -= 1
        replica.device.busy_us += now_us - run.dispatched_us
        if not replica.exclusive:
            replica.device.shared_running -= 1
        self.refresh(replica)
        if not replica.running and replica.state is ReplicaState.WARM:
            replica.idle_since_us = now_us
