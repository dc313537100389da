"""Trace functions as GPU functions: each is given a measured profile of about its rank in execution time, at random.

The public traces of functions ran on CPUs. What is kept of them is who asks when, whose tenant it is, and the order of
the functions by execution time in strata; the times themselves are the profiles'. The draw is keyed by (seed,
function), so replications over seeds show what hangs on it, and one function more changes no other's profile
(DESIGN 7).
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.draws import key_of, lognormals, uniforms
from stoker_sim.profiles import Profile
from stoker_sim.workload import BadWorkload, SimFunction, Times, Workload

STRATA = 4
"""Quarters by rank, of the functions and of the profiles."""

LONGEST_OVER_MEDIAN = 20.0
"""Variation.TRACE: a request that took longer than this many medians counts as that many."""


class Variation(StrEnum):
    """Where the differences between the requests of one function come from."""

    PROFILE = "profile"
    """The profile's own spread between median and 99th percentile: inference takes much the same time each time."""
    TRACE = "trace"
    """The ratios of the trace: a request that took twice its function's median does so on the GPU."""


def mapped(
    workload: Workload,
    profiles: Sequence[Profile],
    products: Sequence[str],
    seed: int,
    given: Assumptions | None = None,
    *,
    strata: int = STRATA,
    variation: Variation = Variation.PROFILE,
) -> Workload:
    """The same requests of functions that behave like profiles, measured on `products` (the first is the reference).

    Of `given`, objectives, sharing, concurrency, timeout and CPU variant hold; start-up and memory are the profiles'.
    Raises BadWorkload.
    """
    if not 1 <= strata <= len(profiles):
        raise BadWorkload(f"{len(profiles)} profiles make no {strata} strata; give from 1 to {len(profiles)}")
    given = given or Assumptions(sharing=Sharing.SHARED)
    chosen = assigned(workload, profiles, products[0], seed, strata)
    exec_us = _exec_us(workload, chosen, products[0], seed, variation)
    kinds = len({profile.name for profile in chosen})
    mapping_note = (
        f"trace functions are mapped to {kinds} of {len(profiles)} profiles by rank of execution time in {strata} "
        f"strata (seed {seed}): this is no GPU trace"
    )
    return replace(
        workload,
        functions=tuple(
            _as_profile(function, profile, products, given)
            for function, profile in zip(workload.functions, chosen, strict=True)
        ),
        exec_us=exec_us,
        slo_us=None,
        function_notes=(
            mapping_note,
            f"objectives are {given.slo_factor:g} times the isolated warm median on {products[0]}",
            f"requests of a function differ as in the {variation.value}",
            *_assumed(chosen),
        ),
    )


def _assumed(chosen: Sequence[Profile]) -> tuple[str, ...]:
    """Of how many of the profiles each figure is ours."""
    distinct = {profile.name: profile for profile in chosen}
    count = Counter(name for profile in distinct.values() for name in profile.assumed())
    said = ", ".join(f"{name} of {number}" for name, number in sorted(count.items()))
    return (f"assumed, not measured, of {len(distinct)} profiles: {said}",) if said else ()


def assigned(
    workload: Workload, profiles: Sequence[Profile], product: str, seed: int, strata: int = STRATA
) -> list[Profile]:
    """The profile of each function: of its own stratum, drawn by (seed, function)."""
    ordered = sorted(profiles, key=lambda profile: (profile.exec_us[product].value, profile.name))
    bounds = [len(ordered) * stratum // strata for stratum in range(strata + 1)]
    stratum_of = _strata(workload, strata)
    drawn = [
        float(uniforms(key_of(seed, "profile", function.key), np.zeros(1, np.int64))[0])
        for function in workload.functions
    ]
    return [
        ordered[bounds[stratum] + int(draw * (bounds[stratum + 1] - bounds[stratum]))]
        for stratum, draw in zip(stratum_of, drawn, strict=True)
    ]


def _strata(workload: Workload, strata: int) -> list[int]:
    """Which stratum each function is in, by the rank of its execution time; equal ones by name."""
    functions = workload.functions
    order = sorted(range(len(functions)), key=lambda at: (functions[at].behaviour.median_us, functions[at].key))
    of_function = [0] * len(functions)
    for rank, at in enumerate(order):
        of_function[at] = rank * strata // len(functions)
    return of_function


def _exec_us(workload: Workload, chosen: Sequence[Profile], product: str, seed: int, variation: Variation) -> Times:
    median = np.array([profile.exec_us[product].value for profile in chosen], np.float64)[workload.function]
    if variation is Variation.TRACE:
        traced = np.array([function.behaviour.median_us for function in workload.functions], np.float64)
        ratio = np.minimum(workload.exec_us / traced[workload.function], LONGEST_OVER_MEDIAN)
    else:
        ratio = _spreads(workload, chosen, seed)
    return np.maximum(np.rint(median * ratio), 1).astype(np.int64)


def _spreads(workload: Workload, chosen: Sequence[Profile], seed: int) -> NDArray[np.float64]:
    """Lognormal (ours) between the published median and 99th percentile, keyed by (seed, function, number)."""
    keys = np.array([key_of(seed, "exec", key) for key in workload.keys], np.uint64)[workload.function]
    spread = np.array([profile.p99_over_p50 for profile in chosen])[workload.function]
    ratio = np.ones(len(workload))
    for value in np.unique(spread[spread > 1]):
        rows = np.flatnonzero(spread == value)
        ratio[rows] = lognormals(keys[rows], workload.number[rows], float(value))
    return ratio


def _as_profile(function: SimFunction, profile: Profile, products: Sequence[str], given: Assumptions) -> SimFunction:
    definition = function.definition
    return declared(
        definition.namespace,
        definition.name,
        profile.behaviour(products),
        given,
        memory_mib=profile.memory_mib.value,
        labels={**definition.labels, "profile": profile.name},
    )
