"""What could have been: the least memory for every number of cold starts, by one who knows each gap's length.

Without pre-warming a gap is either held to its end or not at all. A held one saves a cold start, and costs its memory
less that of the start; so the best choice for any price of a cold start holds exactly the gaps where that is less than
the price (the offline optimum of ski-rental, gap by gap), and going through all prices is going through the gaps by it.
With pre-warming such a one holds the start-up time before each arrival only, and no request is cold.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.keep_alive.gaps import Gaps

Reals = NDArray[np.float64]
_ROUNDING = 1e-12


class Costs(Struct, frozen=True, eq=False):
    """Of each gap, in MiB microseconds."""

    hold: Reals
    """To its end."""
    start: Reals
    """Of a start at its end."""


def costs_of(functions: Sequence[Gaps], since_us: int = 0) -> Costs:
    """Of the gaps that end at `since_us` or later, memory held from then on."""
    hold: list[Reals] = [np.zeros(0)]
    start: list[Reals] = [np.zeros(0)]
    for gaps in functions:
        counted = gaps.end_us >= since_us
        held_us = gaps.end_us[counted] - np.maximum(gaps.begin_us[counted], since_us)
        hold.append(held_us.astype(np.float64) * gaps.memory_mib)
        start.append(np.full(len(held_us), float(gaps.start_us * gaps.memory_mib)))
    return Costs(np.concatenate(hold), np.concatenate(start))


def frontier(costs: Costs) -> tuple[Reals, NDArray[np.int64]]:
    """Memory and cold starts without pre-warming, from the least memory to no cold start at all."""
    more = np.sort(costs.hold - costs.start)
    # What costs less to hold than to start is held in any case.
    always = int(np.searchsorted(more, 0.0, side="right"))
    least = costs.start.sum() + more[:always].sum()
    memory = least + np.concatenate([[0.0], np.cumsum(more[always:])])
    return memory, np.arange(len(more) - always, -1, -1)


def cold_at(costs: Costs, memory: float) -> int | None:
    """The fewest cold starts that so much memory-time allows without pre-warming; None: it is too little for any."""
    held, cold = frontier(costs)
    place = int(np.searchsorted(held, memory * (1 + _ROUNDING), side="right")) - 1
    return None if place < 0 else int(cold[place])


def foreseen(costs: Costs) -> float:
    """Memory-time of no cold start at all by pre-warming at the last moment, which is the least that serves at all."""
    return float(np.minimum(costs.hold, costs.start).sum())
