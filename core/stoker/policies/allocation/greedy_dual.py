"""Greedy-dual-size-frequency keep-alive, as in FaasCache (Fuerst and Sharma, ASPLOS'21, doi 10.1145/3445814.3446757).

value = clock + frequency * (cold time - warm time) / memory. The clock is the value of the last victim, so what is
not used ages against what is. Frequency counts over all replicas of the function.
"""

from typing import ClassVar

from stoker.policies.allocation.interface import Resident


class GreedyDual:
    """Keep what is used often, costly to start and small."""

    name: ClassVar[str] = "greedy-dual"

    def value(self, resident: Resident) -> float:
        return resident.clock + resident.frequency * resident.start_us / max(1, resident.memory_mib)
