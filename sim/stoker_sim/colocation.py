"""How much slower a GPU job gets beside another on the same GPU: measured pairs.

Sources: D. Narayanan et al., "Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads" (Gavel,
OSDI'20), throughputs of 26 training jobs alone and in pairs; M. Han et al., "Microsecond-scale Preemption for
Concurrent GPU-accelerated DNN Inferences" (REEF, OSDI'22), latencies of DISB's clients alone and together. That
inference beside inference behaves like training beside training is an assumption, and ours.
"""

from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import numbers, read_table, texts

GPUS = ("k80", "p100", "v100")


class Colocation(Struct, frozen=True, kw_only=True):
    gpu: str
    slowdown: Mapping[str, Mapping[str, float]]
    """By the job that suffers, then by the one beside it: time beside over time alone, at least 1."""
    unfit: frozenset[tuple[str, str]]
    """Pairs that do not fit on the GPU together."""


class Client(Struct, frozen=True, kw_only=True):
    """One client of one of DISB's workloads, on an RTX 3080."""

    server: str
    """trt, triton or tfs."""
    workload: str
    """A to E, or REAL."""
    name: str
    """As in `vgg19_rt` (real-time) or `vgg19_be` (best effort)."""
    alone_us: int
    together_us: int


@cache
def gavel(gpu: str = "v100") -> Colocation:
    """The table of one of GPUS. A pair that was measured faster than alone (noise) counts as 1."""
    table = read_table(
        data_file("profiles/gavel_colocation_throughput.csv.gz"),
        (
            *texts("gpu", "job"),
            *texts("partner", blank=True),
            *numbers("steps_per_s"),
            *numbers("partner_steps_per_s", blank=True),
        ),
    )
    cells = [table.texts[name].cells() for name in ("gpu", "job", "partner")]
    rows = [
        (job, partner, steps)
        for of_gpu, job, partner, steps in zip(*cells, table.numbers["steps_per_s"].tolist(), strict=True)
        if of_gpu == gpu
    ]
    alone = {job: steps for job, partner, steps in rows if not partner}
    slowdown: dict[str, dict[str, float]] = {job: {} for job in sorted(alone)}
    unfit = set()
    for job, partner, steps in rows:
        if partner and steps > 0 and alone[job] > 0:
            slowdown[job][partner] = max(1.0, alone[job] / steps)
        elif partner:
            unfit.add((job, partner))
    return Colocation(gpu=gpu, slowdown=slowdown, unfit=frozenset(unfit))


@cache
def disb_clients() -> tuple[Client, ...]:
    """All rows of DISB's results, in the order of the file."""
    names = ("server", "workload", "client")
    times = ("standalone_latency_us", "colocated_latency_us")
    table = read_table(
        data_file("profiles/disb_colocation_slowdown.csv"),
        (
            *texts(*names),
            *numbers(*times, unit="microseconds"),
            *numbers("infer_latency_us", "throughput_rps", "slowdown"),
        ),
    )
    cells = [table.texts[name].cells() for name in names]
    alone, together = (table.numbers[name].tolist() for name in times)
    return tuple(
        Client(server=server, workload=workload, name=name, alone_us=int(a), together_us=int(t))
        for server, workload, name, a, t in zip(*cells, alone, together, strict=True)
    )
