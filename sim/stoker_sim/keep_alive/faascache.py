"""FaasCache's variants of greedy-dual, as eviction policies: what each leaves out shows what it is good for.

Source: A. Fuerst and P. Sharma, ASPLOS'21, and its simulator (research notes 5.2): FREQ leaves out the size, SIZE the
cost, and landlord (N. E. Young, "On-line file caching", 2002) the frequency. Landlord takes the same rent for each MiB
from all until somebody's credit is 0; with credits renewed in full at each use that is evicting the least
clock + cost / size, the clock being the rent taken so far.
"""

from typing import ClassVar

from stoker.policies.eviction.bases import UntilNeeded
from stoker.policies.eviction.interface import IdleResident


class Frequency(UntilNeeded):
    """clock + frequency * cost."""

    name: ClassVar[str] = "freq"

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the clock is the policy's own
        return resident.clock + resident.uses * resident.reload_us


class Size(UntilNeeded):
    """clock + frequency / size."""

    name: ClassVar[str] = "size"

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  as above
        return resident.clock + resident.uses / max(1, resident.memory_mib)


class Landlord(UntilNeeded):
    """clock + cost / size."""

    name: ClassVar[str] = "landlord"

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  as above
        return resident.clock + resident.reload_us / max(1, resident.memory_mib)
