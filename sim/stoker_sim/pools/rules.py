"""Whose workers a KaaS pool of one-tenant workers starts and kills: `exclusive` and `static`, as pure decisions.

Source: `ExclusivePolicy` and `StaticPolicy` of KaaS' public code (python/kaas/pool.py), research notes 2.4. Whether a
tenant has an idle worker is looked at before either is asked. Knows no time and no device.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Start(Struct, frozen=True):
    """Start one worker for the tenant."""

    victim: str | None = None
    """Kill one of this tenant's first; None: there is room."""


class PoolRules(Protocol):
    """Asked of each request whose tenant has no idle worker."""

    def decide(self, tenant: str, workers: Mapping[str, int], most: int) -> Start | None:
        """`workers`: live ones by tenant; `most`: of all tenants together. None: the request stays queued."""


class Exclusive:
    """Work-conserving: (2) while there are fewer workers than devices one is started; (3) else one of the tenant with
    the most gives way if the asking tenant has none, or would still have fewer than that one; (4) else it waits.

    Tenants with equally many give way in turn, least recently shrunk first. With more tenants than devices the rule
    "has none" kills a worker at nearly every request.
    """

    def __init__(self, tenants: list[str]) -> None:
        self._order = dict.fromkeys(tenants)
        """Least recently shrunk first; at first in the order of registration."""

    def decide(self, tenant: str, workers: Mapping[str, int], most: int) -> Start | None:
        if sum(workers.values()) < most:
            return Start()
        victim = max(self._order, key=lambda other: workers.get(other, 0))
        own = workers.get(tenant, 0)
        if own and own + 1 >= workers.get(victim, 0):
            return None
        del self._order[victim]
        self._order[victim] = None
        return Start(victim)


class Static:
    """Fixed workers for each tenant from the start, never one more and never one less."""

    def decide(self, tenant: str, workers: Mapping[str, int], most: int) -> Start | None:  # noqa: ARG002  asked in vain
        return None
