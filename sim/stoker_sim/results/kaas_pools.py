"""`kaas-pools`: shared executors against workers of one tenant, over the number of tenants on four GPUs.

Source: KaaS (N. Pemberton et al., arXiv 2212.08146) and the result file of its benchmarks. Start-ups are taken from
others' measurements only, never from what the same throughputs imply.
"""

from collections.abc import Sequence

import numpy as np

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions
from stoker_sim.pools.buffers import Reserve
from stoker_sim.pools.executors import buffer_bytes
from stoker_sim.pools.footprint import CGEMM, CONTEXT_MIB, MARGIN_MIB, UNKNOWN, Footprint
from stoker_sim.pools.simulate import PoolKind, PoolSetup, simulate_pool
from stoker_sim.results.result import (
    Chart,
    Claim,
    Result,
    Row,
    Series,
    Table,
    Verdict,
    figure,
    judged,
    spread,
)
from stoker_sim.start_up import BERT, RESNET152, phase_us
from stoker_sim.traces.kaas import DEVICE_MIB, GPUS, isolated, published, tenants

NAME = "kaas-pools"
WORKLOADS = ("cGEMM", "resnet50", "bert", "jacobi")
BUS_BYTES_PER_S = round(102.3e6 / (phase_us("clockwork-repro", "weights_host_to_gpu", "value") / 1e6))
SLOW_BUS_BYTES_PER_S = BUS_BYTES_PER_S // 2
_NO_TIMEOUT_US = 1_000_000_000_000
_SECOND_US = 1_000_000
_CROWDED = (5, 8, 16)
"""Numbers of tenants above the number of GPUs for which both were published."""
_TOTALS = {"resnet50": RESNET152, "bert": BERT}
"""Whole cold starts of the nearest model that somebody published."""


def make(*, small: bool = False) -> Result:
    """`small`: fewer tenants and seconds, for tests."""
    study = _Study(small=small)
    study.throughputs()
    study.ratios()
    study.cliff()
    return study.result()


class _Study:
    def __init__(self, *, small: bool) -> None:
        self._counts = (1, 4, 5, 8) if small else (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 28, 32)
        self._edge = (28, 29, 32, 33) if small else tuple(range(25, 37))
        self._workloads = ("cGEMM",) if small else WORKLOADS
        self._seconds = (10, 40) if small else (20, 120)
        self._published = {(t.workload, t.mode, t.clients): t.per_second for t in published()}
        self._rows: list[Row] = []
        self._tables: list[Table] = []
        self._charts: list[Chart] = []
        self._claims: list[Claim] = []

    def throughputs(self) -> None:
        """Every pool over the number of tenants, with the start-up that is known best."""
        start_us = phase_us("streambox", "gpu_context_init", "mean")
        for workload in self._workloads:
            found: dict[PoolKind, dict[int, float]] = {kind: {} for kind in PoolKind}
            for count in self._counts:
                for kind in PoolKind:
                    if kind is PoolKind.STATIC and count > GPUS:
                        continue
                    rate = self._rate(workload, count, kind, start_us=start_us)
                    found[kind][count] = rate
                    self._note("throughput", workload, count, kind.value, rate)
            self._claims += self._fitting(workload, found)
            self._charts.append(self._over_tenants(workload, found))

    def ratios(self) -> None:
        """How many times more shared executors serve than exclusive workers, over the start-ups that were measured."""
        rows, all_ours, all_published = [], [], []
        for workload in self._workloads:
            starts = _starts(workload)
            theirs: list[float] = []
            ours: dict[str, list[float]] = {name: [] for name in starts}
            for count in (n for n in _CROWDED if n in self._counts):
                shared = self._rate(workload, count, PoolKind.AFFINITY)
                told = self._published[workload, "kaas", count] / self._published[workload, "exclusive", count]
                theirs.append(told)
                for name, start_us in starts.items():
                    alone = self._rate(workload, count, PoolKind.EXCLUSIVE, start_us=start_us)
                    ours[name].append(shared / alone)
                    self._rows.append(
                        {"part": "ratio", "workload": workload, "tenants": count, "pool": "affinity / exclusive",
                         "start": name, "start_s": start_us / 1e6, "value": shared / alone, "published": told}
                    )  # fmt: skip
            factors = [mine / told for mine, told in zip(ours["context"], theirs, strict=True)]
            every = [value for values in ours.values() for value in values]
            missing = "" if judged(factors) is Verdict.REPRODUCED else _MISSING[workload]
            self._claims.append(
                Claim(
                    what=f"{workload}: shared executors over exclusive workers, more tenants than GPUs",
                    published=f"{spread(theirs)}x",
                    ours=f"{spread(ours['context'])}x ({spread(factors, 2)} of it); over all start-ups {spread(every)}x",
                    verdict=judged(factors, missing),
                    missing=missing,
                )
            )
            all_ours += every
            all_published += theirs
            rows.append(
                (workload, f"{spread(theirs)}x", *(f"{spread(ours[n])}x" if n in ours else "" for n in _START_NAMES))
            )
        self._tables.append(
            Table(
                title=f"The ratio over what is known of a worker's start-up ({figure(min(all_ours))}x to "
                f"{figure(max(all_ours))}x, published {spread(all_published)}x)",
                head=("workload", "published", *_START_NAMES),
                rows=tuple(rows),
                foot="At 5, 8 and 16 tenants. `context`: the CUDA context of a PyTorch function on a 16 GB GPU as StreamBox "
                "measured it (mean, least, most), plus the weights over the bus; `whole cold start`: of the nearest model "
                "that Torpor measured. Published ratios are quotients of the authors' own throughputs.",
            )
        )

    def cliff(self) -> None:
        """Where device memory runs out: by arithmetic, by simulation, and as measured."""
        capacity = buffer_bytes(DEVICE_MIB, CONTEXT_MIB, MARGIN_MIB)
        theirs = {n: self._published[key] for n in self._edge if (key := ("cGEMM", "kaas", n)) in self._published}
        series = [Series(label="published", x=tuple(map(float, theirs)), y=tuple(theirs.values()), published=True)]
        ours: dict[Reserve, dict[int, float]] = {}
        for reserve in Reserve:
            ours[reserve] = {n: self._rate("cGEMM", n, PoolKind.AFFINITY, reserve=reserve) for n in self._edge}
            for count, rate in ours[reserve].items():
                self._note("cliff", "cGEMM", count, f"affinity, room for {reserve.value}", rate)
            predicted = GPUS * CGEMM.tenants_on(capacity, reserve) + 1
            found = _cliff(ours[reserve])
            series.append(_series(f"room for the {reserve.value}", ours[reserve]))
            self._claims.append(
                Claim(
                    what=f"cGEMM falls when memory runs out, room made for {_ROOM[reserve]}",
                    published=f"falls at {_cliff(theirs)} tenants",
                    ours=f"arithmetic {predicted}, simulated {found}",
                    verdict=Verdict.REPRODUCED
                    if found is not None and abs(found - predicted) <= 1 and abs(predicted - (_cliff(theirs) or 0)) <= 1
                    else Verdict.DIFFERENT,
                )
            )
        slow = {
            n: self._rate("cGEMM", n, PoolKind.AFFINITY, bytes_per_s=SLOW_BUS_BYTES_PER_S)
            for n in self._edge
            if n <= 32
        }
        for count, rate in slow.items():
            self._note("cliff", "cGEMM", count, "affinity, room for whole, half the bus", rate)
        series.append(_series("whole, half the bus", slow))
        past = [(ours[Reserve.WHOLE][n], told) for n, told in theirs.items() if n >= 29]
        factors = [mine / told for mine, told in past]
        self._claims.append(
            Claim(
                what="cGEMM past the cliff, requests per second at 29 to 32 tenants",
                published=", ".join(figure(told) for _, told in past),
                ours=f"{', '.join(figure(mine) for mine, _ in past)} ({spread(factors, 2)} of it)",
                verdict=judged(factors),
            )
        )
        self._charts.append(
            Chart(
                name="cliff",
                title="cGEMM where device memory runs out",
                caption="Requests per second of all tenants together. KaaS is described to make room for the buffers that a "
                "request misses; its code makes room for the whole request. Only the second falls where the authors' "
                "measurement does.",
                x_label="tenants",
                y_label="requests/s",
                series=tuple(series),
            )
        )

    def result(self) -> Result:
        return Result(
            name=NAME,
            title="KaaS: shared executors against exclusive workers",
            source='N. Pemberton et al., "Kernel-as-a-Service" (arXiv 2212.08146), public code and result file '
            "(research notes 2).",
            text=(
                "Tenants ask in closed loops on four V100 of 16 GB, each its own function. `affinity` and `balance` are "
                "shared executors, one on each GPU, that run one request at a time and cache device buffers; `exclusive` "
                "starts and kills workers of one tenant by KaaS' three rules, each start paid; `static` has fixed workers. "
                "The queueing of `affinity` is the platform's own `cfs-affinity`, with KaaS' assignment of tenants to "
                "devices; that of `balance` is `fcfs`.",
            ),
            claims=tuple(self._claims),
            tables=tuple(self._tables),
            charts=tuple(self._charts),
            findings=_FINDINGS,
            assumptions=_INPUTS,
            rows=tuple(self._rows),
        )

    def _rate(
        self,
        workload: str,
        count: int,
        kind: PoolKind,
        *,
        start_us: int = 0,
        reserve: Reserve = Reserve.WHOLE,
        bytes_per_s: int = BUS_BYTES_PER_S,
    ) -> float:
        """Requests per second of all tenants together."""
        begin_s, end_s = self._seconds
        thrashes = kind is PoolKind.EXCLUSIVE and count > GPUS
        # Where a request takes seconds, more of them are needed.
        end_s = begin_s + 5 * (end_s - begin_s) if thrashes else end_s
        mode = "kaas" if kind in (PoolKind.AFFINITY, PoolKind.BALANCE) else "exclusive"
        given = Assumptions(start_us=start_us, sharing=Sharing.SHARED, timeout_us=_NO_TIMEOUT_US)
        asked = tenants(workload, count, mode, horizon_us=end_s * _SECOND_US, given=given)
        setup = PoolSetup(kind=kind, footprint=_footprint(workload), reserve=reserve, bytes_per_s=bytes_per_s)
        finish_us = simulate_pool(asked, setup).requests.finish_us
        measured = np.count_nonzero((finish_us >= begin_s * _SECOND_US) & (finish_us < end_s * _SECOND_US))
        return float(measured) / (end_s - begin_s)

    def _note(self, part: str, workload: str, count: int, pool: str, rate: float) -> None:
        mode = "exclusive" if pool == PoolKind.EXCLUSIVE.value else "kaas"
        told = self._published.get((workload, mode, count)) if pool != PoolKind.STATIC.value else None
        self._rows.append(
            {"part": part, "workload": workload, "tenants": count, "pool": pool, "value": rate, "published": told}
        )

    def _fitting(self, workload: str, found: dict[PoolKind, dict[int, float]]) -> list[Claim]:
        """Whether the pools stand in the published order while every tenant has a GPU, and how near they are."""
        counts = [n for n in self._counts if n <= GPUS]
        shared = [found[PoolKind.AFFINITY][n] / self._published[workload, "kaas", n] for n in counts]
        alone = [found[PoolKind.EXCLUSIVE][n] / self._published[workload, "exclusive", n] for n in counts]
        told = [(self._published[workload, "exclusive", n], self._published[workload, "kaas", n]) for n in counts]
        here = [(found[PoolKind.EXCLUSIVE][n], found[PoolKind.AFFINITY][n]) for n in counts]
        both = [all(mine >= (1 - _EQUAL) * other for mine, other in pairs) for pairs in (told, here)]
        near = judged([*shared, *alone]) is Verdict.REPRODUCED
        return [
            Claim(
                what=f"{workload}: while every tenant has a GPU, exclusive workers are as good or better",
                published=_YES[both[0]],
                ours=f"{_YES[both[1]]}; throughputs are {spread([*shared, *alone], 2)} of the published",
                verdict=Verdict.REPRODUCED if both[0] == both[1] and near else Verdict.DIFFERENT,
            )
        ]

    def _over_tenants(self, workload: str, found: dict[PoolKind, dict[int, float]]) -> Chart:
        told = {
            mode: {n: v for (w, m, n), v in self._published.items() if w == workload and m == mode}
            for mode in ("kaas", "exclusive")
        }
        lines = [_series(f"published, {mode}", values, is_published=True) for mode, values in told.items()]
        lines += [_series(kind.value, values) for kind, values in found.items()]
        return Chart(
            name=workload.lower(),
            title=f"{workload} on {GPUS} V100",
            caption="Requests per second of all tenants together; a start-up of an exclusive worker takes the CUDA context "
            "that StreamBox measured, plus the weights.",
            x_label="tenants",
            y_label="requests/s",
            series=tuple(lines),
            log_y=True,
        )


_YES = {True: "yes", False: "no"}
_EQUAL = 0.02
"""Throughputs that differ by less count as equal: the authors' own differ so from one number of tenants to the next."""
_START_NAMES = ("context", "context, least", "context, most", "whole cold start")
_ROOM = {Reserve.MISSING: "what a request misses (as described)", Reserve.WHOLE: "all that it uses (as coded)"}
_MISSING = {
    "cGEMM": "the start-up of the authors' workers",
    "jacobi": "the start-up of the authors' workers",
    "bert": "the start-up of the authors' workers",
    "resnet50": "what keeps four GPUs at 170 requests/s when one serves 53 (our executors reach 211), and the start-up of "
    "the authors' workers",
}
_FINDINGS = (
    "The cliff stands where the public code puts it, not where the design does. Room is made for all buffers of a request, "
    "since the code looks residents up under another key than it stores them under; so a GPU needs one whole working set "
    "free beside the residents, and holds 7 tenants of cGEMM instead of 8. That one look-up costs four tenants of 32.",
    "`balance` collapses long before that: without affinity every tenant's 2 GB are wanted on every GPU. The authors' "
    "measurements are of `affinity`.",
    "bert takes 3.2 GB of buffers in KaaS. If nothing of it were shared or dropped between requests a GPU would hold 4 "
    "tenants, and throughput would fall at 17; it was measured to 32 without a fall. Which of its buffers outlive a "
    "request is not published, so no cliff is claimed for bert, resnet50 and jacobi: their memory is left out.",
    "Exclusive workers at 5 tenants are as slow as at 16: once one tenant has no worker each request starts a process.",
)
_INPUTS = (
    "Execution: the inverse of the published isolated requests per second of one GPU (kaas_isolated.csv), the same in both "
    "modes that it was measured in.",
    f"Start-up of a worker: CUDA context of a PyTorch function, {phase_us('streambox', 'gpu_context_init', 'mean') / 1e6:.2f} s "
    f"({phase_us('streambox', 'gpu_context_init', 'min') / 1e6:.2f}-{phase_us('streambox', 'gpu_context_init', 'max') / 1e6:.2f} "
    "s; StreamBox, ATC'24), plus the worker's memory over the bus; or a whole cold start of ResNet-152 (8 s) or Bert (11 s; "
    "Torpor, ATC'25). Ending a worker takes no time.",
    f"Bus: {BUS_BYTES_PER_S / 1e9:.1f} GB/s for each GPU (Clockwork's 102.3 MB in 8.37 ms on a V100, pinned memory). KaaS copies "
    "from ordinary memory, whose bandwidth on that host is not published: half of it is drawn too.",
    f"Device memory {DEVICE_MIB} MiB, of which the code keeps {MARGIN_MIB} MiB free and the context takes {CONTEXT_MIB} MiB "
    "(their empty test model). cGEMM's buffers follow from its dimensions (100 x 10,000 by 10,000 x 25,000, complex).",
    "Each tenant has 8 requests outstanding (2 x GPUs, as the benchmark's warm-up bursts); clients think for no time.",
    "`fractional` (MPS) is not simulated: how kernels of several processes share a GPU's multiprocessors is not published.",
)


def _starts(workload: str) -> dict[str, int]:
    """Start-ups of an exclusive worker, by name, in microseconds."""
    loaded_us = isolated()[workload, "exclusive"].memory_mib * (1 << 20) * _SECOND_US // BUS_BYTES_PER_S
    found = {
        name: phase_us("streambox", "gpu_context_init", statistic) + loaded_us
        for name, statistic in zip(_START_NAMES, ("mean", "min", "max"), strict=False)
    }
    if workload in _TOTALS:
        found["whole cold start"] = _TOTALS[workload].cold_us
    return found


def _footprint(workload: str) -> Footprint:
    return CGEMM if workload == "cGEMM" else UNKNOWN


def _cliff(rates: dict[int, float]) -> int | None:
    """The first number of tenants with less than 0.8 of the best so far."""
    best = 0.0
    for count, rate in sorted(rates.items()):
        if rate < 0.8 * best:
            return count
        best = max(best, rate)
    return None


def _series(label: str, values: dict[int, float], *, is_published: bool = False) -> Series:
    x: Sequence[int] = sorted(values)
    return Series(label=label, x=tuple(map(float, x)), y=tuple(values[n] for n in x), published=is_published)
