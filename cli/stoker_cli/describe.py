"""Makes the StateView of a running platform from what its parts say of themselves. Reads, never changes."""

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct

from stoker.model.demand import Demand, VariantDemand
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.model.status import FunctionStatus
from stoker.prediction import Predictions
from stoker_cli.costs.cost_view import CostState
from stoker_cli.records import Records
from stoker_cli.state_view import (
    ConditionView,
    DeviceView,
    FunctionView,
    PolicyView,
    ResidentView,
    SloView,
    StateView,
    VariantView,
)


class World(Struct, frozen=True, kw_only=True):
    """Everything at one instant."""

    pid: int
    url: str
    uptime_us: int
    policy: Policy
    """What acts, with the queueing policy that acts."""
    draining: bool
    functions: Mapping[str, Function]
    statuses: Mapping[str, FunctionStatus]
    replicas: Collection[ReplicaStatus]
    devices: Collection[Device]
    reservations: Collection[Reservation]
    demand: Demand
    queued: Mapping[str, Mapping[Variant, int]]
    prediction: Predictions
    costs: Mapping[str, CostState] = {}
    cost_warnings: Callable[[Function], Sequence[str]] = lambda _: ()
    records: Records


def describe(world: World) -> StateView:
    """The whole view."""
    return StateView(
        pid=world.pid,
        url=world.url,
        uptime_s=round(world.uptime_us / 1_000_000, 1),
        queueing=world.policy.queueing,
        policy=PolicyView(
            profile=world.policy.profile,
            admission=world.policy.admission_policy,
            admission_mode=world.policy.admission,
            allocation=world.policy.allocation,
            device_choice=world.policy.device_choice,
            keep_alive=world.policy.keep_alive,
            pre_warm=world.policy.pre_warm,
        ),
        draining=world.draining,
        functions={key: _function(world, function) for key, function in sorted(world.functions.items())},
        devices=[_device(world, device) for device in world.devices],
        records=len(world.records),
        records_kept=world.records.kept,
    )


def url_of(base: str, function: Function) -> str:
    """Where a function is called."""
    return f"{base}/{function.namespace}/{function.name}/"


def _function(world: World, function: Function) -> FunctionView:
    status = world.statuses.get(function.key)
    slo = function.spec.slo
    tally = world.records.tally(function.key)
    return FunctionView(
        url=url_of(world.url, function),
        revision=status.revision if status is not None else function.revision,
        updating=status.updating if status is not None else None,
        why_waiting=status.why_waiting if status is not None else "",
        timeout_ms=function.spec.timeout_us / 1000,
        primary=function.primary,
        conditions=[
            ConditionView(type=one.type, status=one.status, reason=one.reason, message=one.message)
            for one in (status.conditions if status is not None else ())
        ],
        variants={variant: _variant(world, function, variant) for variant in function.variants},
        slo=SloView(
            latency_ms=slo.latency_us / 1000,
            cold_latency_ms=None if slo.cold_latency_us is None else slo.cold_latency_us / 1000,
            percentile=slo.percentile,
            offered=tally.offered,
            on_time=tally.on_time,
            late=tally.late,
            refused=tally.refused,
            expired=tally.expired,
            failed=tally.failed,
            cold=tally.cold,
            attainment=round(tally.on_time / tally.offered, 6) if tally.offered else None,
        ),
        cost=world.costs.get(function.key),
        classes={name: latency_us / 1000 for name, latency_us in slo.classes.items()},
        refusals=dict(tally.refusals),
        diverted=dict(tally.diverted),
        origin=function.origin,
        warnings=[*function.warnings, *world.cost_warnings(function)],
    )


def _variant(world: World, function: Function, variant: Variant) -> VariantView:
    own = [one for one in world.replicas if one.spec.function == function.key and one.spec.variant is variant]
    counts = {state.value: sum(one.state is state for one in own) for state in ReplicaState}
    execution = world.prediction.exec_us(function, variant)
    start = world.prediction.start_us(function, variant)
    return VariantView(
        replicas={state: count for state, count in counts.items() if count},
        held=world.demand.get(function.key, {}).get(variant, VariantDemand()).held,
        queued=world.queued.get(function.key, {}).get(variant, 0),
        running=sum(one.in_flight for one in own),
        exec_ms=execution.us / 1000,
        exec_samples=execution.samples,
        exec_p50_ms=world.records.tally(function.key).exec_p50_ms(variant),
        start_ms=start.us / 1000,
        start_samples=start.samples,
    )


def _device(world: World, device: Device) -> DeviceView:
    held = [one for one in world.reservations if one.device_id == device.id]
    by_id = {one.spec.id: one for one in world.replicas}
    return DeviceView(
        id=device.id,
        label=device.label,
        product=device.product,
        kind=device.kind,
        simulated=device.simulated,
        healthy=device.healthy,
        reason=device.reason,
        memory_mib=device.memory_mib,
        reserved_mib=sum(one.memory_mib for one in held),
        residents=[
            ResidentView(
                replica=one.replica_id,
                # A reservation is made before its process is known to the agent, and outlives it by a moment.
                state=by_id[one.replica_id].state if one.replica_id in by_id else ReplicaState.STARTING,
                memory_mib=one.memory_mib,
                in_flight=by_id[one.replica_id].in_flight if one.replica_id in by_id else 0,
            )
            for one in held
        ],
    )
