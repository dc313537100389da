"""One look at the cluster as plan() takes it: pods, reports, ledger and demand, all on the operator's clock. Pure."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from stoker.control.planning import Failure, Observed, Pair, PlanMemory, Start
from stoker.cost.costs import NO_COSTS, Costs
from stoker.model.demand import Demand
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.reasons import Reason
from stoker.sizing.service_time import ServiceTime
from stoker_operator.assumed_devices import Homeless, assume, reservations_of
from stoker_operator.pod_view import ReplicaPod, started_us

Waiting = Callable[[ReplicaPod], tuple[Reason, str] | None]


class Look(Struct, frozen=True, kw_only=True):
    """Everything that one round looks at."""

    functions: dict[str, Function]
    policy: Policy
    views: Iterable[ReplicaPod]
    """Replicas' pods of any phase."""
    making: tuple[Start, ...]
    """Pods that are being made and do not show yet."""
    planned: Mapping[str, tuple[str, ...]]
    """Devices that plan() chose, by replica."""
    devices: tuple[Device, ...]
    demand: Demand
    queued: dict[str, dict[Variant, int]]
    start_us: dict[str, dict[Variant, int]]
    exec_us: dict[str, dict[Variant, int]] = {}
    service: dict[str, dict[Variant, ServiceTime]] = {}
    failures: tuple[Failure, ...]
    leaving: frozenset[str]
    killed: frozenset[str]
    lost: frozenset[str] = frozenset()
    """Nodes that are given up."""
    memory: PlanMemory
    costs: Costs = NO_COSTS
    nodes: dict[Pair, frozenset[str]]
    now_us: int
    wall_us: int


def observe(look: Look, waiting: Waiting) -> Observed:
    """What plan() is to see. A pod that has ended is no replica, but its name is taken until it is gone."""
    views = [view for view in look.views if not _is_over(view, look)]
    taken = {view.replica.id for view in look.views if _is_over(view, look)}
    shown = {view.replica.id for view in views}
    making = [start for start in look.making if start.spec.id not in shown]
    by_id = {device.id: device for device in look.devices}
    reservations: list[Reservation] = []
    homeless: list[Homeless] = []
    for view in views:
        devices = real_devices(view)
        if devices:
            reservations.extend(reservations_of(view.replica, devices, by_id))
        else:
            planned = look.planned.get(view.replica.id, ())
            homeless.append(Homeless(replica=view.replica, node=view.node, planned=planned))
    for start in making:
        reservations.extend(start.reservations)
    assumed = assume(homeless, look.devices, reservations)
    for each in homeless:
        reservations.extend(reservations_of(each.replica, assumed[each.replica.id], by_id))
    namespaces = {function.namespace for function in look.functions.values()}
    rules = {name: look.policy.rule(name) for name in namespaces}
    return Observed(
        functions=look.functions,
        devices=look.devices,
        reservations=tuple(reservations),
        replicas=(
            *(_status(view, look, waiting) for view in views),
            *(_status_of_start(start, look.now_us) for start in making),
        ),
        demand=look.demand,
        queued=look.queued,
        start_us=look.start_us,
        exec_us=look.exec_us,
        service=look.service,
        failures=look.failures,
        leaving=look.leaving | taken,
        killed=look.killed,
        memory=look.memory,
        wall_us=look.wall_us,
        cross_tenant=look.policy.cross_tenant(namespaces),
        max_gpus={name: rule.max_gpus for name, rule in rules.items() if rule.max_gpus is not None},
        namespace_weights=look.policy.weights(namespaces),
        nodes=look.nodes,
        costs=look.costs,
    )


def _is_over(view: ReplicaPod, look: Look) -> bool:
    """Whether it holds and serves nothing any more. On a lost node nobody is left to end what was deleted: such a pod
    stays for as long as the Node object does.
    """
    return view.ended or (view.ending and view.node in look.lost)


def real_devices(view: ReplicaPod) -> tuple[str, ...]:
    """The devices that the agent says the pod really got, with ids as in the ledger; empty while it does not know."""
    if view.heard is None:
        return ()
    return tuple(f"{view.heard.node}/{device}" for device in view.heard.report.devices)


def _status(view: ReplicaPod, look: Look, waiting: Waiting) -> ReplicaStatus:
    replica, state = view.replica, view.state
    spec = ReplicaSpec(
        id=replica.id,
        function=replica.function,
        variant=replica.variant,
        revision=replica.revision,
        ordinal=replica.ordinal,
        devices=real_devices(view),
    )
    heard = view.heard
    began_us = started_us(view, look.now_us, look.wall_us)
    why = waiting(view) if state is ReplicaState.STARTING else None
    if heard is None:
        return ReplicaStatus(
            spec=spec,
            state=state,
            started_us=began_us,
            waiting=why[0] if why is not None else None,
            waiting_detail=why[1] if why is not None else "",
        )
    report = heard.report

    def since(age_ms: int | None) -> int | None:
        return None if age_ms is None else heard.at_us - age_ms * 1_000

    return ReplicaStatus(
        spec=spec,
        state=state,
        started_us=began_us,
        ready_us=since(report.ready_ms),
        idle_since_us=since(report.idle_ms),
        in_flight=report.in_flight,
        served=report.served,
        # It goes on while the agent says nothing new.
        overdue_us=None if report.overdue_ms is None else report.overdue_ms * 1_000 + (look.now_us - heard.at_us),
        waiting=why[0] if why is not None else None,
        waiting_detail=why[1] if why is not None else "",
        unfit=report.unfit,
    )


def _status_of_start(start: Start, now_us: int) -> ReplicaStatus:
    # Its devices are what plan() chose; nobody has really got them yet.
    spec = start.spec
    bare = ReplicaSpec(
        id=spec.id,
        function=spec.function,
        variant=spec.variant,
        revision=spec.revision,
        ordinal=spec.ordinal,
        devices=(),
    )
    return ReplicaStatus(spec=bare, state=ReplicaState.STARTING, started_us=now_us)
