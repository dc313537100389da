"""`kaas-pools`: shared executors against workers of one tenant, over the number of tenants on four GPUs.

Source: KaaS (N. Pemberton et al., arXiv 2212.08146), its code and the result file of its benchmarks.
"""

from collections.abc import Mapping, Sequence

from stoker_sim.pools.footprint import CONTEXT_MIB, MARGIN_MIB
from stoker_sim.pools.simulate import PoolKind
from stoker_sim.results.kaas_cliff import cliff
from stoker_sim.results.kaas_study import (
    BUS_BYTES_PER_S,
    CONTEXT,
    START_NAMES,
    WORKLOADS,
    Case,
    Rates,
    line,
    row,
    starts,
)
from stoker_sim.results.result import (
    Chart,
    Claim,
    Part,
    Result,
    Row,
    Series,
    Table,
    Verdict,
    banded,
    composed,
    figure,
    hanging,
    judged,
    signed,
    spread,
)
from stoker_sim.start_up import phase_us
from stoker_sim.traces.kaas import DEVICE_MIB, GPUS, OUTSTANDING, isolated

NAME = "kaas-pools"
_CROWDED = (5, 8, 16)
"""Numbers of tenants above the number of GPUs for which both were published."""
_SWEPT = 8
"""Tenants, where the start-up is varied."""
_EQUAL = 0.02
"""Throughputs that differ by less count as equal: the authors' own differ so from one number of tenants to the next."""
_WORKERS = "the start-up of the authors' workers"
_YES = {True: "yes", False: "no"}


def make(*, small: bool = False) -> Result:
    """`small`: one workload, fewer tenants and seconds, for tests."""
    counts = (1, 4, 5, 8) if small else (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 28, 32)
    workloads = ("cGEMM",) if small else WORKLOADS
    rates = Rates((20, 40) if small else (20, 60))
    parts = (
        *(_throughputs(rates, workload, counts) for workload in workloads),
        _ratios(rates, workloads, tuple(n for n in _CROWDED if n in counts)),
        _start_ups(rates, workloads, (1, 4, 8) if small else (0.5, 1, 2, 3, 4, 6, 8, 11, 15)),
        cliff(rates, (24, 28, 29, 32, 33) if small else range(24, 37)),
    )
    return composed(
        parts,
        name=NAME,
        title="KaaS: shared executors against exclusive workers",
        source="""N. Pemberton et al., "Kernel-as-a-Service: A Serverless Programming Model for Heterogeneous Hardware
        Accelerators" (arXiv 2212.08146); its code (github.com/NathanTP/kaas, python/kaas/pool.py and
        _server_light.py) and the result file of its benchmarks (github.com/NathanTP/kaasBenchmarks).""",
        text=_TEXT,
        assumptions=_INPUTS,
    )


def _throughputs(rates: Rates, workload: str, counts: Sequence[int]) -> Part:
    """Every pool over the number of tenants, with the start-up that is known best."""
    cases = [
        Case(
            workload=workload,
            tenants=count,
            kind=kind,
            start_us=starts(workload)[CONTEXT] if kind is PoolKind.EXCLUSIVE else 0,
        )
        for count in counts
        for kind in PoolKind
        if kind is not PoolKind.STATIC or count <= GPUS
    ]
    found = {kind: {case.tenants: rates.of(case) for case in cases if case.kind is kind} for kind in PoolKind}
    crowded = {n: served for n, served in found[PoolKind.EXCLUSIVE].items() if n > GPUS}
    one, four = isolated()[workload, "kaas"].device_us, rates.published[workload, "kaas", GPUS]
    return Part(
        claims=(_fitting(rates, workload, found),),
        charts=(_over_tenants(rates, workload, found),),
        rows=tuple(row(rates, "throughput", case, case.kind.value) for case in cases),
        findings=(
            f"""{workload}: exclusive workers serve {spread(list(crowded.values()))} requests/s from {min(crowded)} to
            {max(crowded)} tenants, since each request starts a process. One executor alone serves
            {figure(1e6 / one)}, so four might serve {figure(GPUS * 1e6 / one)}; {figure(four)} were measured.""",
        ),
    )


def _fitting(rates: Rates, workload: str, found: Mapping[PoolKind, Mapping[int, float]]) -> Claim:
    """Whether the pools stand in the published order while every tenant has a GPU, and how near they are."""
    counts = [n for n in found[PoolKind.AFFINITY] if n <= GPUS]
    modes = {PoolKind.EXCLUSIVE: "exclusive", PoolKind.AFFINITY: "kaas"}
    told = [[rates.published[workload, mode, n] for n in counts] for mode in modes.values()]
    here = [[found[kind][n] for n in counts] for kind in modes]
    both = [all(alone >= (1 - _EQUAL) * shared for alone, shared in zip(*pools, strict=True)) for pools in (told, here)]
    factors = [
        mine / theirs
        for ours, others in zip(here, told, strict=True)
        for mine, theirs in zip(ours, others, strict=True)
    ]
    return signed(
        f"{workload}: while every tenant has a GPU, exclusive workers are as good or better",
        published=_YES[both[0]],
        ours=f"{_YES[both[1]]}; throughputs are {spread(factors, 2)} of the published",
        holds=[both[0] == both[1], judged(factors) is Verdict.REPRODUCED],
    )


def _over_tenants(rates: Rates, workload: str, found: Mapping[PoolKind, Mapping[int, float]]) -> Chart:
    told = {
        mode: {n: served for (name, its, n), served in rates.published.items() if (name, its) == (workload, mode)}
        for mode in ("kaas", "exclusive")
    }
    return Chart(
        name=workload.lower(),
        title=f"{workload} on {GPUS} V100",
        caption="""Requests per second of all tenants together; a start-up of an exclusive worker takes the CUDA
        context that StreamBox measured (mean), plus the weights.""",
        x_label="tenants",
        y_label="requests/s",
        series=(
            *(line(f"published, {mode}", values, is_published=True) for mode, values in told.items()),
            *(line(kind.value, values) for kind, values in found.items()),
        ),
        log_y=True,
    )


def _ratios(rates: Rates, workloads: Sequence[str], counts: Sequence[int]) -> Part:
    """How many times more shared executors serve than exclusive workers, over the start-ups that were measured."""
    told = {workload: [rates.published_ratio(workload, n) for n in counts] for workload in workloads}
    ours = {
        workload: {
            name: [rates.ratio(workload, n, start_us) for n in counts] for name, start_us in starts(workload).items()
        }
        for workload in workloads
    }
    every = [ratio for by_start in ours.values() for ratios in by_start.values() for ratio in ratios]
    all_told = [ratio for ratios in told.values() for ratio in ratios]
    claims = [
        signed(
            "shared executors serve many times more once tenants outnumber GPUs",
            published=f"{spread(all_told)}x",
            ours=f"{spread(every)}x over workloads, tenants and start-ups",
            holds=[ratio > 1 for ratio in every],
        )
    ]
    claims += [_ratio_of(workload, ours[workload], told[workload]) for workload in workloads]
    claims.append(_order(told, ours))
    rows: list[Row] = [
        {
            "part": "ratio",
            "workload": workload,
            "tenants": count,
            "pool": "affinity / exclusive",
            "start": name,
            "start_s": starts(workload)[name] / 1e6,
            "value": ratio,
            "published": theirs,
        }
        for workload in workloads
        for name, ratios in ours[workload].items()
        for count, ratio, theirs in zip(counts, ratios, told[workload], strict=True)
    ]
    table = Table(
        title="The ratio over what is known of a worker's start-up",
        head=("workload", "published", *START_NAMES),
        rows=tuple(
            (
                workload,
                f"{spread(told[workload])}x",
                *(f"{spread(ours[workload][n])}x" if n in ours[workload] else "" for n in START_NAMES),
            )
            for workload in workloads
        ),
        foot=f"""At {", ".join(map(str, counts))} tenants. `context`: the CUDA context of a PyTorch function on a 16
        GB GPU as StreamBox measured it (mean, least, most), plus the weights over the bus; `whole cold start`: of the
        nearest model that Torpor measured. Published ratios are quotients of the authors' own throughputs.""",
    )
    return Part(claims=tuple(claims), tables=(table,), rows=tuple(rows))


def _ratio_of(workload: str, ours: Mapping[str, Sequence[float]], told: Sequence[float]) -> Claim:
    factors = [mine / theirs for ratios in ours.values() for mine, theirs in zip(ratios, told, strict=True)]
    every = [ratio for ratios in ours.values() for ratio in ratios]
    return banded(
        f"{workload}: shared executors over exclusive workers, more tenants than GPUs",
        published=f"{spread(told)}x",
        ours=f"{spread(every)}x over the start-ups that were measured, {spread(factors, 2)} of it",
        factors=factors,
        missing=_WORKERS,
    )


def _order(told: Mapping[str, Sequence[float]], ours: Mapping[str, Mapping[str, Sequence[float]]]) -> Claim:
    """Over the start-ups; where a workload has none of that name its context's mean stands for it."""
    theirs = sorted(told, key=lambda workload: sum(told[workload]))
    orders = {}
    for name in START_NAMES:
        sums = {workload: sum(by_start.get(name, by_start[CONTEXT])) for workload, by_start in ours.items()}
        orders[name] = sorted(sums, key=sums.__getitem__)
    return hanging(
        "order of the workloads by that ratio, least first",
        published=", ".join(theirs),
        ours=f"{', '.join(orders[CONTEXT])} by {CONTEXT}; {', '.join(orders[START_NAMES[-1]])} by {START_NAMES[-1]}",
        holds=[order == theirs for order in orders.values()],
        missing=_WORKERS,
    )


def _start_ups(rates: Rates, workloads: Sequence[str], start_ups_s: Sequence[float]) -> Part:
    """The ratio over any start-up: the band of what is not known."""
    ours = {workload: [rates.ratio(workload, _SWEPT, round(s * 1e6)) for s in start_ups_s] for workload in workloads}
    told = {workload: rates.published_ratio(workload, _SWEPT) for workload in workloads}
    least_s, most_s = (phase_us("streambox", "gpu_context_init", name) / 1e6 for name in ("min", "max"))
    x = tuple(map(float, start_ups_s))
    lines = [Series(label=workload, x=x, y=tuple(ours[workload])) for workload in workloads]
    lines += [
        Series(label=f"{workload}, published", x=(x[0], x[-1]), y=(told[workload],) * 2, published=True)
        for workload in workloads
    ]
    chart = Chart(
        name="start-up",
        title=f"What hangs on the start-up of a worker, {_SWEPT} tenants",
        caption=f"""Shared executors over exclusive workers. What the authors' workers took is not published; a CUDA
        context alone was measured at {least_s:.2f} to {most_s:.2f} s (StreamBox).""",
        x_label="start-up of an exclusive worker, s",
        y_label="times as many requests",
        series=tuple(lines),
        log_x=True,
        log_y=True,
    )
    rows: list[Row] = [
        {
            "part": "start-up",
            "workload": workload,
            "tenants": _SWEPT,
            "pool": "affinity / exclusive",
            "start_s": start_s,
            "value": ratio,
            "published": told[workload],
        }
        for workload in workloads
        for start_s, ratio in zip(start_ups_s, ours[workload], strict=True)
    ]
    return Part(charts=(chart,), rows=tuple(rows))


_TEXT = (
    """Tenants ask in closed loops on four V100 of 16 GB, each its own function. `affinity` and `balance` are shared
    executors, one on each GPU, that run one request at a time and cache device buffers; `exclusive` starts and kills
    workers of one tenant by KaaS' three rules, each start paid; `static` has fixed workers. The queueing of
    `affinity` is the platform's own `cfs-affinity`, with KaaS' assignment of tenants to devices; that of `balance` is
    `fcfs`.""",
    """How long the authors' workers took to start is not published. So the ratio is a range over start-ups that
    others measured: it counts as made again if it is 0.5 to 2 times the published one over all of them, as different
    if it is so over none, and else as hanging on what is missing.""",
)
_INPUTS = (
    """Execution: the inverse of the published isolated requests per second of one GPU (kaas_isolated.csv), the same
    in both modes that it was measured in.""",
    f"""Start-up of a worker: CUDA context of a PyTorch function,
    {phase_us("streambox", "gpu_context_init", "mean") / 1e6:.2f} s (StreamBox, ATC'24; least and most beside it),
    plus the worker's memory over the bus; or a whole cold start of ResNet-152 (8 s) or Bert (11 s; Torpor, ATC'25).
    Ending a worker takes no time.""",
    f"""Bus: {BUS_BYTES_PER_S / 1e9:.1f} GB/s for each GPU (Clockwork's 102.3 MB in 8.37 ms on a V100, pinned memory).
    KaaS copies from ordinary memory, whose bandwidth on that host is not published: half of it is drawn too.""",
    f"""Device memory {DEVICE_MIB:,} MiB, of which the code keeps {MARGIN_MIB} MiB free and the context takes
    {CONTEXT_MIB} MiB (their empty test model). cGEMM's buffers follow from its dimensions (100 x 10,000 by 10,000 x
    25,000, complex).""",
    f"""Each tenant has {OUTSTANDING} requests outstanding (2 x GPUs, as the benchmark's warm-up bursts); clients
    think for no time.""",
    """`fractional` (MPS) is not simulated: how kernels of several processes share a GPU's multiprocessors is not
    published.""",
)
