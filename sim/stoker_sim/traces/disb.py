"""DISB's workload REAL: five real-time clients with jittered periods, beside five that ask again at once.

Source: M. Han et al., "Microsecond-scale Preemption for Concurrent GPU-accelerated DNN Inferences" (REEF, OSDI'22);
execution times are the latencies of the same clients alone on an RTX 3080 of 10 GB, by server.
"""

from pathlib import Path

import numpy as np

from stoker.model.function import Priority, Sharing
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.colocation import disb_clients
from stoker_sim.start_up import RESNET152
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.by_function import renamed
from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import Number, Text, read_table
from stoker_sim.workload import Behaviour, ClosedLoop, SimFunction, Workload

PRODUCT = "RTX3080"
MEMORY_MIB = 1024
"""Of each client (assumed): ten of them were on a card of 10 GB together."""

COLUMNS = (
    Text(name="model"),
    Number(name="arrival_ms", unit="milliseconds", high=3.2e11),
)

DEFAULTS = Assumptions(start_us=RESNET152.cold_us, resume_us=RESNET152.hibernated_us, sharing=Sharing.SHARED)


def load(
    path: Path | None = None, given: Assumptions = DEFAULTS, *, server: str = "trt", best_effort: bool = True
) -> Workload:
    """The project's own copy (25 s), or a file of that form sorted by time. Raises BadTrace.

    `server`: whose execution times, trt, triton or tfs. `best_effort`: with the closed loops, at priority Batch.
    """
    path = path or data_file("disb_realtime_arrivals/arrivals.csv")
    alone = {c.name: c.alone_us for c in disb_clients() if (c.server, c.workload) == (server, "REAL")}
    table = read_table(path, COLUMNS)
    table.check_sorted("arrival_ms")
    models = table.texts["model"].names
    for code, model in enumerate(models):
        if f"{model}_rt" not in alone:
            row = int((table.texts["model"].codes == code).argmax())
            raise BadTrace(
                path,
                f"{model} was not measured on {server}",
                f"give one of {', '.join(sorted(name.removesuffix('_rt') for name in alone if name.endswith('_rt')))}",
                line=int(table.line[row]),
                column="model",
            )
    function, _ = renamed(table.texts["model"].codes.astype(np.int64))
    functions = [_function("real-time", model, alone[f"{model}_rt"], given, Priority.STANDARD) for model in models]
    closed = []
    if best_effort:
        rest = sorted(name.removesuffix("_be") for name in alone if name.endswith("_be"))
        closed = [ClosedLoop(function=len(functions) + at, clients=1, seed=given.seed) for at in range(len(rest))]
        functions += [_function("best-effort", model, alone[f"{model}_be"], given, Priority.BATCH) for model in rest]
    time_us = np.rint(1e3 * table.numbers["arrival_ms"]).astype(np.int64)
    return Workload(
        functions=tuple(functions),
        time_us=time_us,
        function=function,
        exec_us=np.array([f.behaviour.median_us for f in functions], np.int64)[function],
        horizon_us=int(time_us[-1]) + 1,
        closed=tuple(closed),
        source=f"disb real {server}",
        function_notes=(
            f"execution times are DISB's latencies alone on an RTX 3080 ({server})",
            f"objectives are {given.slo_factor:g} times them",
            f"each client takes {MEMORY_MIB} MiB (assumed)",
        ),
    )


def _function(namespace: str, model: str, exec_us: int, given: Assumptions, priority: Priority) -> SimFunction:
    return declared(
        namespace,
        model,
        Behaviour(exec_us={PRODUCT: exec_us}, cold_us=given.start_us, resume_us=given.resume_us, swap_mib=MEMORY_MIB),
        given,
        memory_mib=MEMORY_MIB,
        priority=priority,
    )
