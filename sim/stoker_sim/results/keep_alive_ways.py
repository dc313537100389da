"""The policies and settings that `keep-alive` compares. The policies are the core's own objects."""

from msgspec import Struct

from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.fixed_ttl import FixedTtl
from stoker.policies.eviction.hazard_rate import HazardRate
from stoker.policies.eviction.hybrid_histogram import HybridHistogram
from stoker.policies.eviction.interface import EvictionParams
from stoker.policies.eviction.registry import make_eviction
from stoker.policies.eviction.ski_rental import SkiRental, SkiRentalRandom
from stoker.policies.prewarm.interface import WAIT_WEIGHT
from stoker_sim.keep_alive.windows import KeepAlive

FIXED = "fixed time"
HISTOGRAM = "hybrid histogram"
HISTOGRAM_ALONE = "hybrid histogram, no pre-warming"
RENTAL = "ski-rental"
RENTAL_RANDOM = "ski-rental, random"
HAZARD = "hazard rate"
HAZARD_ALONE = "hazard rate, no pre-warming"

PUBLISHED = (HISTOGRAM, HISTOGRAM_ALONE, RENTAL, RENTAL_RANDOM)
OURS = (HAZARD,)

BASE_MINUTES = 10
PAPER_FALLBACK = 240
_MINUTE_US = 60_000_000
_TTLS = (1, 2, 3, 5, BASE_MINUTES, 15, 20, 30, 45, 60, 90, 120, 240)
_FALLBACKS = (5, 10, 20, 30, 45, 60, PAPER_FALLBACK)
"""Minutes that a function stays of which the histogram says nothing."""
_RENTAL_WEIGHTS = (2, 4, 6, 8, 10, 15, 20, 40)
_RANDOM_WEIGHTS = (4, 10, 40)
_HAZARD_WEIGHTS = (5, 10, 15, 30, WAIT_WEIGHT, 120)
_ALONE_WEIGHTS = (5, 15, 60)
"""Seconds of an idle device that a second of waiting is worth."""


class Way(Struct, frozen=True):
    """One policy with one setting."""

    family: str
    setting: str
    keep: KeepAlive
    weight: int = 0
    """Of waiting, where it has one."""

    @property
    def key(self) -> tuple[str, str]:
        return self.family, self.setting


BASE = (FIXED, f"{BASE_MINUTES} min")
PAPER = (HISTOGRAM, f"else {PAPER_FALLBACK} min")
LIVE = (HAZARD, f"weight {WAIT_WEIGHT}")
"""As the platform weighs waiting unless told otherwise."""


def ways(*, small: bool) -> list[Way]:
    """All of them. `small`: some settings of each."""
    step = 2 if small else 1
    ttls = (2, 5, BASE_MINUTES, 30, 240) if small else _TTLS
    found = [_fixed(minutes) for minutes in ttls]
    found += [_histogram(minutes, PreWarmPolicy.HISTOGRAM) for minutes in _FALLBACKS[::step]]
    found.append(_histogram(PAPER_FALLBACK, PreWarmPolicy.NONE))
    found += [_weighed(RENTAL, SkiRental.name, weight) for weight in _RENTAL_WEIGHTS[::step]]
    found += [_weighed(RENTAL_RANDOM, SkiRentalRandom.name, weight) for weight in _RANDOM_WEIGHTS[::step]]
    found += [
        _weighed(HAZARD, HazardRate.name, weight, PreWarmPolicy.HAZARD_RATE) for weight in _HAZARD_WEIGHTS[::step]
    ]
    found += [_weighed(HAZARD_ALONE, HazardRate.name, weight) for weight in _ALONE_WEIGHTS[::step]]
    return found


def _fixed(minutes: int) -> Way:
    policy = make_eviction(FixedTtl.name, EvictionParams(ttl_us=minutes * _MINUTE_US))
    return Way(FIXED, f"{minutes} min", KeepAlive(policy))


def _histogram(minutes: int, pre_warm: PreWarmPolicy) -> Way:
    policy = make_eviction(HybridHistogram.name, EvictionParams(ttl_us=minutes * _MINUTE_US))
    family = HISTOGRAM_ALONE if pre_warm is PreWarmPolicy.NONE else HISTOGRAM
    return Way(family, f"else {minutes} min", KeepAlive(policy, pre_warm))


def _weighed(family: str, name: str, weight: int, pre_warm: PreWarmPolicy = PreWarmPolicy.NONE) -> Way:
    policy = make_eviction(name, EvictionParams(wait_weight=weight))
    keep = KeepAlive(policy, pre_warm, wait_weight=weight)
    return Way(family, f"weight {weight}", keep, weight)
