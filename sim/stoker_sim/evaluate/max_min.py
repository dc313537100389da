"""Weighted max-min shares: capacity poured out by weight until each has what it asks for or the capacity is out.

D. Bertsekas and R. Gallager, "Data Networks" (1992), 6.5.2, for one resource, of many segments at once. Knows no time.
"""

import numpy as np
from numpy.typing import NDArray

from stoker_sim.evaluate.sample import Reals
from stoker_sim.evaluate.sums import sums

_ROUNDING = 1e-9
"""Relative: what is above the level by less than this is at it."""


def max_min(segment: NDArray[np.integer], demand: Reals, weight: Reals, capacity: Reals) -> Reals:
    """What each row gets of its segment's capacity.

    `segment`: the index into `capacity` of each row. Demands are at least 0, weights above 0.
    """
    order = np.lexsort((demand / weight, segment))
    segment, demand, weight = segment[order], demand[order], weight[order]
    begins = np.searchsorted(segment, np.arange(len(capacity)))
    # The level that a row and those behind it would share, were those before it satisfied.
    left = np.maximum(capacity[segment] - _before(demand, begins, segment), 0.0)
    behind = sums(segment, weight, len(capacity))[segment] - _before(weight, begins, segment)
    level = left / behind
    # The first row of a segment that asks for more than its level sets that of all behind it.
    rank, none = np.arange(len(demand)), len(demand)
    above = np.where(demand / weight > level * (1 + _ROUNDING), rank, none)
    first = np.minimum.reduceat(np.append(above, none), begins)[segment]
    shares = np.empty(len(demand))
    shares[order] = np.where(rank < first, demand, weight * np.append(level, 0.0)[first])
    return shares


def _before(values: Reals, begins: NDArray[np.integer], segment: NDArray[np.integer]) -> Reals:
    """For each row the sum of those before it in its segment."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found: Reals = sums[:-1] - sums[begins[segment]]
    return found
