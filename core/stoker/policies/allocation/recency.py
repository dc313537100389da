"""`lru` and `light-first`: idle replicas give way by the eviction policies of these names, which have the sources
(stoker.policies.eviction.lru, stoker.policies.eviction.light_first).
"""

from typing import ClassVar

from stoker.policies.allocation.by_value import ByValue
from stoker.policies.eviction import light_first, lru
from stoker.policies.eviction.interface import EvictionPolicy


class Lru(ByValue):
    """The longest idle first."""

    name: ClassVar[str] = "lru"
    _order: ClassVar[EvictionPolicy] = lru.Lru()


class LightFirst(ByValue):
    """Those that come back unnoticed first."""

    name: ClassVar[str] = "light-first"
    _order: ClassVar[EvictionPolicy] = light_first.LightFirst()
