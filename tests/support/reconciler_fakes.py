"""A fake agent, gateway, launcher and metrics sink around a real reconciler; they record the order of calls."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from planning_world import GPU, cores, gpus

from stoker.control.planning import PlanParams
from stoker.decider import Decider
from stoker.metrics import MetricSpec
from stoker.model.demand import Demand, VariantDemand
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Probe, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker_cli.processes.launcher import ExitInfo
from stoker_cli.reconciler import Reconciler

MS = 1000


def clock_us() -> int:
    return time.monotonic_ns() // 1000


class FakeAgent:
    """Keeps promises and states as the agent does; a test says when a replica is ready or busy."""

    def __init__(self, calls: list[str], devices: Sequence[Device]) -> None:
        self.calls = calls
        self.all_devices = tuple(devices)
        self.held: dict[str, tuple[Reservation, ...]] = {}
        self.statuses: dict[str, ReplicaStatus] = {}
        self.drained: dict[str, asyncio.Event] = {}
        self.refuse: Reason | None = None
        self.reasons: dict[str, Reason | None] = {}
        self.predictions = Predictions()
        self.callback: Callable[[], None] = lambda: None
        self.ready_at_once = True

    def devices(self) -> tuple[Device, ...]:
        return self.all_devices

    def reservations(self) -> tuple[Reservation, ...]:
        return tuple(part for parts in self.held.values() for part in parts)

    def reserve(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Reason | None:
        self.calls.append(f"reserve {spec.id}")
        if self.refuse is not None:
            return self.refuse
        self.held[spec.id] = tuple(reservations)
        self.statuses[spec.id] = ReplicaStatus(spec=spec, state=ReplicaState.STARTING, started_us=clock_us())
        return None

    def attach(self, replica_id: str, host: str, port: int, readiness: Probe) -> None:
        self.calls.append(f"attach {replica_id}")
        if self.ready_at_once:
            self.change(replica_id, state=ReplicaState.WARM, ready_us=clock_us(), idle_since_us=clock_us())

    async def drain(self, replica_id: str) -> None:
        self.calls.append(f"drain {replica_id}")
        if replica_id not in self.statuses:
            return
        self.change(replica_id, state=ReplicaState.DRAINING)
        if self.statuses[replica_id].in_flight:
            await self.drained.setdefault(replica_id, asyncio.Event()).wait()

    def detach(self, replica_id: str, reason: Reason | None = None) -> None:
        if self.statuses.pop(replica_id, None) is None:
            return
        self.calls.append(f"detach {replica_id}")
        self.reasons[replica_id] = reason
        self.held.pop(replica_id)
        self.drained.setdefault(replica_id, asyncio.Event()).set()
        self.callback()

    def change(self, replica_id: str, **fields: Any) -> None:
        self.statuses[replica_id] = replace(self.statuses[replica_id], **fields)
        self.callback()

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        return tuple(self.statuses.values())

    def queued(self) -> dict[str, dict[Variant, int]]:
        return {}

    def prediction(self) -> Predictions:
        return self.predictions

    def on_change(self, callback: Callable[[], None]) -> None:
        self.callback = callback


class FakeGateway:
    def __init__(self) -> None:
        self.wanted: Demand = {}
        self.callback: Callable[[], None] = lambda: None

    def demand(self) -> Demand:
        return self.wanted

    def on_demand(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def want(self, count: int, key: str = "default/f", variant: Variant = GPU) -> None:
        self.wanted = {**self.wanted, key: {variant: VariantDemand(in_system=count, last_wake_us=clock_us())}}
        self.callback()


class FakeLauncher:
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.on_exit: Callable[[str, ExitInfo], None] = lambda _id, _info: None
        self.alive: set[str] = set()
        self.errors: list[Exception] = []
        self.terminate_errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        self.calls.append(f"launch {replica.id}")
        assert [device.id for device in devices] == list(replica.devices)
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.alive.add(replica.id)
        return 4000

    def give_up(self, replica_id: str) -> None:
        """Its launches take no time."""

    async def terminate(self, replica_id: str, grace_us: int) -> None:
        self.calls.append(f"terminate {replica_id} {grace_us // MS}")
        if self.terminate_errors:
            raise self.terminate_errors.pop(0)
        await asyncio.sleep(0)
        self.die(replica_id, ExitInfo(code=0))

    def die(self, replica_id: str, info: ExitInfo) -> None:
        if replica_id in self.alive:
            self.alive.remove(replica_id)
            self.on_exit(replica_id, info)


class Sink:
    def __init__(self) -> None:
        self.counts: list[tuple[str, tuple[str, ...]]] = []

    def inc(self, spec: MetricSpec, *labels: str, amount: float = 1) -> None:
        self.counts.append((spec.name, labels))

    def set(self, spec: MetricSpec, value: float, *labels: str) -> None: ...
    def observe(self, spec: MetricSpec, value: float, *labels: str) -> None: ...
    def forget(self, spec: MetricSpec, *labels: str) -> None: ...
    def forget_function(self, namespace: str, function: str) -> None: ...


class Bench:
    def __init__(
        self,
        *functions: Function,
        devices: Sequence[Device] | None = None,
        decider: Decider = Decider(),  # noqa: B008  it has no state
        **params: Any,
    ) -> None:
        self.calls: list[str] = []
        self.sink = Sink()
        self.agent = FakeAgent(self.calls, devices or [*gpus(1), cores()])
        self.gateway = FakeGateway()
        self.launcher = FakeLauncher(self.calls)
        self.reconciler = Reconciler(
            agent=self.agent,
            gateway=self.gateway,
            launcher=self.launcher,
            clock_us=clock_us,
            metrics=self.sink,
            params=PlanParams(**{"back_off_us": 20 * MS, "wake_us": 1, **params}),
            decider=decider,
        )
        self.reconciler.set_functions({function.key: function for function in functions})

    def state(self) -> list[str]:
        return [str(status.state) for status in self.agent.replicas()]

    def only(self) -> str:
        (identity,) = self.agent.statuses
        return identity
