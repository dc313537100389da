"""The public files of Azure Functions, as they are downloaded.

2019 (M. Shahrad et al., ATC'20): a folder with `invocations_per_function_md.anon.dNN.csv` (1,440 counts a line),
`function_durations_percentiles.anon.dNN.csv` and `app_memory_percentiles.anon.dNN.csv`; the first two are needed.
2021 (Y. Zhang et al., SOSP'21): `AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt`, one line an invocation with its
end and duration in seconds. Rows that the files themselves leave incomplete are left out and counted in the notes.
"""

import re
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from stoker_sim.arrangement import arranged
from stoker_sim.assumptions import Assumptions, declared, dns_labels
from stoker_sim.draws import key_of, uniforms
from stoker_sim.traces.azure_functions import FLOOR_US, AzureFunction, Counts, workload_of
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.by_function import medians_of, renamed
from stoker_sim.traces.lines import lines_of
from stoker_sim.traces.spread import Spread
from stoker_sim.traces.table import Column, Number, Text, header_of, numbers_of, read_table, texts
from stoker_sim.workload import ANY, Behaviour, Workload

MINUTES = 1440
DIGITS = 12
"""Of a hash, kept as a name."""

_HASHES = ("HashOwner", "HashApp", "HashFunction")
_COUNTS = tuple(Number(name=str(minute), unit="invocations", high=1e9, whole=True) for minute in range(1, MINUTES + 1))
_ROW = re.compile(rf"[0-9]{{1,9}}(?:,[0-9]{{1,9}}){{{MINUTES - 1}}}")
_PERCENTILES = (
    "Minimum",
    *(f"percentile_Average_{at}" for at in (1, 25, 50, 75, 99)),
    "Maximum",
)


class _Row(Struct, frozen=True):
    owner: str
    app: str
    function: str
    trigger: str


def load_2019(
    folder: Path,
    day: int = 1,
    how: Spread = Spread.UNIFORM,
    given: Assumptions | None = None,
    *,
    share: float = 1.0,
    begin_minute: int = 0,
    end_minute: int = MINUTES,
) -> Workload:
    """One day (1 to 14) of a folder of the 2019 files, or some minutes and a random share of the functions of it.

    Raises BadTrace.
    """
    given = given or Assumptions()
    rows, counts = _invocations(folder / f"invocations_per_function_md.anon.d{day:02}.csv", share, given.seed)
    durations = _durations(folder / f"function_durations_percentiles.anon.d{day:02}.csv")
    memory_path = folder / f"app_memory_percentiles.anon.d{day:02}.csv"
    memory = _memory(memory_path) if memory_path.exists() else {}
    usual = round(float(np.median(list(memory.values())))) if memory else given.device_memory_mib
    kept = [index for index, row in enumerate(rows) if row.function in durations]
    if not kept:
        raise BadTrace(
            folder, f"no function of day {day} has execution times", "give the files of one day, and a larger share"
        )
    functions = tuple(
        AzureFunction(
            owner=rows[index].owner[:DIGITS],
            app=rows[index].app[:DIGITS],
            name=rows[index].function[:DIGITS],
            trigger=rows[index].trigger,
            quantiles_ms=durations[rows[index].function],
            memory_mib=memory.get(rows[index].app, usual),
        )
        for index in kept
    )
    new_index = np.full(len(rows), -1, np.int64)
    new_index[kept] = np.arange(len(kept))
    chosen = new_index[counts.function] >= 0
    counts = Counts(
        function=new_index[counts.function][chosen], minute=counts.minute[chosen], count=counts.count[chosen]
    )
    work = workload_of(
        functions,
        counts,
        how,
        given,
        begin_minute=begin_minute,
        end_minute=end_minute,
        source=f"azure-functions-2019 day {day}",
    )
    missing = sum(rows[index].app not in memory for index in kept)
    said = (
        f"{len(rows) - len(kept)} of {len(rows)} functions have no usable execution times and are left out",
        f"{missing} functions have no row of memory and get {usual} MiB",
    )
    return replace(work, function_notes=(*work.function_notes, *said))


def load_2021(
    path: Path,
    given: Assumptions | None = None,
    *,
    share: float = 1.0,
    begin_s: float = 0.0,
    end_s: float = 14 * 86_400.0,
) -> Workload:
    """The 2021 file, or a random share of its functions between two times from its first arrival. Raises BadTrace."""
    given = given or Assumptions()
    table = read_table(
        path,
        (
            Text(name="app"),
            Text(name="func"),
            Number(name="end_timestamp", unit="seconds", high=3.2e8),
            Number(name="duration", unit="seconds", high=1e7),
        ),
    )
    apps, funcs = table.texts["app"], table.texts["func"]
    arrival_s = table.numbers["end_timestamp"] - table.numbers["duration"]
    arrival_s -= arrival_s.min()
    codes = apps.codes.astype(np.int64) * len(funcs.names) + funcs.codes
    chosen = (arrival_s >= begin_s) & (arrival_s < end_s)
    if share < 1:
        distinct, inverse = np.unique(codes, return_inverse=True)
        names = [f"{apps.names[code // len(funcs.names)]}/{funcs.names[code % len(funcs.names)]}" for code in distinct]
        chosen &= _chosen(names, share, given.seed)[inverse]
    if not chosen.any():
        raise BadTrace(path, "has no invocation in what was asked for", "give a longer time or a larger share")
    index, distinct = renamed(codes[chosen])
    exec_us = np.maximum(np.rint(1e6 * table.numbers["duration"][chosen]), FLOOR_US).astype(np.int64)
    medians = medians_of(index, exec_us, len(distinct))
    spaces = dns_labels(tuple(name[:DIGITS] for name in apps.names))
    labels = dns_labels(funcs.names)
    functions = [
        declared(
            spaces[code // len(labels)],
            labels[code % len(labels)],
            Behaviour(
                exec_us={ANY: int(medians[at])},
                cold_us=given.start_us,
                resume_us=given.resume_us,
                swap_mib=given.device_memory_mib,
            ),
            given,
        )
        for at, code in enumerate(distinct)
    ]
    time_us = np.rint(1e6 * (arrival_s[chosen] - begin_s)).astype(np.int64)
    return arranged(
        functions,
        time_us,
        index,
        exec_us,
        source="azure-functions-2021",
        arrival_notes=("arrivals are the ends minus the durations of the trace",),
        function_notes=(*given.notes(), "durations are those of CPU functions"),
    )


def _invocations(path: Path, share: float, seed: int) -> tuple[list[_Row], Counts]:
    """The chosen functions of a day, and their active minutes."""
    columns: tuple[Column, ...] = (*texts(*_HASHES, "Trigger"), *_COUNTS)
    lines = lines_of(path)
    header = next(lines, "").rstrip("\r\n")
    names = header_of(path, header.split(",") if header else [], columns, extras=False)
    if names != [column.name for column in columns]:
        raise BadTrace(path, "its columns are in another order", "give the file as it was published", line=1)
    rows: list[_Row] = []
    function, minute, count = [], [], []
    for line, text in enumerate(lines, 2):
        cells = text.rstrip("\r\n").split(",", 4)
        if cells == [""]:
            continue
        if len(cells) < 5 or not _ROW.fullmatch(cells[4]):
            _blame(path, line, text)
        if share < 1 and not _chosen([cells[2]], share, seed)[0]:
            continue
        counts = np.fromstring(cells[4], np.int64, sep=",")
        active = np.flatnonzero(counts)
        function.append(np.full(len(active), len(rows)))
        minute.append(active)
        count.append(counts[active])
        rows.append(_Row(*cells[:4]))
    if not rows:
        raise BadTrace(path, "has no function", "give the whole file, or a larger share", line=1)
    return rows, Counts(function=np.concatenate(function), minute=np.concatenate(minute), count=np.concatenate(count))


def _blame(path: Path, line: int, text: str) -> None:
    cells = text.rstrip("\r\n").split(",")
    if len(cells) != 4 + MINUTES:
        raise BadTrace(
            path, f"has {len(cells)} fields, not {4 + MINUTES}", "give the file as it was published", line=line
        )
    for column, cell in zip(_COUNTS, cells[4:], strict=True):
        numbers_of([cell], column, path, [line])
    raise BadTrace(path, "its counts are not plain whole numbers", "write digits only", line=line)


def _chosen(names: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which functions are in a random share: each by its own name."""
    keys = np.array([key_of(seed, "choose", name) for name in names], np.uint64)
    return uniforms(keys, np.zeros(len(names), np.int64)) < share


def _durations(path: Path) -> dict[str, tuple[float, ...]]:
    """Execution times in ms at QUANTILES of each function that has usable ones; of two rows the first counts."""
    columns: tuple[Column, ...] = (
        *texts(*_HASHES),
        *(Number(name=name, unit="milliseconds", low=-1e15, blank=True) for name in _PERCENTILES),
    )
    table = read_table(path, columns, extras=True)
    labels = table.texts["HashFunction"]
    rows = np.column_stack([table.numbers[name] for name in _PERCENTILES])
    usable = (rows >= 0).all(axis=1) & (rows[:, 0] <= rows[:, -1])
    found: dict[str, tuple[float, ...]] = {}
    for row in np.flatnonzero(usable):
        rising = np.maximum.accumulate(np.minimum(rows[row], rows[row, -1]))
        found.setdefault(labels.names[labels.codes[row]], tuple(rising.tolist()))
    return found


def _memory(path: Path) -> dict[str, int]:
    """MiB of each application."""
    columns = (Text(name="HashApp"), Number(name="AverageAllocatedMb", unit="MB", low=-1e15, blank=True))
    table = read_table(path, columns, extras=True)
    labels, column = table.texts["HashApp"], table.numbers["AverageAllocatedMb"]
    return {labels.names[labels.codes[row]]: max(1, round(float(column[row]))) for row in np.flatnonzero(column > 0)}
