"""The eviction policies by name, and those that are keep-alive policies. Adding one is a line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from stoker.errors import UnknownName
from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.fixed_ttl import FixedTtl
from stoker.policies.eviction.greedy_dual import GreedyDual
from stoker.policies.eviction.hazard_rate import HazardRate
from stoker.policies.eviction.hybrid_histogram import HybridHistogram
from stoker.policies.eviction.interface import DEFAULTS, EvictionParams, EvictionPolicy
from stoker.policies.eviction.light_first import LightFirst
from stoker.policies.eviction.lru import Lru
from stoker.policies.eviction.ski_rental import SkiRental, SkiRentalRandom
from stoker.policies.eviction.slack_value import SlackValue


class MakeEviction(Protocol):
    """Makes a policy; the classes of the policies themselves."""

    def __call__(self, params: EvictionParams = DEFAULTS) -> EvictionPolicy: ...


EVICTION: Mapping[str, MakeEviction] = MappingProxyType(
    {
        FixedTtl.name: FixedTtl,
        GreedyDual.name: GreedyDual,
        HazardRate.name: HazardRate,
        HybridHistogram.name: HybridHistogram,
        LightFirst.name: LightFirst,
        Lru.name: Lru,
        SkiRental.name: SkiRental,
        SkiRentalRandom.name: SkiRentalRandom,
        SlackValue.name: SlackValue,
    }
)

_KEEP_ALIVE = {policy.keep_alive: policy for make in EVICTION.values() if (policy := make()).keep_alive is not None}


def make_eviction(name: str, params: EvictionParams = DEFAULTS) -> EvictionPolicy:
    """A policy of that name. Raises UnknownName, listing what there is."""
    make = EVICTION.get(name)
    if make is None:
        raise UnknownName(f"there is no eviction policy {name!r}; use one of: {', '.join(sorted(EVICTION))}")
    return make(params)


def make_keep_alive(policy: KeepAlivePolicy, params: EvictionParams = DEFAULTS) -> EvictionPolicy:
    """The one that a function names in scaling.keepAlive.policy."""
    return make_eviction(_KEEP_ALIVE[policy].name, params)
