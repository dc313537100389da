"""The most useful GPU time of any schedule of the same arrivals, those that nobody could know before they came too.

stoker_sim's bound, each request weighted by the GPU time that it asks for: a diverted request counts by what it would
have taken on a GPU. No start-ups, no overhead of platform or replica, and a CPU variant with all of its concurrency.
"""

from collections.abc import Sequence

import numpy as np

from bench.overload.arrivals import Arrivals
from bench.overload.functions import SLOTS, Served
from stoker_sim.bound.demand import NEVER, Demand
from stoker_sim.bound.relaxation import Grain, ceiling

GRAIN = Grain(cells=20_000, piece=20_000)
"""As that of reports: seconds, and within a few requests in a thousand of a finer one."""


def most_useful_s(served: Sequence[Served], arrivals: Arrivals, *, from_us: int, to_us: int) -> float:
    """GPU-seconds of work that could be on time, of the calls due in the window; an upper bound."""
    demand = demand_of(served, arrivals, from_us=from_us, to_us=to_us)
    return ceiling(demand, grain=GRAIN).weight / 1e6 if len(demand.arrival_us) else 0.0


def demand_of(served: Sequence[Served], arrivals: Arrivals, *, from_us: int, to_us: int) -> Demand:
    """Two pools: the GPUs, and the CPU variants with the concurrency that they have together."""
    mask = (arrivals.at_us >= from_us) & (arrivals.at_us < to_us)
    function, arrival_us = arrivals.stream[mask], arrivals.at_us[mask]
    gpu_us = np.round(1000 * arrivals.units[mask]).astype(np.int64)
    slower = np.array([one.cpu_slower or 0.0 for one in served])[function]
    at_once = sum(one.cpu_at_once for one in served if one.cpu_slower is not None)
    shape = (len(served), 2)
    ready_us = np.zeros(shape, np.int64)
    ready_us[[one.cpu_slower is None for one in served], 1] = NEVER
    return Demand(
        pools=("gpu", "cpu"),
        slots=np.array([SLOTS, at_once], np.int64),
        capacity=np.ones(2, np.int64),
        ready_us=ready_us,
        share=np.zeros(shape),
        rate=np.zeros(shape),
        function=function,
        arrival_us=arrival_us,
        deadline_us=arrival_us + np.array([1000 * one.latency_ms for one in served], np.int64)[function],
        weight=gpu_us,
        exec_us=np.column_stack((gpu_us, np.round(slower * gpu_us).astype(np.int64))),
    )
