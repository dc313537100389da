"""What plots show of one simulation beyond its figures: the distribution of waits, and fairness over time."""

import numpy as np
from msgspec import Struct

from stoker_sim.evaluate.fairness import indexes
from stoker_sim.evaluate.sample import Sample
from stoker_sim.evaluate.windows import windows_of

LEVELS = (
    *(step / 50 for step in range(1, 48)),
    0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996, 0.998, 0.999, 0.9995, 1.0,
)  # fmt: skip
"""Shares of requests at which the wait is told; close together near the end."""
WINDOWS_S = (10, 60)
"""Of the index over time: the long ones from LONG_S of measured time on."""
LONG_S = 1800


class Curves(Struct, frozen=True, kw_only=True):
    wait_ms: tuple[float, ...]
    """At each of LEVELS: what that share of the dispatched requests waited at most. Empty where none was dispatched."""
    window_s: int
    """Length of the windows of the index."""
    jain_s: tuple[float, ...]
    """Middles of the windows that tell of fairness, from time 0 of the workload."""
    jain: tuple[float, ...]
    """Jain's index among tenants in each; among functions where there is one tenant."""


def curves(sample: Sample) -> Curves:
    """Of one simulation."""
    part = sample.requests
    wait_ms = np.sort(part.wait_us[part.dispatch_us >= 0]) / 1000
    places = np.maximum(np.ceil(np.array(LEVELS) * len(wait_ms) - 1e-9).astype(np.int64) - 1, 0)
    window_s = WINDOWS_S[sample.seconds >= LONG_S]
    tenants, functions = indexes(sample, windows_of(sample, window_s * 1_000_000))
    told = tenants if len(sample.tenants) > 1 else functions
    middles_s = sample.begin_us / 1e6 + (told.window + 0.5) * window_s
    return Curves(
        wait_ms=tuple(wait_ms[places].tolist()) if len(wait_ms) else (),
        window_s=window_s,
        jain_s=tuple(middles_s.tolist()),
        jain=tuple(told.jain.tolist()),
    )
