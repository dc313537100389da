"""`greedy-dual`: idle replicas give way by greedy-dual value, as FaasCache evicts (stoker.policies.eviction.greedy_dual
has the formula and the source). The memory of an exclusive replica is its whole device.
"""

from typing import ClassVar

from stoker.policies.allocation.by_value import ByValue
from stoker.policies.eviction import greedy_dual
from stoker.policies.eviction.interface import EvictionPolicy


class GreedyDual(ByValue):
    """Keep what is used often, costly to start and small."""

    name: ClassVar[str] = "greedy-dual"
    ages: ClassVar[bool] = True
    _order: ClassVar[EvictionPolicy] = greedy_dual.GreedyDual()
