"""Allocation by value alone, and what the other policies have in common with it.

Whoever waits with no replica gets the idle replica that is worth least, the longest waiting first; to scale out a
function takes only what is worth less than one of its own. Busy replicas change hands by the quantum rule: from the
function with the most replica-seconds / weight to the one that has been patient.
"""

import math
from typing import ClassVar

from stoker.policies.allocation.interface import Resident, Wanting
from stoker.policies.eviction.interface import EvictionPolicy


class ByValue:
    """The order of an eviction policy, as an allocation policy."""

    ages: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    by_tenant: ClassVar[bool] = False
    own_first: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    fifo: ClassVar[bool] = True
    _order: ClassVar[EvictionPolicy]

    def value(self, resident: Resident, now_us: int) -> float:
        return self._order.value(resident, now_us)

    def urgency(self, wanting: Wanting) -> float:
        return wanting.since_us

    def limit(self, wanting: Wanting, now_us: int) -> float:
        return math.inf if wanting.entitled else self.value(wanting.resident, now_us)

    def may_take(self, wanting: Wanting, resident: Resident) -> bool:  # noqa: ARG002  the limit has said it
        return True

    def greed(self, resident: Resident) -> float:
        return resident.usage_us / resident.weight

    def may_turn(self, wanting: Wanting, resident: Resident) -> bool:  # noqa: ARG002  whoever is greediest gives
        return wanting.patient
