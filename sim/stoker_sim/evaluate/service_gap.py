"""The service gap: how far apart two tenants' service over weight drifts while both have requests waiting.

For each two tenants the largest |W_f/w_f - W_g/w_g| over all intervals in which both are backlogged, W being device
time that is counted when its request gives its slot back, as in the bound of fair queueing (docs/concepts/theory.md).
Backlogged: at least one request waits for its slot. Only the AMONG tenants with the most waiting are looked at.
"""

from itertools import combinations

import numpy as np
from msgspec import Struct

from stoker_sim.evaluate.sample import Counts, Reals, Sample
from stoker_sim.evaluate.sums import sums
from stoker_sim.evaluate.windows import contended

AMONG = 10


class Gap(Struct, frozen=True):
    """The largest gap, in seconds of device time for each unit of weight, and between whom."""

    seconds: float
    tenants: tuple[str, str]


class _Course(Struct, frozen=True, eq=False):
    """One tenant: when it was backlogged, and when how much service was counted, over its weight."""

    begin_us: Counts
    end_us: Counts
    at_us: Counts
    service_us: Reals


def service_gap(sample: Sample) -> Gap | None:
    """None where no two tenants were ever backlogged together."""
    waiting = _waiting_us(sample)
    busiest = np.argsort(-waiting, kind="stable")[:AMONG]
    courses = {int(tenant): _course(sample, int(tenant)) for tenant in np.sort(busiest) if waiting[tenant] > 0}
    worst: Gap | None = None
    for first, second in combinations(courses, 2):
        gap_us = _largest(courses[first], courses[second])
        if gap_us is not None and (worst is None or gap_us / 1e6 > worst.seconds):
            worst = Gap(gap_us / 1e6, (sample.tenants[first], sample.tenants[second]))
    return worst


def _waiting_us(sample: Sample) -> Reals:
    """Of each tenant, over its requests, in the measured time."""
    part = sample.requests
    until_us = np.where(part.dispatch_us >= 0, part.dispatch_us, part.finish_us)
    tenants = sample.tenant_of[part.function]
    return sums(tenants, (until_us - part.arrival_us).astype(float), len(sample.tenants))


def _course(sample: Sample, tenant: int) -> _Course:
    whole = sample.whole
    mine = np.equal(sample.tenant_of[whole.function], tenant)
    ran = whole.dispatch_us >= 0
    until_us = np.where(ran, whole.dispatch_us, whole.finish_us)
    begin_us, end_us = union(
        np.maximum(whole.arrival_us[mine], sample.begin_us), np.minimum(until_us[mine], sample.end_us)
    )
    served = mine & sample.of_kind(whole, contended(sample))
    at_us = (whole.dispatch_us + whole.occupied_us)[served]
    order = np.argsort(at_us, kind="stable")
    service_us = whole.occupied_us[served][order] / sample.tenant_weights[tenant]
    return _Course(begin_us, end_us, at_us[order], service_us)


def union(begin_us: Counts, end_us: Counts) -> tuple[Counts, Counts]:
    """Spans as disjoint ones in order; those without length are left out."""
    kept = end_us > begin_us
    begin_us, end_us = begin_us[kept], end_us[kept]
    order = np.argsort(begin_us, kind="stable")
    begin_us, latest_us = begin_us[order], np.maximum.accumulate(end_us[order])
    fresh = np.ones(len(begin_us), np.bool_)
    fresh[1:] = begin_us[1:] > latest_us[:-1]
    lasts = np.append(np.flatnonzero(fresh)[1:] - 1, len(begin_us) - 1) if len(begin_us) else np.empty(0, np.int64)
    return begin_us[fresh], latest_us[lasts]


def _largest(one: _Course, other: _Course) -> float | None:
    """The largest gap over all intervals in which both are backlogged; None without one."""
    begin_us, end_us = _both(one, other)
    if not len(begin_us):
        return None
    at_us, which = np.unique(np.concatenate([one.at_us, other.at_us]), return_inverse=True)
    steps = sums(which, np.concatenate([one.service_us, -other.service_us]), len(at_us))
    ahead = np.concatenate([[0.0], np.cumsum(steps), [0.0]])
    # ahead[k] holds after k instants; of each interval those from its begin to its end. The last 0 is none.
    low, high = np.searchsorted(at_us, begin_us, "right"), np.searchsorted(at_us, end_us, "right")
    edges = np.column_stack([low, high + 1]).ravel()
    spread: Reals = np.maximum.reduceat(ahead, edges)[::2] - np.minimum.reduceat(ahead, edges)[::2]
    return float(spread.max())


def _both(one: _Course, other: _Course) -> tuple[Counts, Counts]:
    """The intervals in which both are backlogged."""
    at_us = np.concatenate([one.begin_us, other.begin_us, one.end_us, other.end_us])
    opens = len(one.begin_us) + len(other.begin_us)
    change = np.concatenate([np.ones(opens, np.int64), -np.ones(opens, np.int64)])
    order = np.lexsort((change, at_us))
    at_us, level = at_us[order], np.cumsum(change[order])
    begins = np.flatnonzero((level == 2) & (change[order] > 0))
    return at_us[begins], at_us[begins + 1]
