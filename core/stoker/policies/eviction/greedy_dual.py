"""`greedy-dual`: greedy-dual-size-frequency, as in FaasCache (Fuerst and Sharma, ASPLOS'21, 10.1145/3445814.3446757).

value = clock + frequency * (cold time - warm time) / memory. The clock is the value of the last victim, so what is
not used ages against what is, and it never goes back. Frequency counts over all copies of the function. Nobody leaves
unless memory is needed: keep-alive is a cache here. The order also decides which idle replica gives way (allocation).
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import UntilNeeded
from stoker.policies.eviction.interface import IdleResident


class GreedyDual(UntilNeeded):
    """Keep what is used often, costly to start and small."""

    name: ClassVar[str] = "greedy-dual"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.GREEDY_DUAL
    ages: ClassVar[bool] = True

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the clock is the policy's own
        return resident.clock + resident.uses * resident.reload_us / max(1, resident.memory_mib)
