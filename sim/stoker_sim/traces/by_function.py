"""Figures of each function from a column of its requests."""

import numpy as np
from numpy.typing import NDArray

from stoker_sim.workload import Indexes, Times


def medians_of(function: Indexes, values: Times, functions: int) -> Times:
    """The (upper) median of the values of each function; each has at least one."""
    order = np.lexsort((values, function))
    counts = np.bincount(function, minlength=functions)
    medians: Times = values[order][np.cumsum(counts) - counts + counts // 2]
    return medians


def largest_of(function: Indexes, values: Times, functions: int) -> Times:
    """The largest value of each function; 0 without one."""
    largest = np.zeros(functions, np.int64)
    np.maximum.at(largest, function, values)
    return largest


def renamed(codes: NDArray[np.int64]) -> tuple[Indexes, NDArray[np.int64]]:
    """Codes as indexes in the order of their first row, and the code that each index stands for."""
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    index = np.empty(len(distinct), np.int32)
    index[by_first] = np.arange(len(distinct), dtype=np.int32)
    return index[inverse], distinct[by_first]
