"""Jain's index of service over the weighted max-min share given demand, in windows, among tenants and among functions.

R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination" (DEC-TR-301, 1984): of values x the
square of their sum over n times the sum of their squares; 1 is equal, 1/n is all for one. A tenant's share is poured
out among tenants, a function's share is of its tenant's. Windows in which fewer than two demand, or in which nobody
was served, say nothing and are left out.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.evaluate.max_min import max_min
from stoker_sim.evaluate.sample import Reals, Sample
from stoker_sim.evaluate.sums import sums
from stoker_sim.evaluate.weighting import quantile
from stoker_sim.evaluate.windows import Windows, windows_of

LENGTHS_S = (10, 60)


class Indexes(Struct, frozen=True, eq=False):
    """Jain's index of each window that says something."""

    window: NDArray[np.int64]
    jain: Reals


def fairness(sample: Sample) -> dict[str, float | None]:
    """Mean and 5th percentile over windows of each of LENGTHS_S, among tenants and among functions."""
    found: dict[str, float | None] = {}
    for length_s in LENGTHS_S:
        tenants, functions = indexes(sample, windows_of(sample, length_s * 1_000_000))
        for who, its in (("tenants", tenants), ("functions", functions)):
            found[f"jain_{who}_{length_s}s_mean"] = float(its.jain.mean()) if len(its.jain) else None
            found[f"jain_{who}_{length_s}s_p5"] = quantile(its.jain, 0.05)
    return found


def indexes(sample: Sample, seen: Windows) -> tuple[Indexes, Indexes]:
    """Among tenants, and among functions."""
    tenants = len(sample.tenants)
    segment = seen.window * tenants + sample.tenant_of[seen.function]
    groups, group_of = np.unique(segment, return_inverse=True)
    window = groups // tenants
    demand_us = sums(group_of, seen.demand_us, len(groups))
    service_us = sums(group_of, seen.service_us, len(groups))
    # Replicas that take several requests at once give more slot time than there are device slots.
    given_us = sums(seen.window, seen.service_us, seen.count)
    capacity_us = np.maximum(given_us, seen.capacity_us)
    share_us = max_min(window, demand_us, sample.tenant_weights[groups % tenants], capacity_us)
    own_us = max_min(group_of, seen.demand_us, sample.function_weights[seen.function], share_us)
    return (
        _indexes(window, service_us, share_us, seen.count),
        _indexes(seen.window, seen.service_us, own_us, seen.count),
    )


def _indexes(window: NDArray[np.int64], service_us: Reals, share_us: Reals, count: int) -> Indexes:
    asking = share_us > 0
    window, ratio = window[asking], service_us[asking] / share_us[asking]
    number = np.bincount(window, minlength=count)
    total, squares = sums(window, ratio, count), sums(window, ratio**2, count)
    telling = np.flatnonzero((number >= 2) & (squares > 0))
    # No more than 1: the quotient of equal values may be off by the last bit.
    return Indexes(telling, np.minimum(total[telling] ** 2 / (number[telling] * squares[telling]), 1.0))
