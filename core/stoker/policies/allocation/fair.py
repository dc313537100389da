"""`fair`: virtual time over device time / weight, namespaces over functions (our allocation form of start-time fair
queueing: Goyal, Vin and Cheng, SIGCOMM'96, and of MQFQ, Hedayati et al., ATC'19; replica-seconds take the place of
service, because a held device is what others lack). stoker.control.shares keeps the times and has the rules for them.

Who lacks a device is served in the order of leads, the namespace's first. Who holds one gives way so:
- idle: replicas of the namespace that is most ahead first, and in it of the function that is. To another namespace only
  if that one is less far ahead, or holds nothing that would do. So 50 functions of one namespace take no more from
  another namespace than one function would.
- busy: a replica that has had its quantum, when its side holds more devices over weight than the waiting side, with
  those on their way, and is ahead of it by more than a turn, which moves the lead by turn / weight on either side.
  Functions that scale out trade too. A lead grows only while its side holds more, and then a trade is due: that bounds
  the gap between two that lack devices throughout. For a function that has been patient with no replica it is enough
  to be behind. One that is ahead waits on, as its weight demands; but if nothing that its namespace holds would do for
  it, its lead may come from devices that nobody else here wants, and it does not have to be behind.
"""

import math
from typing import ClassVar

from stoker.policies.allocation.by_value import ByValue
from stoker.policies.allocation.interface import Resident, Wanting

MOST_US = 3.6e9
"""Largest lead that counts: an hour of one device at weight 1."""
_SECOND_US = 1e6


class Fair(ByValue):
    """From whoever is ahead to whoever is behind."""

    name: ClassVar[str] = "fair"
    shares: ClassVar[bool] = True
    by_tenant: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    fifo: ClassVar[bool] = False

    def value(self, resident: Resident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        return MOST_US + 1 - self.greed(resident)

    def urgency(self, wanting: Wanting) -> float:
        return self.greed(wanting.resident)

    def limit(self, wanting: Wanting, now_us: int) -> float:
        if not wanting.entitled:
            return self.value(wanting.resident, now_us)
        if not wanting.tenant_holds:
            return math.inf
        # Those of its own namespace, however little ahead, and of those that are further ahead.
        return MOST_US + 1.5 - wanting.resident.namespace_lead_us

    def may_take(self, wanting: Wanting, resident: Resident) -> bool:
        ahead_us = resident.namespace_lead_us - wanting.resident.namespace_lead_us
        return wanting.is_own(resident) or ahead_us > 0 or not wanting.tenant_holds

    def greed(self, resident: Resident) -> float:
        """The namespace's lead, then the function's as a fraction below 1."""
        return resident.namespace_lead_us + resident.lead_us / (resident.lead_us + _SECOND_US)

    def may_turn(self, wanting: Wanting, resident: Resident) -> bool:
        mine = wanting.resident
        if wanting.is_own(resident):
            ahead_us = resident.lead_us - mine.lead_us
            weights = resident.weight, mine.weight
            held = resident.devices, mine.devices
        else:
            if wanting.patient and mine.tenant_devices and not wanting.tenant_holds:
                return True
            ahead_us = resident.namespace_lead_us - mine.namespace_lead_us
            weights = resident.namespace_weight, mine.namespace_weight
            held = resident.tenant_devices, mine.tenant_devices
        if held[0] * weights[1] <= held[1] * weights[0]:
            return False
        return ahead_us > (0 if wanting.patient else wanting.turn_us * (1 / weights[0] + 1 / weights[1]))
