"""The figures of one run, live or simulated, that are held against each other."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class Figures(Struct, frozen=True):
    """Of all requests of a trace."""

    wait_mean_ms: float
    """Of those that were dispatched: time in queues and in the hold."""
    wait_p99_ms: float
    miss_rate: float
    """Share that was not answered by its function within its objective; refused ones are misses."""
    starts: float
    """Replicas that were started and became ready: the cold starts."""
    cold_rate: float
    """Share of requests that waited for one."""


def figures(*, wait_us: NDArray[np.int64], on_time: NDArray[np.bool_], cold: NDArray[np.bool_], starts: int) -> Figures:
    return Figures(
        wait_mean_ms=float(wait_us.mean()) / 1000 if len(wait_us) else 0.0,
        wait_p99_ms=float(np.quantile(wait_us, 0.99)) / 1000 if len(wait_us) else 0.0,
        miss_rate=1 - float(on_time.mean()) if len(on_time) else 0.0,
        starts=float(starts),
        cold_rate=float(cold.mean()) if len(cold) else 0.0,
    )


def percentile(ordered: Sequence[int], which: int) -> int:
    """Of ordered values; 0 of none."""
    return ordered[len(ordered) * which // 100] if ordered else 0
