"""`exclusive`: a pool of replicas for each tenant, as KaaS gives its workers away (Pemberton et al., arXiv 2212.08146;
public code, python/kaas/pool.py, policy of the same name).

For a request of tenant g: (1) an idle worker of g runs it; (2) while there are fewer workers than devices, one more
starts; (3) else the victim is the tenant v with the most workers, of several the one that shrank least recently, and if
g has none, or n_g + 1 < n_v, one of v ends and one of g starts; (4) else the request stays queued, first come first
served. With more tenants than devices it thrashes, as published. Tenants are namespaces and workers are held devices.

What differs: a replica serves one function, so (1) is an idle replica of another function of g, which gives way before
all others. Work in flight runs to its end: of v an idle replica ends, or one that has had its quantum. And a tenant
that holds nothing that would do for a function counts as one that has none for it.
"""

import math
from typing import ClassVar

from stoker.policies.allocation.by_value import ByValue
from stoker.policies.allocation.interface import Resident, Wanting

_MOST = 1e6
"""Above the devices of any tenant."""
_LONG_US = 1e12
"""Turns times into fractions below 1 in the same order; a float tells seconds apart within a month."""


class Exclusive(ByValue):
    """From the tenant that has the most to the one that has fewer by two."""

    name: ClassVar[str] = "exclusive"
    by_tenant: ClassVar[bool] = True
    own_first: ClassVar[bool] = True
    asks: ClassVar[bool] = True

    def value(self, resident: Resident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        shrunk_us = resident.tenant_gave_way_us
        return _MOST - resident.tenant_devices + shrunk_us / (shrunk_us + _LONG_US)

    def limit(self, wanting: Wanting, now_us: int) -> float:  # noqa: ARG002  as above
        return math.inf if _has_none(wanting) else _MOST - wanting.resident.tenant_devices - 1

    def greed(self, resident: Resident) -> float:
        return resident.tenant_devices + _fraction(resident.usage_us / resident.weight)

    def may_turn(self, wanting: Wanting, resident: Resident) -> bool:
        if not wanting.patient:
            return False
        own = wanting.is_own(resident)
        return own or _has_none(wanting) or wanting.resident.tenant_devices + 1 < resident.tenant_devices


def _has_none(wanting: Wanting) -> bool:
    return wanting.resident.tenant_devices == 0 or not wanting.tenant_holds


def _fraction(us: float) -> float:
    return us / (us + _LONG_US)
