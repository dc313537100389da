"""The most load that any schedule of a handful of jobs completes on time, who knows all of them beforehand. Exact.

By sets: the jobs of a set can all be on time on one slot if and only if there is a last one, behind the earliest end of
the others. Slots take disjoint sets. Exponential in the jobs, and independent of the solver in stoker_sim.bound.
"""

from collections.abc import Sequence

from stoker.errors import StokerError
from stoker_sim.results.competitive_world import Job, Slots

MOST_JOBS = 10
_NEVER = 1 << 62


def most_load_us(jobs: Sequence[Job], slots: Slots) -> int:
    """The largest sum of execution times on time. Raises StokerError above MOST_JOBS jobs."""
    if len(jobs) > MOST_JOBS:
        raise StokerError(f"trying every set ends at {MOST_JOBS} jobs; {len(jobs)} were given")
    loads = [0] * (1 << len(jobs))
    for jobset in range(1, len(loads)):
        lowest = (jobset & -jobset).bit_length() - 1
        loads[jobset] = loads[jobset & (jobset - 1)] + jobs[lowest].exec_us
    machines = [slots.machines(lane) for lane in range(len(slots.lanes))]
    reached = {0}
    """Sets that the slots so far can complete together."""
    for machine in range(sum(slots.devices)):
        allowed = sum(1 << number for number, job in enumerate(jobs) if machine in machines[job.lane])
        alone = _on_time_sets(jobs, allowed)
        reached = {others | mine for others in reached for mine in alone if not others & mine}
    return max(loads[jobset] for jobset in reached)


def _on_time_sets(jobs: Sequence[Job], allowed: int) -> list[int]:
    """The sets of allowed jobs that one slot can complete on time, the empty one included."""
    ends = [_NEVER] * (1 << len(jobs))
    ends[0] = 0
    found = [0]
    for jobset in range(1, len(ends)):
        if jobset & ~allowed:
            continue
        for number, job in enumerate(jobs):
            if jobset >> number & 1 and ends[jobset ^ 1 << number] < _NEVER:
                begin_us = max(ends[jobset ^ 1 << number], job.arrival_us)
                if begin_us <= job.latest_us:
                    ends[jobset] = min(ends[jobset], begin_us + job.exec_us)
        if ends[jobset] < _NEVER:
            found.append(jobset)
    return found
