"""How far predicted finish times may be off: a margin for each function that its misses and hits move. Pure.

Adaptive conformal prediction by quantile tracking: A. N. Angelopoulos, E. J. Candes, R. J. Tibshirani, "Conformal PID
control for time series prediction" (NeurIPS 2023), section 2.1, after I. Gibbs, E. Candes, "Adaptive conformal
inference under distribution shift" (NeurIPS 2021). The score of a request is its relative error, (actual - predicted) /
predicted finish time. With alpha = 1 - percentile / 100 the margin q moves by STEP * (missed - alpha) after each
score, where missed says whether the score was above q. So for every sequence of scores, whatever makes them,

    |misses / n - alpha| = |q(n) - q(0)| / (STEP * n)  <=  (largest score + 1 + 2 * STEP) / (STEP * n),

since q cannot climb above the largest score by more than STEP nor fall below the least possible score, -1, by more.
A score is held against the margin of the moment at which it comes back, not of the admission: a shift that finds many
requests under way is learnt once, and costs at most those (docs/concepts/theory.md has both parts).

A function with fewer than POOL_BELOW scores takes the margin of all functions with its percentile. Its own one is made
of its own scores from the first on: what others were wrong by says nothing of it once there are enough of them. Parts
per million throughout, so that a replay is bit for bit. It knows no requests and no clock.
"""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

ONE = 1_000_000
"""A relative error of 1, in parts per million: it took twice as long as predicted."""
STEP = 50_000
"""How far one miss moves the margin (ours): 5 % of the predicted finish time."""
FIRST = 250_000
"""The margin where nothing at all was scored yet (ours): a quarter of the predicted finish time."""
POOL_BELOW = 50
"""Scores below which a function has no margin of its own (DESIGN section 6)."""
MOST = 1000 * ONE
"""No score counts for more: a replica that hung for an hour says no more than one that took a thousand times longer."""


class _Tracker(Struct):
    """One margin, and what it was made of."""

    margin: int = FIRST
    scores: int = 0
    covered: int = 0
    drift: int = 0
    """Millionths of a part that the margin still has to move: what rounding left over."""

    def observe(self, score: int, alpha: int) -> bool:
        missed = score > self.margin
        moved = STEP * ((ONE if missed else 0) - alpha) + self.drift
        step, self.drift = divmod(moved, ONE)
        self.margin += step
        return not missed


class Calibration:
    """Margins by function. Bounded by the functions that are not forgotten and by the percentiles that were asked."""

    def __init__(self) -> None:
        self._own: dict[tuple[str, int], _Tracker] = {}
        self._pools: dict[int, _Tracker] = {}
        """By alpha."""

    def observe(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        """A request of function `key` took `actual_us` where `predicted_us` (at least 1) was expected; whether the
        margin of before covered that.
        """
        alpha = alpha_of(percentile)
        predicted_us = max(1, predicted_us)
        score = min(MOST, (actual_us - predicted_us) * ONE // predicted_us)
        pool = self._pools.get(alpha)
        if pool is None:
            pool = self._pools[alpha] = _Tracker()
        own = self._own.get((key, alpha))
        if own is None:
            own = self._own[key, alpha] = _Tracker()
        by_pool, by_own = pool.observe(score, alpha), own.observe(score, alpha)
        # It is counted by what was used for it.
        covered = by_pool if own.scores < POOL_BELOW else by_own
        own.scores += 1
        own.covered += covered
        return covered

    def margin_ppm(self, key: str, percentile: float) -> int:
        """What to add to a predicted finish time of the function, in millionths of it, so that `percentile` of the
        requests keep the sum; negative where they end sooner than predicted.
        """
        alpha = alpha_of(percentile)
        tracker = self._own.get((key, alpha))
        if tracker is None or tracker.scores < POOL_BELOW:
            tracker = self._pools.get(alpha)
        return FIRST if tracker is None else tracker.margin

    def coverage(self) -> dict[str, tuple[int, int]]:
        """By function: scores so far, and those that the margin of their moment covered."""
        found: dict[str, tuple[int, int]] = {}
        for (key, _), tracker in self._own.items():
            scores, covered = found.get(key, (0, 0))
            found[key] = scores + tracker.scores, covered + tracker.covered
        return found

    def forget(self, key: str) -> None:
        """The function was deleted."""
        for own in _of(self._own, key):
            del self._own[own]


@lru_cache(maxsize=256)
def alpha_of(percentile: float) -> int:
    """How many of a million requests may miss, for a percentile in (0, 100)."""
    return round((100.0 - percentile) * ONE / 100)


def bound_ppm(scores: int, largest: int) -> int:
    """How far the share of misses can be from alpha after so many scores, in parts per million, whatever they were.

    `largest`: the largest score, at least 0 (see the module).
    """
    return -(-(max(largest, FIRST) + ONE + 2 * STEP) * ONE // (STEP * max(1, scores)))


def _of(own: Iterable[tuple[str, int]], key: str) -> list[tuple[str, int]]:
    return [pair for pair in own if pair[0] == key]
