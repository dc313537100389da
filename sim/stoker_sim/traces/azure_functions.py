"""Azure Functions 2019: invocations by the minute, execution times and memory of anonymous functions.

Source: M. Shahrad et al., "Serverless in the Wild" (ATC'20), https://github.com/Azure/AzurePublicDataset. This module
holds what both forms of it share, and the project's own sample of 250 functions over 8 hours; the public files are in
azure_public. The functions ran on CPUs: traces.mapping makes GPU functions of them.
"""

from functools import cache
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.assumptions import Assumptions, declared, dns_labels
from stoker_sim.draws import key_of, uniforms
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.files import data_file
from stoker_sim.traces.spread import MINUTE_US, Spread, spread
from stoker_sim.traces.table import Number, Table, Text, numbers, read_table, texts
from stoker_sim.workload import ANY, Behaviour, SimFunction, Times, Workload

FLOOR_US = 500
"""Of an execution time: the trace counts milliseconds, and 0 is less than half of one."""

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)


class AzureFunction(Struct, frozen=True, kw_only=True):
    owner: str
    app: str
    name: str
    trigger: str
    quantiles_ms: tuple[float, ...]
    """Execution time at QUANTILES. Minimum and maximum are of single invocations, the others of averages over 30 s."""
    memory_mib: int
    """Of its application, on average."""


class Counts(Struct, frozen=True, kw_only=True, eq=False):
    """Active function-minutes, sorted by function and minute."""

    function: NDArray[np.int64]
    minute: NDArray[np.int64]
    count: NDArray[np.int64]


def sample(
    how: Spread = Spread.UNIFORM, given: Assumptions | None = None, begin_minute: int = 480, end_minute: int = 960
) -> Workload:
    """The project's own sample: 08:00 to 16:00 of a day of July 2019, or some minutes of it (counted from 00:00)."""
    functions, counts = _read(
        data_file("azure_functions_2019/functions.csv"), data_file("azure_functions_2019/invocations_per_minute.csv.gz")
    )
    return workload_of(
        functions,
        counts,
        how,
        given or Assumptions(),
        begin_minute=begin_minute,
        end_minute=end_minute,
        source="azure-functions-2019",
    )


def workload_of(
    functions: tuple[AzureFunction, ...],
    counts: Counts,
    how: Spread,
    given: Assumptions,
    *,
    begin_minute: int,
    end_minute: int,
    source: str,
) -> Workload:
    """The invocations of these minutes, with arrivals and execution times drawn. Functions without one are kept."""
    chosen = (counts.minute >= begin_minute) & (counts.minute < end_minute)
    function, minute, count = counts.function[chosen], counts.minute[chosen], counts.count[chosen]
    names = [f"{f.owner}/{f.app}/{f.name}" for f in functions]
    keys = {
        purpose: np.array([key_of(given.seed, purpose, name) for name in names], np.uint64)
        for purpose in ("arrival", "exec")
    }
    time_us = spread(keys["arrival"][function], minute, count, how) - begin_minute * MINUTE_US
    whose = np.repeat(function, count)
    number = (np.repeat(minute, count) << 32) + _places(count)
    exec_us = _exec_us(functions, whose, uniforms(keys["exec"][whose], number))
    order = np.argsort(time_us, kind="stable")
    return Workload(
        functions=_declared(functions, given),
        time_us=time_us[order],
        function=whose[order].astype(np.int32),
        exec_us=exec_us[order],
        horizon_us=(end_minute - begin_minute) * MINUTE_US,
        source=source,
        arrival_notes=(
            f"arrivals inside a minute are spread by us ({how.value}, seed {given.seed}); the trace only counts them",
        ),
        function_notes=(
            *given.notes(memory=False),
            "execution times are drawn from each function's published percentiles, most of them of 30 s averages",
            "durations and memory are those of CPU functions; memory counts as device memory",
        ),
    )


def quantiles_of(path: Path, line: int, values: tuple[float, ...]) -> tuple[float, ...]:
    """Execution times at QUANTILES, made to rise where they do not quite. BadTrace where they fall."""
    if values[-1] < values[0]:
        raise BadTrace(
            path,
            f"its maximum {values[-1]:g} is below its minimum {values[0]:g}",
            "are two columns mixed up?",
            line=line,
        )
    return tuple(float(value) for value in np.maximum.accumulate(np.minimum(values, values[-1])))


def _places(count: NDArray[np.int64]) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return places


def _exec_us(functions: tuple[AzureFunction, ...], whose: NDArray[np.int64], at: NDArray[np.float64]) -> Times:
    """The quantile functions at `at`, linear between the published points."""
    points = np.array([f.quantiles_ms for f in functions], np.float64).reshape(len(functions), len(QUANTILES))
    part = np.searchsorted(QUANTILES, at, side="right") - 1
    low, high = np.array(QUANTILES)[part], np.array(QUANTILES)[part + 1]
    below, above = points[whose, part], points[whose, part + 1]
    milliseconds = below + (above - below) * (at - low) / (high - low)
    drawn: Times = np.maximum(np.rint(1000 * milliseconds), FLOOR_US).astype(np.int64)
    return drawn


def _declared(functions: tuple[AzureFunction, ...], given: Assumptions) -> tuple[SimFunction, ...]:
    labels = dns_labels(tuple(dict.fromkeys(f.name for f in functions)))
    label = dict(zip(dict.fromkeys(f.name for f in functions), labels, strict=True))
    return tuple(
        declared(
            f.owner,
            label[f.name],
            Behaviour(
                exec_us={ANY: max(FLOOR_US, round(1000 * f.quantiles_ms[QUANTILES.index(0.5)]))},
                cold_us=given.start_us,
                resume_us=given.resume_us,
                swap_mib=f.memory_mib,
            ),
            given,
            memory_mib=f.memory_mib,
            labels={"trigger": f.trigger, "app": f.app},
        )
        for f in functions
    )


@cache
def _read(functions_path: Path, counts_path: Path) -> tuple[tuple[AzureFunction, ...], Counts]:
    """Read once, since every replication draws from the same counts."""
    functions, ids = _functions(functions_path)
    return functions, _counts(counts_path, ids)


def _functions(path: Path) -> tuple[tuple[AzureFunction, ...], dict[str, int]]:
    durations = ("dur_min_ms", "dur_p1_ms", "dur_p25_ms", "dur_p50_ms", "dur_p75_ms", "dur_p99_ms", "dur_max_ms")
    table = read_table(
        path,
        (
            *texts("func_id", "func_hash12", "app_hash12", "owner_hash12", "trigger"),
            *numbers(*durations, unit="milliseconds"),
            *numbers("mem_avg_mb", unit="MB"),
        ),
        extras=True,
    )
    cells = {name: labels.cells() for name, labels in table.texts.items()}
    rows = np.column_stack([table.numbers[name] for name in durations])
    functions = tuple(
        AzureFunction(
            owner=cells["owner_hash12"][row],
            app=cells["app_hash12"][row],
            name=cells["func_id"][row],
            trigger=cells["trigger"][row],
            quantiles_ms=quantiles_of(path, int(table.line[row]), tuple(rows[row])),
            memory_mib=max(1, round(float(table.numbers["mem_avg_mb"][row]))),
        )
        for row in range(len(table))
    )
    _refuse_twice(table, cells["func_id"])
    return functions, {name: index for index, name in enumerate(cells["func_id"])}


def _counts(path: Path, ids: dict[str, int]) -> Counts:
    columns = (
        Text(name="func_id"),
        Number(name="minute", unit="minutes of the day", high=1439, whole=True),
        Number(name="count", unit="invocations", low=1, high=1e7, whole=True),
    )
    table = read_table(path, columns)
    labels = table.texts["func_id"]
    known = np.array([ids.get(name, -1) for name in labels.names], np.int64)
    function = known[labels.codes]
    if (function < 0).any():
        row = int((function < 0).argmax())
        raise BadTrace(
            path,
            f"{labels.names[labels.codes[row]]} is not in functions.csv",
            "give both files of one sample",
            line=int(table.line[row]),
            column="func_id",
        )
    minute, count = table.numbers["minute"].astype(np.int64), table.numbers["count"].astype(np.int64)
    order = np.lexsort((minute, function))
    counts = Counts(function=function[order], minute=minute[order], count=count[order])
    same = (np.diff(counts.function) == 0) & (np.diff(counts.minute) == 0)
    if same.any():
        row = int(order[int(same.argmax()) + 1])
        raise BadTrace(
            path, "this minute of the function is there twice", "add the counts up", line=int(table.line[row])
        )
    return counts


def _refuse_twice(table: Table, ids: list[str]) -> None:
    if len(set(ids)) != len(ids):
        row = next(row for row, name in enumerate(ids) if name in ids[:row])
        raise BadTrace(
            table.path, f"{ids[row]} is there twice", "remove one", line=int(table.line[row]), column="func_id"
        )
