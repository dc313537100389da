"""Kernel as a Service: its four workloads as measured, and the closed loops that compare its pools.

Source: N. Pemberton et al., "Kernel-as-a-Service: A Serverless Programming Model for Heterogeneous Hardware
Accelerators" (arXiv 2212.08146), result file of its benchmarks: V100 of 16 GB, `kaas` is its shared executor,
`exclusive` a worker process of one tenant's own, `fractional` partitions of a GPU (MPS). Kernel graphs of models are
Orion's (F. Strati et al., EuroSys'24), on the same card.
"""

from functools import cache

import numpy as np
from msgspec import Struct

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.profiles import context_us
from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import numbers, read_table, texts
from stoker_sim.workload import Behaviour, ClosedLoop, Workload

PRODUCT = "V100"
DEVICE_MIB = 16_160
"""Of one GPU, and GPUS of them."""
GPUS = 4
OUTSTANDING = 8
"""Requests of one tenant at a time: 2 x GPUS, as the benchmark's warm-up bursts."""


class KaasProfile(Struct, frozen=True, kw_only=True):
    """One workload in one mode, alone on one GPU."""

    workload: str
    mode: str
    latency_us: int
    """End to end, of one request alone."""
    device_us: int
    """GPU time that a request takes under load: the inverse of the published requests per second."""
    runtime_us: int
    memory_mib: int
    sm_percent: int


class Throughput(Struct, frozen=True):
    """Requests per second of all tenants together, on 4 GPUs."""

    workload: str
    mode: str
    clients: int
    per_second: float


class KernelGraph(Struct, frozen=True, kw_only=True):
    """One inference of a model as its kernels, in the order of launch."""

    model: str
    batch: int
    kernels_us: tuple[float, ...]

    @property
    def total_us(self) -> int:
        return max(1, round(sum(self.kernels_us)))


@cache
def isolated() -> dict[tuple[str, str], KaasProfile]:
    """By (workload, mode); the benchmark's empty test model is left out."""
    names = ("latency_ms", "qps", "model_runtime_ms", "gpu_mem_mib", "sm_percent")
    table = read_table(
        data_file("profiles/kaas_isolated.csv"), (*texts("workload", "mode"), *numbers(*names, blank=True))
    )
    cells = (table.texts["workload"].cells(), table.texts["mode"].cells())
    figures = (table.numbers[name].tolist() for name in names)
    found = {}
    for workload, mode, latency, rate, runtime, memory, multiprocessors in zip(*cells, *figures, strict=True):
        if not np.isfinite(rate):
            continue
        profile = KaasProfile(
            workload=workload,
            mode=mode,
            latency_us=round(1e3 * latency),
            device_us=round(1e6 / rate),
            runtime_us=round(1e3 * runtime),
            memory_mib=round(memory),
            sm_percent=round(multiprocessors),
        )
        found[profile.workload, profile.mode] = profile
    return found


@cache
def published() -> tuple[Throughput, ...]:
    """What the authors measured over the number of tenants."""
    table = read_table(
        data_file("profiles/kaas_throughput_vs_clients.csv"),
        (*texts("workload", "mode"), *numbers("n_clients", whole=True), *numbers("throughput_qps")),
    )
    cells = (table.texts["workload"].cells(), table.texts["mode"].cells())
    return tuple(
        Throughput(workload, mode, int(clients), float(rate))
        for workload, mode, clients, rate in zip(
            *cells, *(column.tolist() for column in table.numbers.values()), strict=True
        )
    )


@cache
def kernel_graphs() -> tuple[KernelGraph, ...]:
    """Orion's inference graphs on a V100."""
    table = read_table(
        data_file("gpu_kernels/orion_v100_kernels.csv.gz"),
        (
            *texts("model", "mode", "kernel", "bound"),
            *numbers("batch", "kernel_idx", "sm_needed", whole=True),
            *numbers("duration_ns", unit="nanoseconds"),
        ),
    )
    models = table.texts["model"]
    inference = table.texts["mode"].rows_of("inference")
    graphs = []
    for code, model in enumerate(models.names):
        of_model = inference & (models.codes == code)
        for batch in np.unique(table.numbers["batch"][of_model]):
            rows = np.flatnonzero(of_model & (table.numbers["batch"] == batch))
            rows = rows[np.argsort(table.numbers["kernel_idx"][rows], kind="stable")]
            durations = table.numbers["duration_ns"][rows] / 1e3
            graphs.append(KernelGraph(model=model, batch=int(batch), kernels_us=tuple(durations.tolist())))
    return tuple(graphs)


def tenants(
    workload: str,
    count: int,
    mode: str = "kaas",
    *,
    horizon_us: int = 300_000_000,
    given: Assumptions | None = None,
    outstanding: int = OUTSTANDING,
) -> Workload:
    """So many equal tenants, each asking again at once, `outstanding` requests at a time.

    The start-up is the CUDA context alone unless `given` says more: nothing is taken from the throughputs themselves.
    """
    context = context_us()
    given = given or Assumptions(start_us=context.value, sharing=Sharing.SHARED)
    profile = isolated()[workload, mode]
    functions = tuple(
        declared(
            f"tenant-{at}",
            workload.lower(),
            Behaviour(
                exec_us={PRODUCT: profile.device_us},
                cold_us=given.start_us,
                resume_us=given.resume_us,
                swap_mib=profile.memory_mib,
            ),
            given,
            memory_mib=profile.memory_mib,
        )
        for at in range(count)
    )
    return Workload(
        functions=functions,
        time_us=np.empty(0, np.int64),
        function=np.empty(0, np.int32),
        exec_us=np.empty(0, np.int64),
        horizon_us=horizon_us,
        closed=tuple(ClosedLoop(function=at, clients=outstanding, seed=given.seed) for at in range(count)),
        source=f"kaas {workload} {mode} x{count}",
        function_notes=(
            "a request takes the inverse of the published isolated requests per second of one GPU",
            f"each tenant has {outstanding} requests outstanding",
            f"a start-up takes {given.start_us / 1e6:g} s"
            + (f" ({context.source})" if given.start_us == context.value else ""),
        ),
    )
