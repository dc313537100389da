"""What `kaas-pools` is made of: throughputs of pools over tenants, and start-ups of workers.

Plain figures; stoker_sim.results.kaas_pools makes the page of them. Start-ups are taken from others' measurements only,
never from what the published throughputs imply.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions
from stoker_sim.pools.buffers import Reserve
from stoker_sim.pools.footprint import CGEMM, UNKNOWN, Footprint
from stoker_sim.pools.simulate import PoolKind, PoolSetup, simulate_pool
from stoker_sim.results.result import Row, Series
from stoker_sim.start_up import BERT, RESNET152, phase_us
from stoker_sim.traces.kaas import DEVICE_MIB, GPUS, isolated, published, tenants

WORKLOADS = ("cGEMM", "resnet50", "bert", "jacobi")
SECOND_US = 1_000_000
WEIGHTS_BYTES = 102.3e6
"""That Clockwork's copy to a V100 moved (resnet50_v2)."""
BUS_BYTES_PER_S = round(WEIGHTS_BYTES / (phase_us("clockwork-repro", "weights_host_to_gpu", "value") / 1e6))
CONTEXT = "context"
START_NAMES = (CONTEXT, "context, least", "context, most", "whole cold start")
_NO_TIMEOUT_US = 1_000_000_000_000
_LONGER = 5
"""Where nearly every request starts a worker it takes seconds, and more of them are needed to count requests."""
_TOTALS = {"resnet50": RESNET152, "bert": BERT}
"""Whole cold starts of the nearest model that somebody published."""


class Case(Struct, frozen=True, kw_only=True):
    """One run."""

    workload: str
    tenants: int
    kind: PoolKind
    start_us: int = 0
    """Of a worker of one tenant."""
    reserve: Reserve = Reserve.WHOLE
    bytes_per_s: int = BUS_BYTES_PER_S
    less_mib: int = 0
    """Of each device's memory that somebody else holds."""


def rate(case: Case, seconds: tuple[int, int]) -> float:
    """Requests per second of all tenants together, between these seconds."""
    begin_s, end_s = seconds
    if case.kind is PoolKind.EXCLUSIVE and case.tenants > GPUS:
        end_s = begin_s + _LONGER * (end_s - begin_s)
    mode = "kaas" if case.kind in (PoolKind.AFFINITY, PoolKind.BALANCE) else "exclusive"
    given = Assumptions(start_us=case.start_us, sharing=Sharing.SHARED, timeout_us=_NO_TIMEOUT_US)
    asked = tenants(case.workload, case.tenants, mode, horizon_us=end_s * SECOND_US, given=given)
    setup = PoolSetup(
        kind=case.kind,
        device_mib=DEVICE_MIB - case.less_mib,
        footprint=footprint(case.workload),
        reserve=case.reserve,
        bytes_per_s=case.bytes_per_s,
    )
    finish_us = simulate_pool(asked, setup).requests.finish_us
    measured = np.count_nonzero((finish_us >= begin_s * SECOND_US) & (finish_us < end_s * SECOND_US))
    return float(measured) / (end_s - begin_s)


class Rates:
    """Runs between the same seconds, each once; and what the authors measured."""

    def __init__(self, seconds: tuple[int, int]) -> None:
        self._seconds = seconds
        self._found: dict[Case, float] = {}
        self.published = {(t.workload, t.mode, t.clients): t.per_second for t in published()}
        """By workload, mode and number of tenants."""

    def of(self, case: Case) -> float:
        """Requests per second of all tenants together."""
        if case not in self._found:
            self._found[case] = rate(case, self._seconds)
        return self._found[case]

    def ratio(self, workload: str, count: int, start_us: int) -> float:
        """Of shared executors to exclusive workers with that start-up."""
        shared = Case(workload=workload, tenants=count, kind=PoolKind.AFFINITY)
        alone = Case(workload=workload, tenants=count, kind=PoolKind.EXCLUSIVE, start_us=start_us)
        return self.of(shared) / self.of(alone)

    def published_ratio(self, workload: str, count: int) -> float:
        """The same, of the authors' throughputs."""
        return self.published[workload, "kaas", count] / self.published[workload, "exclusive", count]


def row(rates: Rates, part: str, case: Case, pool: str) -> Row:
    """A line of the figures."""
    mode = "exclusive" if case.kind is PoolKind.EXCLUSIVE else "kaas"
    told = None if case.kind is PoolKind.STATIC else rates.published.get((case.workload, mode, case.tenants))
    return {
        "part": part,
        "workload": case.workload,
        "tenants": case.tenants,
        "pool": pool,
        "value": rates.of(case),
        "published": told,
    }


def line(label: str, values: Mapping[int, float], *, is_published: bool = False) -> Series:
    """Throughputs by the number of tenants."""
    x = sorted(values)
    return Series(label=label, x=tuple(map(float, x)), y=tuple(values[n] for n in x), published=is_published)


def starts(workload: str) -> dict[str, int]:
    """Start-ups of a worker by name, in microseconds: its context and then its memory over the bus, or the whole."""
    loaded_us = isolated()[workload, "exclusive"].memory_mib * (1 << 20) * SECOND_US // BUS_BYTES_PER_S
    found = {
        name: phase_us("streambox", "gpu_context_init", statistic) + loaded_us
        for name, statistic in zip(START_NAMES, ("mean", "min", "max"), strict=False)
    }
    if workload in _TOTALS:
        found[START_NAMES[-1]] = _TOTALS[workload].cold_us
    return found


def footprint(workload: str) -> Footprint:
    """Of one tenant; takes no memory where its single buffers are not published."""
    return CGEMM if workload == "cGEMM" else UNKNOWN
