"""`lru`: who was used longest ago leaves first, and nobody leaves unless memory is needed.

Source: P. J. Denning, "The working set model for program behavior" (CACM 1968) discusses it as the stack discipline;
idle containers under MQFQ-sticky leave in this order too.
"""

from typing import ClassVar

from stoker.policies.eviction.interface import IdleResident


class Lru:
    """By the begin of idleness."""

    name: ClassVar[str] = "lru"

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        return resident.idle_since_us

    def keep_until_us(self, resident: IdleResident) -> int | None:  # noqa: ARG002  the interface's
        return None
