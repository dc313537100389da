"""Means over seeds with their intervals, and differences between two policies that saw the same requests.

Seeds are the replications: one value each. Paired differences take out what the seeds have in common (common random
numbers), so that the interval is of the policies. Two intervals, because values near 0 or 1 are not normal: Student's
t, and the percentile bootstrap (B. Efron, 1979), whose draws hang on its seed alone.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.draws import key_of, uniforms
from stoker_sim.evaluate.student import critical
from stoker_sim.evaluate.weighting import quantile

CONFIDENCE = 0.95
RESAMPLES = 2000


class Interval(Struct, frozen=True, kw_only=True):
    """Of a mean over seeds."""

    mean: float
    count: int
    low: float | None = None
    """By Student's t; None of one value."""
    high: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None


def interval(values: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval | None:
    """Of one value for each seed; None of none."""
    if not values:
        return None
    column = np.array(values, np.float64)
    mean, count = float(column.mean()), len(column)
    if count == 1:
        return Interval(mean=mean, count=1)
    half = critical(confidence, count - 1) * float(column.std(ddof=1)) / count**0.5
    low, high = _bootstrap(column, confidence, seed)
    return Interval(mean=mean, count=count, low=mean - half, high=mean + half, bootstrap_low=low, bootstrap_high=high)


def paired(
    values: Sequence[float | None], base: Sequence[float | None], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval | None:
    """Of values - base, seed by seed; seeds in which one of the two is None are left out."""
    differences = [
        mine - theirs for mine, theirs in zip(values, base, strict=True) if mine is not None and theirs is not None
    ]
    return interval(differences, confidence=confidence, seed=seed)


@cache
def _resamples(count: int, seed: int) -> NDArray[np.int64]:
    """Rows of `count` places each, drawn with replacement."""
    drawn = uniforms(key_of(seed, "bootstrap", ""), np.arange(RESAMPLES * count)) * count
    return np.minimum(drawn.astype(np.int64), count - 1).reshape(RESAMPLES, count)


def _bootstrap(
    column: "np.ndarray[tuple[int], np.dtype[np.float64]]", confidence: float, seed: int
) -> tuple[float, float]:
    means = column[_resamples(len(column), seed)].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = quantile(means, tail), quantile(means, 1 - tail)
    assert low is not None
    assert high is not None
    return low, high
