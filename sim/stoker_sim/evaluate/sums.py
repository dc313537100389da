"""Sums of values by an index, as columns."""

import numpy as np
from numpy.typing import NDArray

from stoker_sim.evaluate.sample import Reals


def sums(index: NDArray[np.integer], values: Reals, count: int) -> Reals:
    """For each index below `count` the sum of the values of its rows."""
    return np.asarray(np.bincount(index, values, count), np.float64)
