"""Putting requests of several functions, or several workloads, into one in the order of arrival."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from msgspec.structs import replace

from stoker_sim.workload import NOT_COUNTED, ClosedLoop, Indexes, SimFunction, Times, Workload


def arranged(
    functions: Sequence[SimFunction],
    time_us: Times,
    function: Indexes,
    exec_us: Times,
    *,
    horizon_us: int | None = None,
    slo_us: Times | None = None,
    number: Indexes | None = None,
    closed: Sequence[ClosedLoop] = (),
    source: str = "",
    arrival_notes: Sequence[str] = (),
    function_notes: Sequence[str] = (),
) -> Workload:
    """A workload of requests in any order; those of one instant stay in the order given.

    `horizon_us` is by default just behind the last arrival.
    """
    order = np.argsort(time_us, kind="stable")
    return Workload(
        functions=tuple(functions),
        time_us=time_us[order],
        function=function[order],
        exec_us=exec_us[order],
        horizon_us=(int(time_us.max()) + 1 if len(time_us) else 1) if horizon_us is None else horizon_us,
        slo_us=None if slo_us is None else slo_us[order],
        number=NOT_COUNTED if number is None else number[order],
        closed=tuple(closed),
        source=source,
        arrival_notes=tuple(arrival_notes),
        function_notes=tuple(function_notes),
    )


def merged(*parts: Workload) -> Workload:
    """Several workloads at the same time, as in periodic real-time clients beside a trace. No function may be in two.

    The horizon is the shortest of theirs, so that all are there all the time.
    """
    horizon_us = min(part.horizon_us for part in parts)
    offsets = np.cumsum([0, *(len(part.functions) for part in parts[:-1])], dtype=np.int32)
    parts = tuple(part.slice(0, horizon_us) for part in parts)
    own = any(part.slo_us is not None for part in parts)
    return arranged(
        tuple(chain.from_iterable(part.functions for part in parts)),
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.function + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([part.exec_us for part in parts]),
        horizon_us=horizon_us,
        slo_us=np.concatenate([part.objectives_us() for part in parts]) if own else None,
        number=np.concatenate([part.number for part in parts]),
        closed=[
            replace(loop, function=loop.function + int(offset))
            for part, offset in zip(parts, offsets, strict=True)
            for loop in part.closed
        ],
        source=" + ".join(part.source for part in parts),
        arrival_notes=_distinct(part.arrival_notes for part in parts),
        function_notes=_distinct(part.function_notes for part in parts),
    )


def gathered(
    functions: Sequence[SimFunction], times_us: Sequence[Times], execs_us: Sequence[Times]
) -> tuple[Times, Indexes, Times]:
    """The columns time, function and execution time of requests that are given per function."""
    counts = [len(times) for times in times_us]
    return (
        np.concatenate([np.empty(0, np.int64), *times_us]),
        np.repeat(np.arange(len(functions), dtype=np.int32), counts),
        np.concatenate([np.empty(0, np.int64), *execs_us]),
    )


def _distinct(notes: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(notes)))
