"""Who comes when, and with how much work: Poisson, drawn from a seed. Pure.

At a higher load the same requests come closer together, and with them more of their kind.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.overload.functions import Served
from stoker_sim.draws import key_of, lognormals
from stoker_sim.generate.poisson import stepped

SEED = 20_262


class Arrivals(Struct, frozen=True, eq=False):
    """Columns in the order of time."""

    at_us: NDArray[np.int64]
    stream: NDArray[np.int64]
    """Index into the functions that they were drawn for."""
    units: NDArray[np.float64]
    """Milliseconds of GPU time."""

    def __len__(self) -> int:
        return len(self.at_us)


class Phase(Struct, frozen=True):
    """A stretch of time with one rate for each stream."""

    seconds: float
    rates: Sequence[float]
    """Requests/s."""


def arrivals(served: Sequence[Served], phases: Sequence[Phase], seed: int = SEED) -> Arrivals:
    """The phases one after another."""
    edges_us = [0, *(round(1e6 * end) for end in np.cumsum([phase.seconds for phase in phases]).tolist())]
    times = [
        stepped(one.key, edges_us, [phase.rates[number] for phase in phases], seed) for number, one in enumerate(served)
    ]
    units = [
        one.units * lognormals(key_of(seed, "units", one.key), np.arange(len(mine)), one.spread)
        for one, mine in zip(served, times, strict=True)
    ]
    at_us = np.concatenate(times)
    order = np.argsort(at_us, kind="stable")
    stream = np.repeat(np.arange(len(times)), [len(mine) for mine in times])
    # What is sent over HTTP has three decimals.
    return Arrivals(at_us[order], stream[order], np.round(np.concatenate(units)[order], 3))
