"""What is asked of the devices, as columns: the form of an instance that the bound on whole traces is computed from.

Devices of one kind, product, capacity and price are one pool: what they can do together is no less than what each can
do. Requests become groups over buckets of time: those of one function whose arrivals are in one bucket and whose
deadlines are in one, and that take about as long, count as if each came with the first, was due with the last, and
took as long as the shortest of them. Both only widen what is possible. Knows no solver. Times are microseconds.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.device import DeviceKind
from stoker_sim.bound.instance import Instance, InstanceDevice

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER: int = np.iinfo(np.int64).max
"""In `ready_us`: the function cannot run on the pool."""


class Demand(Struct, frozen=True, kw_only=True, eq=False):
    """Columns by request, and tables by function (first axis) and pool (second)."""

    pools: tuple[str, ...]
    slots: Ints
    """Of each pool: concurrent executions."""
    capacity: Ints
    """Of each pool: MiB or millicores in all."""
    ready_us: Ints
    """The earliest that the function can be resident on a device of the pool; NEVER where it cannot be."""
    share: Floats
    """What one execution holds of the capacity at least: a residence's, divided by its concurrency."""
    rate: Floats
    """What it costs at least for each microsecond, in 1e-12 of the currency."""
    function: Ints
    arrival_us: Ints
    deadline_us: Ints
    weight: Ints
    exec_us: Ints
    """By request and pool; 0 where it cannot run."""

    @property
    def total_weight(self) -> int:
        return int(self.weight.sum())


class Groups(Struct, frozen=True, kw_only=True, eq=False):
    """Groups of requests, and their cells: one for each group, pool and bucket where some of it could run."""

    edges_us: Ints
    """Bounds of the buckets: bucket b is from edges_us[b] up to edges_us[b + 1]."""
    count: Floats
    weight: Floats
    """By group, of one request."""
    group: Ints
    """By cell, sorted; and so are the rest."""
    pool: Ints
    bucket: Ints
    exec_us: Floats
    most: Floats
    """The share of one request that fits into the cell at most."""
    held: Floats
    """Capacity times microseconds that a whole request takes there."""
    cost: Floats
    """What a whole request costs there at least."""


def demand_of(instance: Instance) -> Demand:
    """The columns of an instance."""
    pools: dict[tuple[DeviceKind, str, int, int], list[InstanceDevice]] = {}
    for device in instance.devices:
        pools.setdefault((device.kind, device.product, device.capacity, device.price_per_s_micro), []).append(device)
    firsts = [devices[0] for devices in pools.values()]
    shape = (len(instance.functions), len(firsts))
    ready, share, rate = np.full(shape, NEVER), np.zeros(shape), np.zeros(shape)
    for f, function in enumerate(instance.functions):
        for p, (first, devices) in enumerate(zip(firsts, pools.values(), strict=True)):
            start_us = instance.start_us(function, first)
            if start_us is not None:
                concurrency = instance.concurrency(function, first)
                resident = any(device.id in function.resident_at_0 for device in devices)
                ready[f, p] = 0 if resident else max(start_us, function.cold_us)
                share[f, p] = instance.holds(function, first) / concurrency
                rate[f, p] = instance.rate(function, first) / concurrency
    requests = instance.requests
    return Demand(
        pools=tuple(first.product for first in firsts),
        slots=_ints([sum(device.slots for device in devices) for devices in pools.values()]),
        capacity=_ints([sum(device.capacity for device in devices) for devices in pools.values()]),
        ready_us=ready,
        share=share,
        rate=rate,
        function=_ints([r.function for r in requests]),
        arrival_us=_ints([r.arrival_us for r in requests]),
        deadline_us=_ints([r.deadline_us for r in requests]),
        weight=_ints([r.weight for r in requests]),
        exec_us=_ints([r.exec_us.get(first.product, 0) for r in requests for first in firsts]).reshape(-1, len(firsts)),
    )


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)


def grouped(demand: Demand, edges_us: Ints, exec_ratio: float) -> Groups:
    """The groups over these buckets, which must span every arrival and deadline.

    The longest execution of a group is at most `exec_ratio` (above 1) times the shortest. O(n log n + cells).
    """
    release = np.maximum(demand.arrival_us[:, None], demand.ready_us[demand.function])
    possible = (demand.exec_us > 0) & (release <= demand.deadline_us[:, None] - demand.exec_us)
    kept = np.flatnonzero(possible.any(axis=1))
    exec_us = np.where(possible[kept], demand.exec_us[kept], 0)
    arrival, deadline = demand.arrival_us[kept], demand.deadline_us[kept]
    step = np.floor(np.log(np.maximum(exec_us, 1)) / np.log(exec_ratio)).astype(np.int64)
    keys = np.column_stack(
        (
            demand.function[kept],
            np.searchsorted(edges_us, arrival, "right"),
            np.searchsorted(edges_us, deadline, "left"),
            demand.weight[kept],
            np.where(exec_us > 0, step + 1, 0),
        )
    )
    order = np.lexsort(keys.T[::-1])
    keys = keys[order]
    first = np.ones(len(order), bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    begins = np.flatnonzero(first)
    return _cells(
        demand,
        edges_us,
        function=keys[begins, 0],
        weight=keys[begins, 3],
        count=np.diff(np.append(begins, len(order))),
        arrival=np.minimum.reduceat(arrival[order], begins) if len(begins) else arrival,
        deadline=np.maximum.reduceat(deadline[order], begins) if len(begins) else deadline,
        exec_us=np.minimum.reduceat(exec_us[order], begins, axis=0) if len(begins) else exec_us,
    )


def _cells(
    demand: Demand,
    edges_us: Ints,
    *,
    function: Ints,
    weight: Ints,
    count: Ints,
    arrival: Ints,
    deadline: Ints,
    exec_us: Ints,
) -> Groups:
    """One cell for each group, pool and bucket that the group's window meets."""
    group, pool = np.nonzero(exec_us)
    took = exec_us[group, pool]
    release = np.maximum(arrival[group], demand.ready_us[function[group], pool])
    from_bucket = np.searchsorted(edges_us, release, "right") - 1
    buckets = np.searchsorted(edges_us, deadline[group], "left") - from_bucket
    # Each pair of group and pool becomes as many cells as its window has buckets.
    row = np.repeat(np.arange(len(group)), buckets)
    bucket = np.arange(len(row)) - np.repeat(np.cumsum(buckets) - buckets, buckets) + from_bucket[row]
    room = np.minimum(edges_us[bucket + 1], deadline[group[row]]) - np.maximum(edges_us[bucket], release[row])
    cell_group, cell_pool, cell_took = group[row], pool[row], took[row].astype(float)
    held = cell_took * demand.share[function[cell_group], cell_pool]
    cost = cell_took * demand.rate[function[cell_group], cell_pool]
    return Groups(
        edges_us=edges_us,
        count=count.astype(float),
        weight=weight.astype(float),
        group=cell_group,
        pool=cell_pool,
        bucket=bucket,
        exec_us=cell_took,
        most=np.minimum(1.0, room / cell_took),
        held=held,
        cost=cost,
    )
