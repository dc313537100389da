"""How the execution times of one function's requests differ."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.draws import exponentials, key_of, lognormals
from stoker_sim.workload import SimFunction, Times


class Fixed(Struct, frozen=True, tag=True):
    """Every request takes the median."""


class Lognormal(Struct, frozen=True, tag=True):
    """The median is the function's; the spread is given."""

    p99_over_p50: float


class Exponential(Struct, frozen=True, tag=True):
    """The mean, not the median, is the function's: for the formulas of queueing theory."""


ExecTimes = Fixed | Lognormal | Exponential


def exec_times(function: SimFunction, number: NDArray[np.integer], law: ExecTimes, seed: int) -> Times:
    """Of the requests with these numbers, on the reference product; drawn by (seed, function, number), at least 1."""
    key = key_of(seed, "exec", function.key)
    match law:
        case Fixed():
            ratio = np.ones(len(number))
        case Lognormal():
            ratio = lognormals(key, number, law.p99_over_p50)
        case Exponential():
            ratio = exponentials(key, number)
    return np.maximum(np.rint(function.behaviour.median_us * ratio), 1).astype(np.int64)
