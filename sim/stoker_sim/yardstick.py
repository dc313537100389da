"""The bound that every report is held against: the most requests that any policy could serve on time.

The workload and the devices in the form that stoker_sim.bound prices. Where the bound's model has no counterpart the
most favourable one is taken: no slowdown by neighbours, several devices of one replica count as one, and what came
during the warm-up takes no time. Knows no policy.
"""

from collections.abc import Iterable

import numpy as np

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, GpuOption, Sharing, Variant
from stoker_sim.bound.demand import NEVER, Demand, Ints
from stoker_sim.bound.instance import Instance, InstanceDevice, InstanceFunction, InstanceRequest
from stoker_sim.bound.relaxation import Grain, ceiling
from stoker_sim.engine.setup import Form, Setup
from stoker_sim.workload import CPU, SimFunction, Workload

GRAIN = Grain(cells=20_000, piece=20_000)
"""Coarse enough for a report: a second instead of minutes, and within a few requests in a thousand of the default."""


SMALL_REQUESTS, SMALL_DEVICES = 60, 3
"""Up to which the optimum itself is searched for."""


def most_on_time(workload: Workload, setup: Setup, warm_up_us: int = 0) -> tuple[int, int]:
    """An upper bound on the requests on time of those that come after the warm-up, and how many come.

    Open arrivals only: what clients in closed loops ask depends on the policy.
    """
    demand = demand_of(workload, setup, warm_up_us)
    return ceiling(demand, grain=GRAIN).weight, len(demand.arrival_us)


def optimum(workload: Workload, setup: Setup, warm_up_us: int = 0, *, ceiling: int | None = None) -> int | None:
    """The most requests on time of any schedule; None where it is too much, or the search came to no end.

    `ceiling` is an upper bound known already, as from most_on_time(); a schedule that reaches it ends the search.
    """
    if warm_up_us:
        workload = workload.slice(warm_up_us, workload.horizon_us)
    if len(workload) > SMALL_REQUESTS or len(setup.devices) > SMALL_DEVICES or workload.closed:
        return None
    from stoker_sim.bound.exact import most_weight  # noqa: PLC0415  OR-Tools takes half a second to import

    best = most_weight(instance_of(workload, setup, warm=warm_up_us > 0), ceiling=ceiling)
    return best.value.weight if best.proven and best.value is not None else None


def instance_of(workload: Workload, setup: Setup, *, warm: bool = False) -> Instance:
    """A small workload as an instance; `warm`: any function may be resident anywhere when it begins."""
    functions = []
    for function in workload.functions:
        definition = function.definition
        first_us = 0 if warm or setup.form is Form.STATIC else _start_us(function, setup)
        start_us = 0 if warm or setup.form is Form.STATIC else _again_us(function, setup)
        products = {d.product for d in setup.devices if _held(function, d, setup.form) is not None}
        options = definition.spec.gpu if setup.form is Form.REPLICAS else definition.spec.gpu[:1]
        on_cpu = CPU in products
        functions.append(
            InstanceFunction(
                key=function.key,
                memory_mib=0 if setup.form is Form.STATIC else min((o.memory_mib for o in options), default=0),
                exclusive=setup.form is Form.REPLICAS and all(o.sharing is Sharing.EXCLUSIVE for o in options),
                start_us=dict.fromkeys(sorted(products), start_us),
                cold_us=first_us,
                concurrency=definition.concurrency_of(Variant.GPU) if options else 1,
                cpu=on_cpu,
                cpu_millis=definition.container_of(Variant.CPU).cpu_millis if setup.form is not Form.STATIC else 0,
                cpu_concurrency=definition.concurrency_of(Variant.CPU) if on_cpu else 1,
            )
        )
    widest = _widest(workload, setup)
    times = {device.product: workload.exec_on(device.product).tolist() for device in setup.devices}
    objectives = workload.objectives_us().tolist()
    rows = zip(workload.time_us.tolist(), workload.function.tolist(), objectives, strict=True)
    return Instance(
        devices=tuple(
            InstanceDevice(
                id=device.id,
                kind=device.kind,
                product=device.product,
                memory_mib=device.memory_mib,
                millicores=device.millicores,
                slots=_slots(device, setup.form, widest),
            )
            for device in setup.devices
        ),
        functions=tuple(functions),
        requests=tuple(
            InstanceRequest(
                id=str(row),
                function=function,
                arrival_us=time_us,
                deadline_us=time_us + slo_us,
                exec_us={product: column[row] for product, column in times.items() if column[row] > 0},
            )
            for row, (time_us, function, slo_us) in enumerate(rows)
        ),
    )


def demand_of(workload: Workload, setup: Setup, warm_up_us: int = 0) -> Demand:
    """The requests after the warm-up as columns; after one any function may be resident anywhere at its end."""
    if warm_up_us:
        workload = workload.slice(warm_up_us, workload.horizon_us)
    pools: dict[tuple[object, ...], list[Device]] = {}
    for device in setup.devices:
        kind = (device.kind, device.product, device.memory_mib, device.millicores, device.mode, device.shares)
        pools.setdefault((*kind, bool(device.node)), []).append(device)
    firsts = [devices[0] for devices in pools.values()]
    count = len(workload)
    ready = np.full((len(workload.functions), len(firsts)), NEVER)
    share = np.zeros(ready.shape)
    exec_us = np.zeros((count, len(firsts)), np.int64)
    for p, device in enumerate(firsts):
        for f, function in enumerate(workload.functions):
            held = _held(function, device, setup.form)
            if held is not None:
                share[f, p] = held
                ready[f, p] = 0 if warm_up_us or setup.form is Form.STATIC else _start_us(function, setup)
        product = CPU if device.kind is DeviceKind.CPU else device.product
        exec_us[:, p] = np.where(ready[workload.function, p] < NEVER, workload.exec_on(product), 0)
    widest = _widest(workload, setup)
    return Demand(
        pools=tuple(first.product for first in firsts),
        slots=_ints(sum(_slots(device, setup.form, widest) for device in devices) for devices in pools.values()),
        capacity=_ints(sum(_capacity(device) for device in devices) for devices in pools.values()),
        ready_us=ready,
        share=share,
        rate=np.zeros(ready.shape),
        function=workload.function.astype(np.int64),
        arrival_us=workload.time_us,
        deadline_us=workload.time_us + workload.objectives_us(),
        weight=np.ones(count, np.int64),
        exec_us=exec_us,
    )


def homeless(workload: Workload, setup: Setup) -> int:
    """How many functions fit on no device: all of their requests are refused."""
    return sum(
        all(_held(function, device, setup.form) is None for device in setup.devices) for function in workload.functions
    )


def _held(function: SimFunction, device: Device, form: Form) -> float | None:
    """What one execution holds of the device's memory or cores at least; None where it cannot run there."""
    definition = function.definition
    variant = Variant.CPU if device.kind is DeviceKind.CPU else Variant.GPU
    allowed = definition.variants if form is Form.REPLICAS else (definition.primary,)
    product = CPU if variant is Variant.CPU else device.product
    if variant not in allowed or function.behaviour.exec_on(product) is None:
        return None
    if form is Form.STATIC:
        return 0.0
    if variant is Variant.CPU:
        millis = definition.container_of(variant).cpu_millis
        return millis / definition.concurrency_of(variant) if millis <= device.millicores else None
    fitting = [option for option in definition.spec.gpu if device.satisfies(option)]
    if not fitting:
        return None
    return min(_memory_mib(option, device, form) for option in fitting) / definition.concurrency_of(variant)


def _memory_mib(option: GpuOption, device: Device, form: Form) -> int:
    alone = form is Form.REPLICAS and option.sharing is Sharing.EXCLUSIVE
    return device.memory_mib if alone else option.memory_mib


def _start_us(function: SimFunction, setup: Setup) -> int:
    """When it could be resident first."""
    behaviour = function.behaviour
    swaps = setup.form is Form.LATE_BINDING and setup.memory.in_host_at_start and behaviour.resume_us
    return behaviour.resume_us if swaps else behaviour.cold_us


def _again_us(function: SimFunction, setup: Setup) -> int:
    """What the cheapest start takes once it was resident: a swap from host memory where there are swaps."""
    behaviour = function.behaviour
    swaps = setup.form is Form.LATE_BINDING and behaviour.resume_us
    return min(behaviour.resume_us, behaviour.cold_us) if swaps else behaviour.cold_us


def _widest(workload: Workload, setup: Setup) -> int:
    """The most requests that an exclusive replica takes at once: such a device has as many slots."""
    if setup.form is not Form.REPLICAS:
        return 1
    return max((_alone(function.definition) for function in workload.functions), default=1)


def _alone(definition: Function) -> int:
    exclusive = any(option.sharing is Sharing.EXCLUSIVE for option in definition.spec.gpu)
    return definition.concurrency_of(Variant.GPU) if exclusive else 1


def _slots(device: Device, form: Form, widest: int) -> int:
    if device.kind is DeviceKind.GPU:
        return max(device.slots, widest)
    return max(1, device.millicores // 1000) if form is Form.STATIC else device.millicores


def _capacity(device: Device) -> int:
    return device.millicores if device.kind is DeviceKind.CPU else device.memory_mib


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)
