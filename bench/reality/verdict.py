"""Whether the simulation meets reality, by the criteria that were set beforehand. Pure.

Of a case: mean wait and its 99th percentile within 10 % or 2 ms, miss rate within a point, cold starts within 3 or
10 %. Over cases: two policies whose live intervals do not overlap are ranked alike.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct

from bench.reality.cases import Case
from bench.reality.figures import Figures
from stoker_sim.evaluate.student import critical

CONFIDENCE = 0.95
_ROUNDING = 1e-9


class Interval(Struct, frozen=True):
    """Of a mean: Student's t over the runs; a point where there is one run."""

    mean: float
    low: float
    high: float

    def overlaps(self, other: "Interval") -> bool:
        return self.low <= other.high and other.low <= self.high

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


class Criterion(Struct, frozen=True):
    """How near a figure must come."""

    name: str
    of: Callable[[Figures], float]
    allowed: Callable[[float], float]
    """Difference, by the live value."""
    title: str
    digits: int


CRITERIA = (
    Criterion("wait_mean_ms", lambda f: f.wait_mean_ms, lambda live: max(2.0, 0.1 * live), "mean wait, ms", 1),
    Criterion("wait_p99_ms", lambda f: f.wait_p99_ms, lambda live: max(2.0, 0.1 * live), "p99 of the wait, ms", 0),
    Criterion("miss_rate", lambda f: 100 * f.miss_rate, lambda _: 1.0, "misses, %", 1),
    Criterion("starts", lambda f: f.starts, lambda live: max(3.0, 0.1 * live), "cold starts", 1),
)
RANKED = (CRITERIA[0], CRITERIA[2])
"""Policies are ranked by mean wait and by misses."""


class Cause(Struct, frozen=True):
    """Why a criterion is missed, as far as the measurement tells."""

    chance: bool
    """The simulated value is inside the live interval: the replays differ by more than what is allowed."""
    inputs: bool
    """It is met with the execution times of the replays themselves."""


class Verdict(Struct, frozen=True):
    """One criterion in one case."""

    case: Case
    criterion: Criterion
    live: Interval
    simulated: float
    own: float
    stretched: float
    allowed: float

    @property
    def met(self) -> bool:
        return self._near(self.simulated)

    @property
    def cause(self) -> Cause:
        return Cause(self.live.holds(self.simulated), self._near(self.own))

    def _near(self, value: float) -> bool:
        return abs(value - self.live.mean) <= self.allowed + _ROUNDING


class Pair(Struct, frozen=True):
    """Two policies that live replays tell apart, the lower one first."""

    kind: str
    load: float
    criterion: Criterion
    lower: str
    higher: str
    alike: bool
    """The simulation has them in the same order."""


def interval(values: Sequence[float]) -> Interval:
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = critical(CONFIDENCE, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def verdicts(case: Case) -> list[Verdict]:
    found = []
    for criterion in CRITERIA:
        live = interval([criterion.of(figures) for figures in case.live])
        simulated = fmean(criterion.of(figures) for figures in case.simulated)
        own = fmean(criterion.of(figures) for figures in case.own)
        stretched = fmean(criterion.of(figures) for figures in case.stretched)
        found.append(Verdict(case, criterion, live, simulated, own, stretched, criterion.allowed(live.mean)))
    return found


def pairs(cases: Sequence[Case]) -> list[Pair]:
    """All pairs of policies of one kind and load whose live intervals do not overlap."""
    found = []
    for criterion in RANKED:
        values = [
            (case, interval([criterion.of(f) for f in case.live]), fmean(criterion.of(f) for f in case.simulated))
            for case in cases
        ]
        for one, other in combinations(values, 2):
            same = (one[0].kind, one[0].load) == (other[0].kind, other[0].load)
            if not same or one[1].overlaps(other[1]):
                continue
            low, high = sorted((one, other), key=lambda value: value[1].mean)
            found.append(
                Pair(low[0].kind, low[0].load, criterion, low[0].policy, high[0].policy, alike=low[2] < high[2])
            )
    return found
