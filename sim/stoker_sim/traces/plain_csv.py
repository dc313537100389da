"""The user's own trace: `arrival_s,function,tenant,exec_ms[,slo_ms][,memory_mib]`, one line a request, sorted by time.

A function is a (tenant, function); it takes the same time on every product, since the file says nothing else.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stoker_sim.assumptions import Assumptions, declared, dns_labels
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.by_function import largest_of, medians_of, renamed
from stoker_sim.traces.table import Labels, Number, Table, Text, read_table
from stoker_sim.workload import ANY, Behaviour, Indexes, SimFunction, Times, Workload

COLUMNS = (
    Number(name="arrival_s", unit="seconds", high=3.2e8),
    Text(name="function"),
    Text(name="tenant"),
    Number(name="exec_ms", unit="milliseconds", low=0.001, high=1e9),
    Number(name="slo_ms", unit="milliseconds", low=0.001, high=1e9, optional=True, blank=True),
    Number(name="memory_mib", unit="MiB", low=1, high=1e7, whole=True, optional=True, blank=True),
)


def load(path: Path, given: Assumptions | None = None) -> Workload:
    """The workload of a CSV file, plain or gzip. Raises BadTrace."""
    given = given or Assumptions()
    table = read_table(path, COLUMNS)
    table.check_sorted("arrival_s")
    tenants, functions = table.texts["tenant"], table.texts["function"]
    index, codes = renamed(tenants.codes.astype(np.int64) * len(functions.names) + functions.codes)
    names, tenant_of, said = _names(tenants, functions, codes)
    time_us = np.rint(table.numbers["arrival_s"] * 1e6).astype(np.int64)
    exec_us = np.rint(table.numbers["exec_ms"] * 1e3).astype(np.int64)
    medians = medians_of(index, exec_us, len(codes))
    memory = _memory(table, index, len(codes))
    slo_us = _objectives(table, index, medians, given)
    return Workload(
        functions=_declared(names, tenant_of, index, medians, memory=memory, slo_us=slo_us, given=given),
        time_us=time_us,
        function=index,
        exec_us=exec_us,
        slo_us=slo_us,
        horizon_us=int(time_us[-1]) + 1,
        source=path.name,
        function_notes=(*given.notes(memory=not all(memory)), *said),
    )


def _names(
    tenants: Labels, functions: Labels, codes: NDArray[np.int64]
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Name and namespace of each function, and what a report says of names that had to be changed."""
    spaces, labels = dns_labels(tenants.names), dns_labels(functions.names)
    changed = sum(a != b for a, b in zip(tenants.names + functions.names, spaces + labels, strict=True))
    said = (f"{changed} names of tenants or functions are no DNS labels and were changed to such",) if changed else ()
    return (
        [labels[code % len(labels)] for code in codes],
        [spaces[code // len(labels)] for code in codes],
        said,
    )


def _memory(table: Table, index: Indexes, functions: int) -> list[int | None]:
    """MiB of each function, None where no line says it. BadTrace where two lines disagree."""
    if "memory_mib" not in table.numbers:
        return [None] * functions
    column = table.numbers["memory_mib"]
    rows = np.flatnonzero(~np.isnan(column))
    of_function: list[int | None] = [None] * functions
    _, first = np.unique(index[rows], return_index=True)
    for row in rows[first]:
        of_function[index[row]] = int(column[row])
    known = np.array([memory or 0 for memory in of_function], np.float64)
    differing = rows[column[rows] != known[index[rows]]]
    if len(differing):
        row = int(differing[0])
        raise BadTrace(
            table.path,
            f"is {column[row]:g}, and an earlier line of the same function says {known[index[row]]:g}",
            "give one amount for each function",
            line=int(table.line[row]),
            column="memory_mib",
        )
    return of_function


def _objectives(table: Table, index: Indexes, medians: Times, given: Assumptions) -> Times | None:
    """Of each request; None where the file has no such column."""
    if "slo_ms" not in table.numbers:
        return None
    column = table.numbers["slo_ms"] * 1e3
    default = np.array([given.objective_us(median) for median in medians], np.float64)
    return np.rint(np.where(np.isnan(column), default[index], column)).astype(np.int64)


def _declared(
    names: list[str],
    tenants: list[str],
    index: Indexes,
    medians: Times,
    *,
    memory: list[int | None],
    slo_us: Times | None,
    given: Assumptions,
) -> tuple[SimFunction, ...]:
    objectives = None if slo_us is None else medians_of(index, slo_us, len(names)).tolist()
    longest = [0] * len(names) if slo_us is None else largest_of(index, slo_us, len(names)).tolist()
    return tuple(
        declared(
            tenant,
            name,
            Behaviour(
                exec_us={ANY: int(medians[at])},
                cold_us=given.start_us,
                resume_us=given.resume_us,
                swap_mib=memory[at] or given.device_memory_mib,
            ),
            given,
            memory_mib=memory[at],
            slo_us=None if objectives is None else objectives[at],
            longest_us=longest[at],
        )
        for at, (name, tenant) in enumerate(zip(names, tenants, strict=True))
    )
