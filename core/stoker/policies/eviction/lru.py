"""`lru`: who was used longest ago leaves first, and nobody leaves unless memory is needed.

Source: P. J. Denning, "The working set model for program behavior" (CACM 1968) discusses it as the stack discipline;
idle containers under MQFQ-sticky leave in this order too.
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import UntilNeeded
from stoker.policies.eviction.interface import IdleResident


class Lru(UntilNeeded):
    """By the begin of idleness."""

    name: ClassVar[str] = "lru"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.LRU

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        return resident.idle_since_us
