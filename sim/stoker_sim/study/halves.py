"""The two halves of everything: what settings are chosen on, and what is opened once, when they are frozen.

Even functions, even blocks of time, even seeds are for tuning; odd ones are for the test. A trace that was recorded
once is parted into blocks, and each replication puts together blocks of its half, drawn for each function (block
bootstrap with fixed blocks: E. Carlstein, "The use of subseries values for estimating the variance of a general
statistic from a stationary sequence", Annals of Statistics 1986). What a function does within a block stays as it was.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from stoker_sim.arrangement import arranged
from stoker_sim.draws import key_of, uniforms
from stoker_sim.workload import Workload


class Half(StrEnum):
    TUNING = "tuning"
    TEST = "test"

    @property
    def odd(self) -> int:
        """0 of what is for tuning, 1 of what is for the test."""
        return int(self is Half.TEST)


def seed_of(half: Half, replication: int) -> int:
    """Even or odd."""
    return 2 * replication + half.odd


def window_of(half: Half, replication: int, windows: int, step: int = 1) -> int:
    """One of so many windows (an even number) in turn, an even or an odd one; `step`: of how many of the half's."""
    return 2 * (replication * step % (windows // 2)) + half.odd


def keys_of(half: Half, keys: Sequence[str]) -> tuple[str, ...]:
    """The functions in even or in odd places."""
    return tuple(keys[half.odd :: 2])


def resampled(workload: Workload, half: Half, seed: int, *, block_us: int, blocks: int) -> Workload:
    """`blocks` blocks of the half one after the other, for each function drawn with replacement by (seed, function)."""
    available = workload.horizon_us // block_us
    mine = np.arange(half.odd, available, 2)
    times, functions, execs, objectives = [], [], [], []
    objectives_us = workload.objectives_us()
    for index, key in enumerate(workload.keys):
        rows = np.flatnonzero(workload.function == index)
        drawn = mine[(uniforms(key_of(seed, "blocks", key), np.arange(blocks)) * len(mine)).astype(np.int64)]
        at = workload.time_us[rows]
        for place, block in enumerate(drawn.tolist()):
            first, last = np.searchsorted(at, [block * block_us, (block + 1) * block_us])
            taken = rows[first:last]
            times.append(workload.time_us[taken] + (place - block) * block_us)
            functions.append(workload.function[taken])
            execs.append(workload.exec_us[taken])
            objectives.append(objectives_us[taken])
    return arranged(
        workload.functions,
        np.concatenate(times),
        np.concatenate(functions),
        np.concatenate(execs),
        horizon_us=blocks * block_us,
        slo_us=np.concatenate(objectives) if workload.slo_us is not None else None,
        source=workload.source,
        arrival_notes=(
            *workload.arrival_notes,
            f"blocks of {block_us / 1e6:g} s of one half of the trace are put together at random, for each function",
        ),
        function_notes=workload.function_notes,
    )
