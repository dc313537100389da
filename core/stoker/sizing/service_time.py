"""Execution times of one variant as two moments, and the shape that is assumed behind them: log-normal.

Log-normal since execution times have one mode and a long right tail, and since two moments, which every agent can tell
cheaply, fix it (L. Brown et al., Statistical Analysis of a Telephone Call Center, JASA 100(469), 2005, of the
service times there; for GPU functions the shape is ours). Nothing is known here of queues.
"""

from collections.abc import Mapping, Sequence
from math import erfc, exp, log, sqrt
from statistics import NormalDist

from msgspec import Struct

from stoker.model.function import Variant

SMOOTHING = 8
"""Looks that a change takes to show by two thirds (ours): the mean of 64 runs is off by several percent, each time by
others, and the most of many looks would count."""
_NORMAL = NormalDist()
_CONSTANT = 1e-3
"""Below this relative deviation times are taken as constant: a log-normal that narrow is a step anyway."""


class ServiceTime(Struct, frozen=True, kw_only=True):
    """What the last runs of one variant took."""

    mean_us: int
    """At least 1."""
    deviation_us: int
    """Standard deviation, at least 0."""
    samples: int
    """Runs behind it, at least 1."""

    @property
    def variability(self) -> float:
        """Squared coefficient of variation: 0 for constant times, 1 for exponential ones."""
        return (self.deviation_us / self.mean_us) ** 2

    def share_over(self, limit_us: float) -> float:
        """The share of runs that take longer than `limit_us`, in [0, 1]."""
        if limit_us <= 0:
            return 1.0
        if self._is_constant:
            return 1.0 if self.mean_us > limit_us else 0.0
        location, scale = self._log_normal()
        return 0.5 * erfc((log(limit_us) - location) / (scale * sqrt(2)))

    def at_share(self, share: float) -> float:
        """The time that `share` of the runs do not exceed, in microseconds; `share` in (0, 1)."""
        if self._is_constant:
            return float(self.mean_us)
        location, scale = self._log_normal()
        return exp(location + scale * _NORMAL.inv_cdf(share))

    @property
    def _is_constant(self) -> bool:
        return self.deviation_us < _CONSTANT * self.mean_us

    def _log_normal(self) -> tuple[float, float]:
        """Mean and deviation of the logarithm."""
        variance = log(1 + self.variability)
        return log(self.mean_us) - variance / 2, sqrt(variance)


def smoothed(before: ServiceTime, now: ServiceTime) -> ServiceTime:
    """A part of the way from what was believed to what was measured since."""
    return ServiceTime(
        mean_us=before.mean_us + (now.mean_us - before.mean_us) // SMOOTHING,
        deviation_us=before.deviation_us + (now.deviation_us - before.deviation_us) // SMOOTHING,
        samples=now.samples,
    )


def pooled(parts: Sequence[ServiceTime]) -> ServiceTime:
    """All runs of several as one, e.g. of one function on two products. There is at least one part."""
    if len(parts) == 1:
        return parts[0]
    samples = sum(part.samples for part in parts)
    mean = sum(part.mean_us * part.samples for part in parts) / samples
    square = sum((part.mean_us**2 + part.deviation_us**2) * part.samples for part in parts) / samples
    return ServiceTime(
        mean_us=max(1, round(mean)), deviation_us=round(sqrt(max(0.0, square - mean * mean))), samples=samples
    )


def pooled_by_pair(
    parts: Mapping[str, Mapping[Variant, Sequence[ServiceTime]]],
) -> dict[str, dict[Variant, ServiceTime]]:
    """The same for each function and variant."""
    return {key: {variant: pooled(of_variant) for variant, of_variant in by.items()} for key, by in parts.items()}


def of_sums(count: int, total_us: int, squares: int) -> ServiceTime | None:
    """Of single runs by their number, the sum of their times in microseconds and that of the squares; None of none."""
    if not count:
        return None
    # Integers, since the difference of two large squares loses what floats cannot hold.
    spread = count * squares - total_us * total_us
    return ServiceTime(mean_us=max(1, total_us // count), deviation_us=round(sqrt(spread) / count), samples=count)
