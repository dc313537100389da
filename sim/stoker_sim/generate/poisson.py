"""Poisson arrivals: at a constant rate, or at one that changes in steps.

One stream of unit-rate arrivals for each (seed, function), stretched to its rate: at a higher load the same requests
come closer together, so that loads are compared on common random numbers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoker_sim.arrangement import arranged, gathered
from stoker_sim.draws import Reals, exponentials, key_of
from stoker_sim.generate.exec_times import ExecTimes, Fixed, exec_times
from stoker_sim.workload import BadWorkload, SimFunction, Times, Workload

_FIXED = Fixed()


def poisson(
    functions: Sequence[SimFunction],
    per_second: Sequence[float] | NDArray[np.float64],
    horizon_us: int,
    seed: int = 0,
    law: ExecTimes = _FIXED,
) -> Workload:
    """Each function at its own rate, from 0 to before the horizon. Raises BadWorkload."""
    if len(per_second) != len(functions):
        raise BadWorkload(f"{len(functions)} functions need as many rates, not {len(per_second)}")
    steps = [([0, horizon_us], [float(rate)]) for rate in per_second]
    times = [stepped(f.key, edges, rates, seed) for f, (edges, rates) in zip(functions, steps, strict=True)]
    return from_times(functions, times, horizon_us, seed=seed, law=law, note=f"Poisson arrivals (seed {seed})")


def stepped(key: str, edges_us: Sequence[int], per_second: Sequence[float], seed: int) -> Times:
    """Arrivals of one function whose rate is `per_second[i]` from `edges_us[i]` to `edges_us[i + 1]`."""
    edges, rates = np.asarray(edges_us, np.float64), np.asarray(per_second, np.float64)
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise BadWorkload(f"{key} has a rate that is not a number from 0")
    expected = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates / 1e6)])
    unit = unit_arrivals(key_of(seed, "arrivals", key), float(expected[-1]))
    # The time at which so many arrivals were expected: where nothing comes the expectation stands still, and no
    # arrival falls there.
    at = np.interp(unit, expected, edges)
    times: Times = np.minimum(np.floor(at), edges[-1] - 1).astype(np.int64)
    return times


def unit_arrivals(key: int, until: float) -> Reals:
    """A Poisson process of rate 1 up to `until`."""
    arrivals = np.empty(0)
    while not len(arrivals) or arrivals[-1] < until:
        begin, last = len(arrivals), float(arrivals[-1]) if len(arrivals) else 0.0
        more = int((until - last) + 4 * np.sqrt(until - last) + 16)
        gaps = exponentials(key, np.arange(begin, begin + more))
        arrivals = np.concatenate([arrivals, last + np.cumsum(gaps)])
    return arrivals[arrivals < until]


def from_times(
    functions: Sequence[SimFunction],
    times_us: Sequence[Times],
    horizon_us: int,
    *,
    seed: int,
    law: ExecTimes,
    note: str,
) -> Workload:
    """A workload of arrivals that are there, with execution times drawn by the law."""
    execs = [
        exec_times(function, np.arange(len(times)), law, seed)
        for function, times in zip(functions, times_us, strict=True)
    ]
    return arranged(
        functions,
        *gathered(functions, times_us, execs),
        horizon_us=horizon_us,
        source="generated",
        arrival_notes=(note,),
    )
