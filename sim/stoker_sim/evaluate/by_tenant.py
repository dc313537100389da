"""Each tenant by itself: what became of its requests, how much slower they were than alone, what device time it got."""

import numpy as np
from msgspec import Struct

from stoker.reasons import Outcome
from stoker_sim.evaluate.quality import slowdown
from stoker_sim.evaluate.sample import Sample
from stoker_sim.evaluate.weighting import quantile
from stoker_sim.evaluate.windows import contended
from stoker_sim.outcomes import OUTCOMES


class TenantRow(Struct, frozen=True, kw_only=True):
    """One namespace that had requests."""

    tenant: str
    offered: int
    attainment: float
    refused: int
    expired: int
    failed: int
    wait_p99_ms: float | None
    """Of those that were dispatched."""
    slowdown_p99: float | None
    """Of those that were served."""
    service_s: float
    """Device time of its requests, where tenants compete for it."""


def tenant_rows(sample: Sample) -> tuple[TenantRow, ...]:
    """By name."""
    part = sample.requests
    tenant = sample.tenant_of[part.function]
    order = np.argsort(tenant, kind="stable")
    begins = np.searchsorted(tenant[order], np.arange(len(sample.tenants) + 1))
    slower, served, on_time = slowdown(sample), part.served, part.on_time
    dispatched = part.dispatch_us >= 0
    service_us = np.where(sample.of_kind(part, contended(sample)), part.occupied_us, 0)
    rows = []
    for index, name in enumerate(sample.tenants):
        mine = order[begins[index] : begins[index + 1]]
        if not len(mine):
            continue
        ends = np.bincount(part.outcome[mine], minlength=len(OUTCOMES)).tolist()
        rows.append(
            TenantRow(
                tenant=name,
                offered=len(mine),
                attainment=int(on_time[mine].sum()) / len(mine),
                refused=ends[OUTCOMES.index(Outcome.REFUSED)],
                expired=ends[OUTCOMES.index(Outcome.EXPIRED)],
                failed=ends[OUTCOMES.index(Outcome.FAILED)],
                wait_p99_ms=quantile(part.wait_us[mine][dispatched[mine]] / 1000, 0.99),
                slowdown_p99=quantile(slower[mine][served[mine]], 0.99),
                service_s=float(service_us[mine].sum()) / 1e6,
            )
        )
    return tuple(rows)
