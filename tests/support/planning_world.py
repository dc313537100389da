"""A small model of the world that plan() acts on: replicas start, run what is offered and end, in model time.

Used by unit and property tests. It enforces what the agent enforces: a reservation that does not fit is an error.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from stoker.control.plan import plan
from stoker.control.planning import (
    Action,
    Drain,
    Failure,
    Kill,
    Observed,
    Plan,
    PlanMemory,
    PlanParams,
    Start,
    Stop,
)
from stoker.model.demand import VariantDemand
from stoker.model.device import Device, DeviceKind, Reservation, fits
from stoker.model.function import (
    ContainerSpec,
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    Scaling,
    Sharing,
    Slo,
    Variant,
)
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.reasons import Reason
from stoker.sizing.service_time import ServiceTime

S = 1_000_000
GPU, CPU = Variant.GPU, Variant.CPU


def gpus(count: int = 1, memory_mib: int = 40_960, product: str = "A100-40GB", first: int = 0) -> list[Device]:
    return [
        Device(id=f"sim-{first + i}", kind=DeviceKind.GPU, product=product, memory_mib=memory_mib, simulated=True)
        for i in range(count)
    ]


def cores(millicores: int = 2000, memory_mib: int = 8192) -> Device:
    return Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=memory_mib, millicores=millicores)


def revision_of(number: int) -> str:
    return f"{number:010x}"


def make_function(
    name: str = "f",
    *,
    namespace: str = "default",
    revision: int = 1,
    latency_us: int = S,
    gpu: tuple[GpuOption, ...] | None = None,
    memory_mib: int = 4096,
    sharing: Sharing = Sharing.EXCLUSIVE,
    container: ContainerSpec | None = None,
    cpu_variant: CpuVariant | None = None,
    fair_share: int = 1,
    progress_deadline_us: int = 600 * S,
    **scaling: Any,
) -> Function:
    options = (GpuOption(memory_mib=memory_mib, sharing=sharing),) if gpu is None else gpu
    return Function(
        namespace=namespace,
        name=name,
        uid=name,
        generation=revision,
        revision=revision_of(revision),
        spec=FunctionSpec(
            container=container or ContainerSpec(),
            gpu=options,
            cpu_variant=cpu_variant,
            slo=Slo(latency_us=latency_us),
            fair_share=fair_share,
            progress_deadline_us=progress_deadline_us,
            scaling=Scaling(**scaling),
        ),
    )


def key_of(name: str) -> str:
    """A function's key by its name; `namespace/name` is one."""
    return name if "/" in name else f"default/{name}"


class World:
    """Model time in microseconds; `step()` advances it, ends and starts what is due, and plans."""

    def __init__(self, functions: list[Function], devices: list[Device], **params: Any) -> None:
        self.now_us = 100 * S
        self.functions = {function.key: function for function in functions}
        self.devices = list(devices)
        self.params = PlanParams(**params)
        self.memory = PlanMemory()
        self.replicas: dict[str, ReplicaStatus] = {}
        self.reservations: dict[str, tuple[Reservation, ...]] = {}
        self.load: dict[tuple[str, Variant], int] = {}
        self.wakes: dict[tuple[str, Variant], int] = {}
        self.start_us = 2 * S
        self.exec_us = S
        self.never_ready: set[str] = set()
        """Revisions whose replicas never get ready."""
        self.crashes: set[str] = set()
        """Revisions whose replicas die at once."""
        self.failures: list[Failure] = []
        self.actions: list[tuple[int, Action]] = []
        self.last: Plan | None = None
        self._busy_until: dict[str, int] = {}
        self.known_start = True
        self.exec_known_us: dict[str, int] = {}
        """What plan() is told of execution times, by key."""
        self.arrivals: dict[tuple[str, Variant], int] = {}
        """Counters, as the gateways tell them."""
        self.service: dict[str, dict[Variant, ServiceTime]] = {}
        self.weights: dict[str, int] = {}
        """Of namespaces."""

    def want(self, name: str, requests: int, variant: Variant = GPU) -> None:
        """So many requests are in the system for the function from now on."""
        self.load[key_of(name), variant] = requests
        if requests:
            self.wake(name, variant)

    def call(self, name: str) -> None:
        """One request that a replica is started for if need be, and that is gone after 4 s."""
        self.want(name, 1)
        self.run(4 * S, by_us=S)
        self.want(name, 0)
        self.run(2 * S, by_us=S)

    def wake(self, name: str, variant: Variant = GPU) -> None:
        self.wakes[key_of(name), variant] = self.now_us

    def observed(self) -> Observed:
        demand: dict[str, dict[Variant, VariantDemand]] = {}
        for pair in {*self.load, *self.wakes}:
            demand.setdefault(pair[0], {})[pair[1]] = VariantDemand(
                in_system=self.load.get(pair, 0),
                last_wake_us=self.wakes.get(pair),
                arrivals=self.arrivals.get(pair, 0),
            )
        starts = {key: dict.fromkeys(Variant, self.start_us) for key in self.functions}
        return Observed(
            functions=self.functions,
            devices=tuple(self.devices),
            reservations=tuple(part for parts in self.reservations.values() for part in parts),
            replicas=tuple(self.replicas.values()),
            demand=demand,
            start_us=starts if self.known_start else {},
            exec_us={key: dict.fromkeys(Variant, took_us) for key, took_us in self.exec_known_us.items()},
            service=self.service,
            namespace_weights=self.weights,
            failures=tuple(self.failures),
            leaving=frozenset(r.spec.id for r in self.replicas.values() if r.state is ReplicaState.DRAINING),
            memory=self.memory,
        )

    def plan(self) -> Plan:
        """Plan once and let the actions show."""
        result = plan(self.observed(), self.now_us, self.params)
        self.memory = result.memory
        self.failures = []
        self.last = result
        for action in result.actions:
            self.actions.append((self.now_us, action))
            self._act(action)
        return result

    def _act(self, action: Action) -> None:
        if isinstance(action, Start):
            identity = action.spec.id
            assert identity not in self.replicas, "an id that is in use was used again"
            for part in action.reservations:
                device = next(d for d in self.devices if d.id == part.device_id)
                held = tuple(r for parts in self.reservations.values() for r in parts if r.device_id == device.id)
                assert fits(device, held, part.memory_mib, part.millicores, part.sharing), "a device is over capacity"
            self.reservations[identity] = action.reservations
            self.replicas[identity] = ReplicaStatus(
                spec=action.spec, state=ReplicaState.STARTING, started_us=self.now_us
            )
        elif isinstance(action, Drain):
            self._change(action.replica_id, state=ReplicaState.DRAINING, idle_since_us=None)
        elif isinstance(action, Kill | Stop):
            self._gone(action.replica_id)

    def _change(self, identity: str, **fields: Any) -> None:
        self.replicas[identity] = replace(self.replicas[identity], **fields)

    def _gone(self, identity: str) -> None:
        del self.replicas[identity]
        del self.reservations[identity]
        self._busy_until.pop(identity, None)

    def crash(self, identity: str, reason: Reason = Reason.REPLICA_FAILED) -> None:
        """The replica's process dies."""
        status = self.replicas[identity]
        spec = status.spec
        self._gone(identity)
        self.failures.append(
            Failure(
                function=spec.function,
                variant=spec.variant,
                revision=spec.revision,
                replica_id=identity,
                at_us=self.now_us,
                reason=reason if status.ready_us is not None else Reason.START_FAILED,
                detail="it ended with exit code 3; its last output: no such model",
                warm_us=None if status.ready_us is None else self.now_us - status.ready_us,
            )
        )

    def step(self, by_us: int = 250_000) -> Plan:
        """Advance, let replicas get ready, run and end, then plan."""
        self.now_us += by_us
        self.settle()
        return self.plan()

    def settle(self) -> None:
        """What replicas do by themselves up to now."""
        for status in list(self.replicas.values()):
            identity, spec = status.spec.id, status.spec
            if status.state is ReplicaState.STARTING:
                if spec.revision in self.crashes:
                    self.crash(identity)
                elif spec.revision not in self.never_ready and self.now_us - status.started_us >= self.start_us:
                    self._change(identity, state=ReplicaState.WARM, ready_us=self.now_us, idle_since_us=self.now_us)
        for identity, status in list(self.replicas.items()):
            self._run(identity, status)

    def _run(self, identity: str, status: ReplicaStatus) -> None:
        if status.state not in (ReplicaState.WARM, ReplicaState.DRAINING):
            return
        if status.in_flight and self.now_us >= self._busy_until[identity]:
            served = status.served + status.in_flight
            self._change(identity, in_flight=0, served=served, idle_since_us=self.now_us)
            status = self.replicas[identity]
        if status.state is ReplicaState.DRAINING and not status.in_flight:
            self._gone(identity)
            return
        pair = (status.spec.function, status.spec.variant)
        flying = sum(r.in_flight for r in self.replicas.values() if (r.spec.function, r.spec.variant) == pair)
        if status.state is ReplicaState.WARM and not status.in_flight and self.load.get(pair, 0) > flying:
            self._change(identity, in_flight=1, idle_since_us=None)
            self._busy_until[identity] = self.now_us + self.exec_us

    def until(self, condition: Callable[[], bool], limit_us: int = 60 * S, by_us: int = 250_000) -> None:
        """Step until the condition holds."""
        end = self.now_us + limit_us
        while not condition():
            assert self.now_us < end, f"not within {limit_us / S} s of model time; actions: {self.actions[-8:]}"
            self.step(by_us)

    def run(self, for_us: int, by_us: int = 250_000) -> None:
        end = self.now_us + for_us
        while self.now_us < end:
            self.step(by_us)

    def ids(self, name: str, state: ReplicaState | None = None, revision: int | None = None) -> list[str]:
        return sorted(
            r.spec.id
            for r in self.replicas.values()
            if r.spec.function == key_of(name)
            and (state is None or r.state is state)
            and (revision is None or r.spec.revision == revision_of(revision))
        )

    def warm(self, name: str, revision: int | None = None) -> int:
        return len(self.ids(name, ReplicaState.WARM, revision))

    def drains(self, reason: Reason | None = None) -> list[Drain]:
        return [a for _, a in self.actions if isinstance(a, Drain) and reason in (None, a.reason)]

    def starts(self, name: str | None = None) -> list[Start]:
        wanted = None if name is None else key_of(name)
        return [a for _, a in self.actions if isinstance(a, Start) and wanted in (None, a.function.key)]


def status_of(
    name: str = "f",
    *,
    state: ReplicaState = ReplicaState.WARM,
    ordinal: int = 0,
    devices: tuple[str, ...] = ("sim-0",),
    revision: int = 1,
    variant: Variant = GPU,
    **fields: Any,
) -> ReplicaStatus:
    spec = ReplicaSpec(
        id=f"default/{name}-{revision_of(revision)}-{ordinal}",
        function=f"default/{name}",
        variant=variant,
        revision=revision_of(revision),
        ordinal=ordinal,
        devices=devices,
    )
    return ReplicaStatus(spec=spec, state=state, **{"started_us": 0, **fields})
