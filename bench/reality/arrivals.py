"""Who comes when, and with how much work: drawn from a seed, the same for the live platform and for the simulator."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.reality.world import BACKGROUND, PROFILES
from stoker_sim.draws import key_of, lognormals
from stoker_sim.generate.poisson import stepped

REPLAY_SEED = 20_261
CALIBRATION_SEED = 77
QUIET_US = 2_000_000
"""Before the first arrival of a replay: what is kept warm is warm by then."""
BURST = 5
"""Requests of a function in one round of the calibration."""
ROUND_S = 8.0
"""Between two rounds: long enough for all of its replicas to go, so that each round measures a start."""


class Trace(Struct, frozen=True, eq=False):
    """Requests in the order of arrival; times in microseconds from its begin."""

    time_us: NDArray[np.int64]
    function: NDArray[np.int32]
    """Index into PROFILES; behind them BACKGROUND."""
    units: NDArray[np.float64]
    horizon_us: int

    def __len__(self) -> int:
        return len(self.time_us)


def poisson(rates: Sequence[float], seconds: float, seed: int) -> Trace:
    """Each function at its own rate; at a higher rate the same requests come closer together."""
    horizon_us = QUIET_US + round(seconds * 1_000_000)
    times = [
        QUIET_US + stepped(profile.name, [0, horizon_us - QUIET_US], [rate], seed)
        for profile, rate in zip(PROFILES, rates, strict=True)
    ]
    return _trace(times, horizon_us, seed)


def rounds(seconds: float, seed: int) -> Trace:
    """The calibration: every function in its own turn a few requests one by one, then silence until it is cold.
    Beside them BACKGROUND.
    """
    horizon_us = round(seconds * 1_000_000)
    gap_us = round(ROUND_S * 1_000_000)
    times = []
    for index, profile in enumerate(PROFILES):
        begins = np.arange(index * gap_us // len(PROFILES), horizon_us - gap_us // 2, gap_us)
        # The first wakes it; the others come when it is warm, apart by more than they take.
        apart_us = 1000 * np.concatenate(
            [[0.0], 1000 * profile.load_s + 200 + 2 * profile.units * np.arange(BURST - 1)]
        )
        times.append(np.sort((begins[:, None] + apart_us[None, :]).ravel()).astype(np.int64))
    times.append(stepped(BACKGROUND.name, [0, horizon_us], [BACKGROUND.per_second], seed))
    return _trace(times, horizon_us, seed)


def _trace(times: Sequence[NDArray[np.int64]], horizon_us: int, seed: int) -> Trace:
    units = [
        profile.units * lognormals(key_of(seed, "units", profile.name), np.arange(len(mine)), profile.spread)
        for profile, mine in zip((*PROFILES, BACKGROUND), times, strict=False)
    ]
    time_us = np.concatenate(times)
    order = np.argsort(time_us, kind="stable")
    function = np.repeat(np.arange(len(times), dtype=np.int32), [len(mine) for mine in times])
    # What is sent over HTTP has three decimals.
    return Trace(time_us[order], function[order], np.round(np.concatenate(units)[order], 3), horizon_us)
