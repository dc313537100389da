"""Periodic real-time clients with jitter, as cameras and control loops are: one request each period, a little off."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stoker_sim.draws import key_of, uniforms
from stoker_sim.generate.exec_times import ExecTimes, Fixed
from stoker_sim.generate.poisson import from_times
from stoker_sim.workload import BadWorkload, SimFunction, Times, Workload

_FIXED = Fixed()


class Period(Struct, frozen=True, kw_only=True):
    period_us: int
    jitter: float = 0.0
    """Each request is late by a uniform share of the period, up to this (0 to 1)."""


def periodic(
    functions: Sequence[SimFunction],
    periods: Sequence[Period],
    horizon_us: int,
    seed: int = 0,
    law: ExecTimes = _FIXED,
) -> Workload:
    """Each function with its own period and a random phase. Raises BadWorkload."""
    if len(periods) != len(functions):
        raise BadWorkload(f"{len(functions)} functions need as many periods, not {len(periods)}")
    times = [_times(function.key, its, horizon_us, seed) for function, its in zip(functions, periods, strict=True)]
    note = f"periodic arrivals with jitter (seed {seed})"
    return from_times(functions, times, horizon_us, seed=seed, law=law, note=note)


def _times(key: str, its: Period, horizon_us: int, seed: int) -> Times:
    if its.period_us <= 0 or not 0 <= its.jitter <= 1:
        raise BadWorkload(f"{key} needs a period above 0 and a jitter from 0 to 1")
    stream = key_of(seed, "arrivals", key)
    phase = float(uniforms(stream, np.zeros(1, np.int64), lane=1)[0])
    number = np.arange(horizon_us // its.period_us + 1)
    late = phase + its.jitter * uniforms(stream, number)
    times = np.floor((number + late) * its.period_us).astype(np.int64)
    return times[times < horizon_us]
