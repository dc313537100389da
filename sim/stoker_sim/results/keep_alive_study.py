"""What `keep-alive` is made of: every idle gap of the Azure sample, under each policy and setting, on several workloads.

Plain figures; stoker_sim.results.keep_alive makes the page of them.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.fixed_ttl import FixedTtl
from stoker.policies.eviction.histogram_rental import HistogramRental
from stoker.policies.eviction.hybrid_histogram import HybridHistogram
from stoker.policies.eviction.interface import EvictionParams
from stoker.policies.eviction.registry import make_eviction
from stoker.policies.eviction.ski_rental import LEAST_SHARE, SkiRental, SkiRentalRandom
from stoker_sim.keep_alive.gaps import Gaps, idle_gaps
from stoker_sim.keep_alive.windows import KeepAlive, play
from stoker_sim.profiles import catalogue
from stoker_sim.traces.azure_functions import sample
from stoker_sim.traces.mapping import mapped
from stoker_sim.traces.spread import Spread

FIXED, HISTOGRAM, RENTAL = "fixed time", "hybrid histogram", "ski-rental"
BOTH = "histogram, else ski-rental"
_MINUTE_US = 60_000_000
_WARM_UP_US = 120 * _MINUTE_US
BASE_MINUTES = 10
_TTLS = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 240)
_FALLBACKS = (5, 10, 20, 30, 45, 60, 120, 240)
"""Minutes that a function stays of which the histogram says nothing."""
PAPER_FALLBACK = 240
_WEIGHTS = (2, 4, 6, 8, 10, 15, 20, 40)
"""Ski-rental: seconds of an idle device that a second of waiting is worth."""
_RENTAL_WEIGHTS = (4, 8, 15)
_FEW = 1_000
"""Requests of the functions that a small study has."""
_PRODUCT = "A100"
DEVICE_MIB = {"profiles": 40_960, "trace": 2_048}
"""Of which a function keeps a share from others. The trace's functions are a tenth to a hundredth of a model's size; their
device is as much smaller.
"""
MIB_US = 1e12
"""MiB microseconds in a TiB second, nearly: the unit of the tables is 10^6 MiB s."""


class _Way(Struct, frozen=True):
    """One policy with one setting."""

    family: str
    setting: str
    keep: KeepAlive


class Outcome(Struct, frozen=True):
    cold: int
    memory: float
    """10^6 MiB s."""
    by_trigger: dict[str, int]
    rent: float
    """Microseconds of a device, by the share that each function held."""
    waited: float
    """Microseconds that requests waited for starts."""


class Case(Struct, frozen=True):
    """One workload: a way of spreading, and whose memory counts."""

    spread: Spread
    memory: str
    seed: int | None
    gaps: tuple[Gaps, ...]
    kept: tuple[NDArray[np.bool_], ...]
    """By function: gaps that end after the warm-up."""


Found = dict[tuple[str, str], Outcome]
"""By family and setting."""


def study(*, small: bool) -> tuple[list[Case], list[Found]]:
    """All cases, and what came out of each. `small`: fewer functions, settings and seeds."""
    seeds = (0,) if small else (0, 1, 2)
    cases = [_case(Spread.UNIFORM, seed, small=small) for seed in (None, *seeds)]
    cases += [_case(Spread.CLUSTERED, seed, small=small) for seed in (None, *seeds[:1])]
    ways = {memory: _ways(device_mib, small=small) for memory, device_mib in DEVICE_MIB.items()}
    outcomes = [_play(ways[case.memory], case) for case in cases]
    return cases, outcomes


def _case(how: Spread, seed: int | None, *, small: bool) -> Case:
    workload = sample(how)
    if small:
        counts = np.bincount(workload.function, minlength=len(workload.functions))
        workload = workload.only([key for key, n in zip(workload.keys, counts.tolist(), strict=True) if n <= _FEW][::2])
    if seed is not None:
        workload = mapped(workload, catalogue((_PRODUCT,)), (_PRODUCT,), seed)
    gaps = idle_gaps(workload)
    return Case(
        how,
        "trace" if seed is None else "profiles",
        seed,
        gaps,
        tuple(one.end_us >= _WARM_UP_US for one in gaps),
    )


def _ways(device_mib: int, *, small: bool) -> list[_Way]:
    def fixed(minutes: int) -> EvictionParams:
        return EvictionParams(ttl_us=minutes * _MINUTE_US)

    ttls, fallbacks = ((2, 5, BASE_MINUTES, 20, 60), (10, 240)) if small else (_TTLS, _FALLBACKS)
    weights, mixed = ((4, 10, 20), (8,)) if small else (_WEIGHTS, _RENTAL_WEIGHTS)
    ways = [_Way(FIXED, f"{m} min", KeepAlive(make_eviction(FixedTtl.name, fixed(m)))) for m in ttls]
    for minutes in fallbacks:
        policy = make_eviction(HybridHistogram.name, fixed(minutes))
        ways.append(_Way(HISTOGRAM, f"else {minutes} min", KeepAlive(policy, PreWarmPolicy.HISTOGRAM)))
    policy = make_eviction(HybridHistogram.name, fixed(PAPER_FALLBACK))
    ways.append(_Way("histogram, no pre-warming", f"else {PAPER_FALLBACK} min", KeepAlive(policy)))
    for weight in mixed:
        policy = make_eviction(HistogramRental.name, EvictionParams(wait_weight=weight))
        keep = KeepAlive(policy, PreWarmPolicy.HISTOGRAM, device_mib=device_mib)
        ways.append(_Way(BOTH, f"weight {weight}", keep))
    for family, name in ((RENTAL, SkiRental.name), ("ski-rental, random", SkiRentalRandom.name)):
        for weight in weights:
            policy = make_eviction(name, EvictionParams(wait_weight=weight))
            ways.append(_Way(family, f"weight {weight}", KeepAlive(policy, device_mib=device_mib)))
    return ways


def _play(ways: Sequence[_Way], case: Case) -> Found:
    """By family and setting."""
    cold, memory = [0] * len(ways), [0.0] * len(ways)
    rent = [0.0] * len(ways)
    waited = [0.0] * len(ways)
    by_trigger: list[dict[str, int]] = [{} for _ in ways]
    for gaps, counted in zip(case.gaps, case.kept, strict=True):
        trigger = gaps.definition.labels["trigger"]
        share = share_of(case, gaps)
        for at, kept in enumerate(play([way.keep for way in ways], gaps)):
            missed = int(kept.cold[counted].sum())
            held_us = float(kept.held_us[counted].sum())
            cold[at] += missed
            # A start holds memory too, and an avoidable one is charged for it.
            memory[at] += (held_us + missed * gaps.start_us) * gaps.memory_mib / MIB_US
            rent[at] += share * held_us
            waited[at] += missed * gaps.start_us
            by_trigger[at][trigger] = by_trigger[at].get(trigger, 0) + missed
    return {
        (way.family, way.setting): Outcome(cold[at], memory[at], by_trigger[at], rent[at], waited[at])
        for at, way in enumerate(ways)
    }


def share_of(case: Case, gaps: Gaps) -> float:
    """Part of the device that ski-rental charges for."""
    return max(LEAST_SHARE, min(1.0, gaps.memory_mib / DEVICE_MIB[case.memory]))
