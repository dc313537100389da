"""When functions have nothing to do: the idle gaps of a workload, which is all that keep-alive alone depends on.

A function is busy from the arrival of a request to its end, requests that overlap being one busy period: one replica
serves all of them at once, and executes none later. Knows no policy.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.function import Function
from stoker_sim.workload import Workload


class Gaps(Struct, frozen=True, eq=False):
    """Of one function that has requests, in order of time, in microseconds."""

    definition: Function
    start_us: int
    """From cold to warm."""
    exec_us: int
    """Of its median request."""
    first_us: int
    """Its first arrival, which is no gap's end."""
    begin_us: NDArray[np.int64]
    """When it became idle."""
    end_us: NDArray[np.int64]
    """When the next request came."""
    last_us: int
    """When it became idle after its last request, for good as far as the trace says."""
    horizon_us: int
    """Where the trace ends."""

    def __len__(self) -> int:
        return len(self.begin_us)

    @property
    def memory_mib(self) -> int:
        return self.definition.spec.gpu[0].memory_mib

    @property
    def length_us(self) -> NDArray[np.int64]:
        return self.end_us - self.begin_us


def idle_gaps(workload: Workload, least_us: int = 1) -> tuple[Gaps, ...]:
    """Of every function with requests, in the workload's order. What follows the last request ends no gap.

    What is shorter than `least_us` counts as busy: plan() looks no more often.
    """
    order = np.argsort(workload.function, kind="stable")
    bounds = np.searchsorted(workload.function[order], np.arange(len(workload.functions) + 1))
    found = []
    for index, function in enumerate(workload.functions):
        rows = order[bounds[index] : bounds[index + 1]]
        if not len(rows):
            continue
        arrivals = workload.time_us[rows]
        busy_until = np.maximum.accumulate(arrivals + workload.exec_us[rows])
        idle = arrivals[1:] - busy_until[:-1] >= least_us
        found.append(
            Gaps(
                function.definition,
                function.behaviour.cold_us,
                function.behaviour.median_us,
                int(arrivals[0]),
                busy_until[:-1][idle],
                arrivals[1:][idle],
                int(busy_until[-1]),
                workload.horizon_us,
            )
        )
    return tuple(found)
