"""Arrivals inside a minute of which only the count is known: two ways, to see what hangs on them.

The public trace counts invocations by the minute. `uniform` takes the counts for a Poisson process; `clustered` lets
them come in bursts (Neyman and Scott, 1958), which is ours: the burst size and the spacing are no figures of the trace.
Every draw is keyed by (seed, function, minute, place in the minute), so that no other function or minute changes it.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stoker_sim.draws import Words, exponentials, uniforms
from stoker_sim.workload import Times

MINUTE_US = 60_000_000
BURST = 8
"""Invocations of one burst, the last one of a minute having what is left."""
SPACING_US = 100_000
"""Mean time between the invocations of a burst."""


class Spread(StrEnum):
    UNIFORM = "uniform"
    CLUSTERED = "clustered"


def spread(key: Words, minute: NDArray[np.int64], count: NDArray[np.int64], how: Spread) -> Times:
    """The arrivals of active function-minutes, one row each with the key of its function; `count` of them each.

    Microseconds from minute 0, row after row and inside a row in order; each stays in its minute.
    """
    row = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    number = (minute[row] << 32) + place
    offset = _uniform(key[row], number) if how is Spread.UNIFORM else _clustered(key[row], minute[row], place)
    time_us = minute[row] * MINUTE_US + offset
    order = np.lexsort((time_us, row))
    return time_us[order]


def _uniform(key: Words, number: NDArray[np.int64]) -> Times:
    return np.floor(uniforms(key, number) * MINUTE_US).astype(np.int64)


def _clustered(key: Words, minute: NDArray[np.int64], place: NDArray[np.int64]) -> Times:
    burst = (minute << 32) + place // BURST
    gaps = exponentials(key, (minute << 32) + place, lane=1) * SPACING_US
    since = np.cumsum(gaps)
    begins = place % BURST == 0
    first = np.flatnonzero(begins)
    since -= np.repeat(since[first], np.diff(np.append(first, len(place))))
    # A burst that runs over the end of its minute goes on at the beginning of the same minute: the count is a fact.
    return np.floor(uniforms(key, burst) * MINUTE_US + since).astype(np.int64) % MINUTE_US
