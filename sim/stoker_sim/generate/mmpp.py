"""Markov-modulated Poisson arrivals: a function is quiet or bursts, for exponential times, at a rate for each.

W. Fischer and K. Meier-Hellstern, "The Markov-modulated Poisson process cookbook" (1993).
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stoker_sim.draws import exponentials, key_of, uniforms
from stoker_sim.generate.exec_times import ExecTimes, Fixed
from stoker_sim.generate.poisson import from_times, stepped
from stoker_sim.workload import BadWorkload, SimFunction, Workload

_FIXED = Fixed()
_STATES = 256
"""Changes of state that are drawn at a time; even, so that each lot begins in the same state."""


class Bursts(Struct, frozen=True, kw_only=True):
    """Two states; mean times in each are microseconds."""

    quiet_per_second: float
    burst_per_second: float
    quiet_us: int
    burst_us: int

    @property
    def mean_per_second(self) -> float:
        total = self.quiet_per_second * self.quiet_us + self.burst_per_second * self.burst_us
        return total / (self.quiet_us + self.burst_us)

    @classmethod
    def of_mean(cls, per_second: float, ratio: float, *, quiet_us: int, burst_us: int) -> "Bursts":
        """So that the mean rate is given, and a burst is `ratio` times as fast as quiet times."""
        quiet = per_second * (quiet_us + burst_us) / (quiet_us + ratio * burst_us)
        return cls(quiet_per_second=quiet, burst_per_second=ratio * quiet, quiet_us=quiet_us, burst_us=burst_us)


def mmpp(
    functions: Sequence[SimFunction],
    bursts: Sequence[Bursts],
    horizon_us: int,
    seed: int = 0,
    law: ExecTimes = _FIXED,
) -> Workload:
    """Each function with its own bursts, which begin in the long-run state. Raises BadWorkload."""
    if len(bursts) != len(functions):
        raise BadWorkload(f"{len(functions)} functions need as many kinds of bursts, not {len(bursts)}")
    times = []
    for function, its in zip(functions, bursts, strict=True):
        edges, rates = phases(function.key, its, horizon_us, seed)
        times.append(stepped(function.key, edges, rates, seed))
    note = f"arrivals in bursts, MMPP of two states (seed {seed})"
    return from_times(functions, times, horizon_us, seed=seed, law=law, note=note)


def phases(key: str, its: Bursts, horizon_us: int, seed: int) -> tuple[list[int], list[float]]:
    """The instants at which the state changes, with 0 and the horizon, and the rate between each two of them."""
    if min(its.quiet_us, its.burst_us) <= 0:
        raise BadWorkload(f"{key} stays in a state for no time; give mean times above 0")
    stream = key_of(seed, "phases", key)
    bursting = bool(uniforms(stream, np.zeros(1, np.int64), lane=1)[0] * (its.quiet_us + its.burst_us) < its.burst_us)
    means = (its.burst_us, its.quiet_us) if bursting else (its.quiet_us, its.burst_us)
    ends = np.empty(0, np.int64)
    while not len(ends) or ends[-1] < horizon_us:
        number = np.arange(len(ends), len(ends) + _STATES)
        lasts = np.maximum(np.rint(np.resize(means, _STATES) * exponentials(stream, number)), 1).astype(np.int64)
        ends = np.concatenate([ends, (ends[-1] if len(ends) else 0) + np.cumsum(lasts)])
    edges = [0, *np.unique(np.minimum(ends, horizon_us)).tolist()]
    rates = (its.burst_per_second, its.quiet_per_second) if bursting else (its.quiet_per_second, its.burst_per_second)
    return edges, np.resize(rates, len(edges) - 1).tolist()
