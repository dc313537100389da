"""Arrivals of jobs at Microsoft's Philly cluster, virtual cluster by virtual cluster, as requests of as many tenants.

Source: M. Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads" (ATC'19), as cut
for Gavel (D. Narayanan et al., OSDI'20). What it is good for: tenants whose arrivals are far from Poisson. What it does
not say, and is the caller's: how long anything takes. Jobs that want several GPUs at once are left out: a request here
runs on one device.
"""

from pathlib import Path

import numpy as np

from stoker_sim.arrangement import arranged
from stoker_sim.assumptions import Assumptions, declared, dns_labels
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.by_function import renamed
from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import Number, Text, read_table
from stoker_sim.workload import ANY, Behaviour, Workload

MEDIAN_US = 874_000_000
"""Median run of a GPU job there, by the summary of clusters that comes with AcmeTrace (Q. Hu et al., NSDI'24)."""

COLUMNS = (
    Text(name="tenant_vc"),
    Number(name="arrival_s", unit="seconds", high=3.2e8),
    Number(name="num_gpus", unit="GPUs", low=1, high=10_000, whole=True),
)


def load(path: Path | None = None, given: Assumptions | None = None, *, exec_us: int = MEDIAN_US) -> Workload:
    """The project's own copy, or a file of that form in any order. Every job takes `exec_us`. Raises BadTrace.

    One function for each virtual cluster, `VC/jobs`.
    """
    given = given or Assumptions()
    table = read_table(path or data_file("philly_gpu_jobs/job_arrivals.csv.gz"), COLUMNS)
    rows = np.flatnonzero(table.numbers["num_gpus"] == 1)
    jobs = len(table.numbers["num_gpus"])
    if not len(rows):
        raise BadTrace(table.path, "has no job of one GPU", "give a file with some")
    clusters = table.texts["tenant_vc"]
    index, which = renamed(clusters.codes[rows].astype(np.int64))
    labels = dns_labels(tuple(clusters.names[code] for code in which))
    behaviour = Behaviour(
        exec_us={ANY: exec_us},
        cold_us=given.start_us,
        resume_us=given.resume_us,
        swap_mib=given.device_memory_mib,
    )
    return arranged(
        [declared(label, "jobs", behaviour, given) for label in labels],
        np.rint(1e6 * table.numbers["arrival_s"][rows]).astype(np.int64),
        index,
        np.full(len(rows), exec_us, np.int64),
        source="philly",
        arrival_notes=("each virtual cluster has a clock of its own that begins with its first job",),
        function_notes=(
            *given.notes(),
            f"every job takes {exec_us / 1e6:g} s: the trace that is here has no durations",
            f"{jobs - len(rows)} of {jobs} jobs that want several GPUs are left out",
        ),
    )
