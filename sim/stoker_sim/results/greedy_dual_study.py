"""What `greedy-dual` is made of: readings of Azure's trace as invocations of containers, and policies on them.

Plain figures; stoker_sim.results.greedy_dual makes the page of them. The pool is stoker_sim.keep_alive.memory_pool.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.policies.eviction.fixed_ttl import FixedTtl
from stoker.policies.eviction.greedy_dual import GreedyDual
from stoker.policies.eviction.interface import EvictionParams, EvictionPolicy
from stoker.policies.eviction.lru import Lru
from stoker_sim.keep_alive.faascache import Frequency, Landlord, Size
from stoker_sim.keep_alive.memory_pool import Kind, MemoryPool
from stoker_sim.profiles import catalogue
from stoker_sim.traces.azure_functions import sample
from stoker_sim.traces.files import data_file
from stoker_sim.traces.mapping import assigned
from stoker_sim.traces.spread import MINUTE_US
from stoker_sim.traces.table import numbers, read_table, texts
from stoker_sim.workload import Times, Workload

GREEDY_DUAL, TTL = "greedy-dual", "ttl 10 min"
TTL_US = 600_000_000
POLICIES: Mapping[str, Callable[[], EvictionPolicy]] = MappingProxyType(
    {
        GREEDY_DUAL: GreedyDual,
        TTL: lambda: FixedTtl(EvictionParams(ttl_us=TTL_US)),
        "lru": Lru,
        "landlord": Landlord,
        "freq": Frequency,
        "size": Size,
    }
)
_FEWER = tuple(POLICIES)[:4]
_PRODUCT = "A100"
_FLOOR_US = 500
"""Of a warm time: the trace counts milliseconds."""


class Load(Struct, frozen=True, eq=False, kw_only=True):
    """One reading of the trace: invocations, and what lasts how long."""

    name: str
    key: str
    """Part of a chart's name."""
    kinds: tuple[Kind, ...]
    time_us: Times
    function: NDArray[np.int32]
    lasts_us: Times
    invocations: NDArray[np.int64]
    """Of each function in the trace; several of them may be one here."""
    sizes_mib: tuple[int, ...]
    policies: tuple[str, ...]


class Point(Struct, frozen=True, kw_only=True):
    """What one policy made of one load in so much memory."""

    overhead: float
    """Time that cold starts added, over the warm time of all invocations."""
    increase: float
    """Mean over invocations of the time that a cold start added, over the warm time of its function."""
    as_coded: float
    """The same with the two times changed about, as the public code of FaasCache's figure has it."""
    cold: int
    dropped: float
    """Share of the invocations."""


Found = Mapping[tuple[str, int], Point]
"""By policy and MiB."""


def loads(*, small: bool = False) -> tuple[Load, ...]:
    """`small`: an hour and one or two sizes."""
    workload = sample(end_minute=540) if small else sample()
    published, gpus = _as_published(), _on_gpus(workload)
    even = _single(workload, published, evenly(workload))
    sizes = (8, 16) if small else (8, 16, 24, 32, 64)
    some = (16,) if small else (8, 16, 32)
    held = (6, 10) if small else (6, 8, 12, 20)
    large = (96,) if small else (64, 96, 128, 192)
    return (
        _load("evenly spaced, one invocation at a time in a container", "even", even, sizes, tuple(POLICIES)),
        _load("at random inside the minute, the same", "random", _single(workload, published), some, _FEWER),
        _load(
            "all invocations of a function in one container", "together", _together(workload, published), held, _FEWER
        ),
        _load("the same on GPUs (profiles by rank)", "gpus", _together(workload, gpus), large, _FEWER),
    )


def play(load: Load) -> Found:
    """Every policy in every size."""
    return {(name, size): _point(load, POLICIES[name](), size) for size in load.sizes_mib for name in load.policies}


def evenly(workload: Workload) -> Times:
    """The arrivals, in the workload's order, as FaasCache spreads them: evenly from the begin of their minute."""
    minute = workload.time_us // MINUTE_US
    order = np.lexsort((workload.time_us, minute, workload.function))
    cell = workload.function[order].astype(np.int64) * (1 << 32) + minute[order]
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    count = np.diff(np.append(first, len(cell)))
    place = np.arange(len(cell)) - np.repeat(first, count)
    time_us = np.empty(len(cell), np.int64)
    time_us[order] = minute[order] * MINUTE_US + place * MINUTE_US // np.repeat(count, count)
    return time_us


class _Reading(Struct, frozen=True, eq=False):
    kinds: tuple[Kind, ...]
    time_us: Times
    function: NDArray[np.int32]
    lasts_us: Times
    invocations: NDArray[np.int64]


def _load(name: str, key: str, its: _Reading, sizes_gib: Sequence[int], policies: tuple[str, ...]) -> Load:
    return Load(
        name=name,
        key=key,
        kinds=its.kinds,
        time_us=its.time_us,
        function=its.function,
        lasts_us=its.lasts_us,
        invocations=its.invocations,
        sizes_mib=tuple(1024 * size for size in sizes_gib),
        policies=policies,
    )


def _as_published() -> tuple[Kind, ...]:
    """As FaasCache reads the trace: warm the average, cold the maximum, an application's memory shared out."""
    table = read_table(
        data_file("azure_functions_2019/functions.csv"),
        (*texts("func_id", "app_hash12"), *numbers("dur_avg_ms", "dur_max_ms", "mem_avg_mb")),
        extras=True,
    )
    apps = table.texts["app_hash12"].cells()
    members = Counter(apps)
    columns = (table.numbers[name].tolist() for name in ("dur_avg_ms", "dur_max_ms", "mem_avg_mb"))
    kinds = []
    for key, app, average, most, memory in zip(table.texts["func_id"].cells(), apps, *columns, strict=True):
        warm_us = max(_FLOOR_US, round(1000 * average))
        kinds.append(Kind(key, max(1, -int(-memory // members[app])), warm_us, max(warm_us, round(1000 * most))))
    return tuple(kinds)


def _on_gpus(workload: Workload) -> tuple[Kind, ...]:
    chosen = assigned(workload, catalogue((_PRODUCT,)), _PRODUCT, seed=0)
    kinds = []
    for key, profile in zip(workload.keys, chosen, strict=True):
        warm_us = profile.exec_us[_PRODUCT].value
        kinds.append(Kind(key, profile.memory_mib.value, warm_us, warm_us + profile.cold_us.value))
    return tuple(kinds)


def _single(workload: Workload, kinds: tuple[Kind, ...], time_us: Times | None = None) -> _Reading:
    """Each invocation has a container to itself while it runs."""
    at_us = workload.time_us if time_us is None else time_us
    order = np.argsort(at_us, kind="stable")
    function = workload.function[order]
    return _Reading(kinds, at_us[order], function, _warm_us(kinds)[function], _counts(workload))


def _together(workload: Workload, kinds: tuple[Kind, ...]) -> _Reading:
    """Invocations that overlap become one, as long as the busy time of their function."""
    order = np.argsort(workload.function, kind="stable")
    bounds = np.searchsorted(workload.function[order], np.arange(len(kinds) + 1))
    begins, ends, whose = [], [], []
    for index, kind in enumerate(kinds):
        at_us = workload.time_us[order[bounds[index] : bounds[index + 1]]]
        if not len(at_us):
            continue
        until_us = at_us + kind.warm_us
        first = np.concatenate([[True], at_us[1:] > until_us[:-1]])
        begins.append(at_us[first])
        ends.append(until_us[np.concatenate([first[1:], [True]])])
        whose.append(np.full(int(first.sum()), index, np.int32))
    time_us, end_us, function = np.concatenate(begins), np.concatenate(ends), np.concatenate(whose)
    order = np.argsort(time_us, kind="stable")
    return _Reading(kinds, time_us[order], function[order], (end_us - time_us)[order], _counts(workload))


def _counts(workload: Workload) -> NDArray[np.int64]:
    return np.bincount(workload.function, minlength=len(workload.functions))


def _warm_us(kinds: Sequence[Kind]) -> Times:
    return np.array([kind.warm_us for kind in kinds], np.int64)


def _point(load: Load, policy: EvictionPolicy, size_mib: int) -> Point:
    tally = MemoryPool(load.kinds, size_mib, policy).play(load.time_us, load.function, load.lasts_us)
    warm_us = _warm_us(load.kinds)
    extra_us = np.array([kind.cold_us for kind in load.kinds]) - warm_us
    count = int(load.invocations.sum())
    longer = extra_us > 0
    return Point(
        overhead=float((tally.cold * extra_us).sum()) / float((load.invocations * warm_us).sum()),
        increase=float((tally.cold * extra_us / warm_us).sum()) / count,
        as_coded=float((tally.cold[longer] * warm_us[longer] / extra_us[longer]).sum()) / count,
        cold=int(tally.cold.sum()),
        dropped=int(tally.dropped.sum()) / len(load.time_us),
    )
