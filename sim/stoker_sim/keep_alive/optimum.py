"""What could have been: the least memory for every number of cold starts, by one who knows each gap's length.

Without pre-warming a gap is either held to its end or not at all, and each gap that is held saves one cold start; so the
best choice for any price of a cold start holds exactly the gaps that cost less than it (the offline optimum of
ski-rental, gap by gap), and going through all prices is going through the gaps by their cost. With pre-warming such a
one holds the start-up time before each arrival only.
"""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


def frontier(costs: Reals) -> tuple[Reals, NDArray[np.int64]]:
    """`costs`: memory-time of holding each gap. Memory held and cold starts left, from nothing held to everything."""
    held = np.concatenate([[0.0], np.cumsum(np.sort(costs))])
    return held, np.arange(len(costs), -1, -1)


def cold_at(costs: Reals, memory: float) -> int:
    """The fewest cold starts that so much memory-time allows without pre-warming."""
    held, cold = frontier(costs)
    return int(cold[np.searchsorted(held, memory * (1 + 1e-12), side="right") - 1])


def foreseen(lengths_us: NDArray[np.int64], memory_mib: Reals, start_us: NDArray[np.int64]) -> float:
    """Memory-time (MiB microseconds) of no cold start at all by pre-warming at the last moment."""
    return float((memory_mib * np.minimum(lengths_us, start_us)).sum())
