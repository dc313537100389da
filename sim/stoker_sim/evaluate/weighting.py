"""Means and quantiles of requests in three views: by request, by function, and without the busiest functions.

In public traces three functions send most of the requests; what holds of the requests may hold of no other function.
Knows no figure.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stoker_sim.evaluate.sample import Flags, Reals

BUSIEST = 3
"""Functions that View.REST leaves out."""


class View(StrEnum):
    """What each request counts."""

    REQUESTS = "by request"
    """As much as any other."""
    FUNCTIONS = "by function"
    """All requests of a function together as much as those of any other function."""
    REST = "without the 3 busiest functions"
    """As much as any other, but nothing where it is to one of the BUSIEST functions with the most requests."""


PerView = dict[View, float | None]
"""None where nothing is counted."""


class Group:
    """Some of the requests, with what each counts in each view."""

    def __init__(self, function: NDArray[np.int32], among: Flags | None = None) -> None:
        """`function`: of all requests; `among`: which of them are looked at (None: all)."""
        self._rows = np.arange(len(function)) if among is None else np.flatnonzero(among)
        order = np.argsort(-np.bincount(function), kind="stable")
        mine = function[self._rows]
        counts = np.maximum(np.bincount(mine, minlength=1), 1)
        self._weights: dict[View, Reals] = {
            View.REQUESTS: np.ones(len(mine)),
            View.FUNCTIONS: 1.0 / counts[mine],
            View.REST: np.where(np.isin(mine, order[:BUSIEST]), 0.0, 1.0),
        }

    def __len__(self) -> int:
        return len(self._rows)

    def mean(self, values: NDArray[np.generic]) -> PerView:
        """Of one value for each of all requests; of flags the share that is true."""
        mine = values[self._rows].astype(float)
        found: PerView = {}
        for view, weights in self._weights.items():
            total = float(weights.sum())
            found[view] = float((mine * weights).sum()) / total if total > 0 else None
        return found

    def quantile(self, values: NDArray[np.generic], at: float) -> PerView:
        """The least value that at least the share `at` (above 0 to 1) of the weight does not exceed."""
        mine = values[self._rows].astype(float)
        order = np.argsort(mine, kind="stable")
        mine = mine[order]
        return {view: _quantile(mine, weights[order], at) for view, weights in self._weights.items()}


def quantile(values: Reals, at: float) -> float | None:
    """The same of values that all count alike."""
    return _quantile(np.sort(values), np.ones(len(values)), at)


def _quantile(values: Reals, weights: Reals, at: float) -> float | None:
    """Of sorted values."""
    counted = weights > 0
    values, weights = values[counted], weights[counted]
    if not len(values):
        return None
    cumulated = np.cumsum(weights)
    # A millionth of a weight is the rounding of the sum, and no request.
    place = int(np.searchsorted(cumulated, at * cumulated[-1] - 1e-6 * weights.min()))
    return float(values[min(place, len(values) - 1)])
