"""What `keep-alive` is made of: the idle gaps of the Azure sample under each policy and setting, on several workloads.

Plain figures by function; stoker_sim.results.keep_alive makes the page of them.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.control.planning import PlanParams
from stoker_sim.keep_alive.gaps import Gaps, idle_gaps
from stoker_sim.keep_alive.optimum import Costs, costs_of
from stoker_sim.keep_alive.windows import play, share_of
from stoker_sim.profiles import catalogue
from stoker_sim.results.keep_alive_ways import RENTAL, Way, ways
from stoker_sim.traces.azure_functions import sample
from stoker_sim.traces.mapping import mapped
from stoker_sim.traces.spread import MINUTE_US, Spread

WARM_UP_US = 120 * MINUTE_US
TRACE, PROFILES = "trace", "profiles"
DEVICE_MIB = {TRACE: 2_048, PROFILES: 40_960}
"""Of which a function keeps a share from others. The trace's functions are a tenth to a hundredth of a model's size;
their device is as much smaller.
"""
PRODUCT = "A100"
SEEDS = (0, 1, 2)
MIB_US = 1e12
"""The unit of the tables is 10^6 MiB s."""
_FEW = 300
"""Requests of the functions that a small study has."""


class Outcome(Struct, frozen=True, eq=False):
    """Of one way on one workload, by function."""

    cold: NDArray[np.int64]
    """Avoidable cold starts."""
    memory: NDArray[np.float64]
    """10^6 MiB s, of idle functions and of starts, from the warm-up on."""


class Case(Struct, frozen=True, eq=False):
    """One workload: a way of spreading, and whose memory counts."""

    spread: Spread
    memory: str
    seed: int | None
    functions: tuple[Gaps, ...]
    ways: tuple[Way, ...]
    outcomes: tuple[Outcome, ...]
    """By way."""

    def chosen(self, of: Callable[[Gaps], bool]) -> NDArray[np.bool_]:
        """Which functions are meant."""
        return np.array([of(gaps) for gaps in self.functions])

    def costs(self, chosen: NDArray[np.bool_]) -> Costs:
        """For the optimum over the functions."""
        return costs_of([gaps for gaps, yes in zip(self.functions, chosen, strict=True) if yes], WARM_UP_US)

    def total(self, key: tuple[str, str], chosen: NDArray[np.bool_]) -> tuple[int, float]:
        """Cold starts and memory of a way over the functions."""
        outcome = self.outcomes[[way.key for way in self.ways].index(key)]
        return int(outcome.cold[chosen].sum()), float(outcome.memory[chosen].sum())


def is_odd(gaps: Gaps) -> bool:
    """Whether the function is of the half that counts; constants were chosen on the other."""
    return int(gaps.definition.name.removeprefix("f")) % 2 == 1


def is_even(gaps: Gaps) -> bool:
    return not is_odd(gaps)


def anyone(gaps: Gaps) -> bool:  # noqa: ARG001  as the others
    return True


def trigger_of(gaps: Gaps) -> str:
    """What wakes the function. No policy sees it."""
    return gaps.definition.labels["trigger"]


def woken_by(trigger: str) -> Callable[[Gaps], bool]:
    """Which functions it wakes."""
    return lambda gaps: trigger_of(gaps) == trigger


def study(*, small: bool) -> list[Case]:
    """All cases. `small`: fewer functions, settings and seeds."""
    seeds = SEEDS[:1] if small else SEEDS
    cases = [_case(Spread.UNIFORM, seed, small=small) for seed in (None, *seeds)]
    return cases + [_case(Spread.CLUSTERED, seed, small=small) for seed in (None, *seeds[:1])]


def ski_factor(case: Case) -> float:
    """Cost of ski-rental over that of the optimum at its own price, all gaps together, at the worst of the weights."""
    device_mib, worst = DEVICE_MIB[case.memory], 0.0
    for way in case.ways:
        if way.family != RENTAL:
            continue
        cost = best = 0.0
        for gaps in case.functions:
            (kept,) = play([way.keep], gaps, device_mib)
            share, start_us = share_of(gaps, device_mib), float(way.weight * gaps.start_us)
            cost += share * float(kept.held_us.sum()) + start_us * int(kept.cold.sum())
            best += float(np.minimum(share * gaps.length_us, start_us).sum())
        worst = max(worst, cost / best if best else 0.0)
    return worst


def _case(how: Spread, seed: int | None, *, small: bool) -> Case:
    workload = sample(how)
    if small:
        counts = np.bincount(workload.function, minlength=len(workload.functions))
        few = [key for key, count in zip(workload.keys, counts.tolist(), strict=True) if count <= _FEW]
        workload = workload.only([key for number, key in enumerate(few) if number % 4 < 2])
    if seed is not None:
        workload = mapped(workload, catalogue((PRODUCT,)), (PRODUCT,), seed)
    memory = TRACE if seed is None else PROFILES
    functions = idle_gaps(workload, PlanParams().wake_us)
    chosen = tuple(ways(small=small or bool(seed)))
    return Case(how, memory, seed, functions, chosen, _outcomes(chosen, functions, DEVICE_MIB[memory]))


def _outcomes(chosen: tuple[Way, ...], functions: tuple[Gaps, ...], device_mib: int) -> tuple[Outcome, ...]:
    cold = np.zeros((len(chosen), len(functions)), np.int64)
    memory = np.zeros((len(chosen), len(functions)))
    keeps = [way.keep for way in chosen]
    for column, gaps in enumerate(functions):
        counted = gaps.end_us >= WARM_UP_US
        for row, kept in enumerate(play(keeps, gaps, device_mib, WARM_UP_US)):
            missed = int(kept.cold[counted].sum())
            held_us = int(kept.held_us[counted].sum()) + kept.held_after_us
            cold[row, column] = missed
            # A start holds memory too, and an avoidable one is charged for it.
            memory[row, column] = (held_us + missed * gaps.start_us) * gaps.memory_mib / MIB_US
    return tuple(Outcome(c, m) for c, m in zip(cold, memory, strict=True))
