"""Replications of a trace that was recorded once: each function's requests are turned around in time by a random shift.

What a function does after what stays as it was; which functions are busy together does not, and that is what the
replications differ in. The shift hangs on (seed, function) alone.
"""

import numpy as np
from msgspec.structs import replace

from stoker_sim.draws import key_of, uniforms
from stoker_sim.workload import Workload

_ONE = np.zeros(1, np.int64)


def rotated(workload: Workload, seed: int) -> Workload:
    """The trace as it is for seed 0, else with each function's requests shifted; what passes the end comes first."""
    if seed == 0:
        return workload
    horizon_us = workload.horizon_us
    shifts = [int(uniforms(key_of(seed, "rotate", key), _ONE)[0] * horizon_us) for key in workload.keys]
    time_us = (workload.time_us + np.array(shifts, np.int64)[workload.function]) % horizon_us
    order = np.argsort(time_us, kind="stable")
    note = "each function's arrivals are turned around in time by a random shift (by the seed; 0: as recorded)"
    return replace(
        workload,
        time_us=time_us[order],
        function=workload.function[order],
        exec_us=workload.exec_us[order],
        slo_us=None if workload.slo_us is None else workload.slo_us[order],
        number=workload.number[order],
        arrival_notes=(*workload.arrival_notes, note),
    )
