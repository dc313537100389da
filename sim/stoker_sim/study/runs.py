"""One simulation of the study and what is kept of it. A job is one workload under several settings, for any process.

Conditional attainment: late binding has no admission that promises anything; what stands for it is on time over all
that were dispatched while they could still be on time by their prediction (what ServeLate left its turn).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from msgspec import Struct

from stoker_sim.engine.simulate import simulate
from stoker_sim.evaluate.fairness import fairness
from stoker_sim.evaluate.quality import SUFFIX
from stoker_sim.evaluate.sample import Flags, Sample, sample_of
from stoker_sim.evaluate.weighting import Group
from stoker_sim.scenario import PolicyChoice, setup_of
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.family import WARM_UP, Case, case_of, workload_of
from stoker_sim.study.halves import Half
from stoker_sim.workload import Workload
from stoker_sim.yardstick import most_on_time

FAIRNESS = ("jain_functions_10s_p5", "jain_tenants_10s_p5")
_DIGITS = 9
"""Of a figure that is kept: far below what differs between seeds, so that files are short."""

Values = dict[str, float | None]


class Job(Struct, frozen=True, kw_only=True):
    """Every choice on one workload."""

    family: str
    half: Half
    replication: int
    point: int
    choices: tuple[PolicyChoice, ...]
    attainment_only: bool = True
    bound: bool = False


class Row(Struct, frozen=True, kw_only=True):
    """One simulation, or the bound of its workload (as the policy BOUND)."""

    family: str
    replication: int
    point: int
    policy: str
    """PolicyChoice.label."""
    values: Values


BOUND = "bound"


def play(job: Job) -> tuple[Row, ...]:
    """In the order of the choices."""
    case, work = _made(job.family, job.half, job.replication, job.point)
    found: list[tuple[str, Values]] = [
        (choice.label, _values(case, work, choice, attainment_only=job.attainment_only)) for choice in job.choices
    ]
    if job.bound:
        found.append((BOUND, {"attainment": _bound(case, work)}))
    return tuple(
        Row(family=job.family, replication=job.replication, point=job.point, policy=policy, values=values)
        for policy, values in found
    )


def jobs_of(
    families: Sequence[str],
    half: Half,
    replications: Sequence[int],
    choices: Mapping[str, Sequence[PolicyChoice]],
    *,
    attainment_only: bool = True,
    bounds: int = 0,
) -> tuple[Job, ...]:
    """All of them, `choices` by family; replications below `bounds` with their bound."""
    return tuple(
        Job(
            family=family,
            half=half,
            replication=replication,
            point=point,
            choices=tuple(choices[family]),
            attainment_only=attainment_only,
            bound=replication < bounds,
        )
        for family in families
        for replication in replications
        for point in range(len(FAMILIES[family].points))
    )


@lru_cache(maxsize=16)
def _made(family: str, half: Half, replication: int, point: int) -> tuple[Case, Workload]:
    """Kept for the next policies' jobs."""
    case = case_of(FAMILIES[family], half, replication, FAMILIES[family].points[point])
    return case, workload_of(case)


def _values(case: Case, work: Workload, choice: PolicyChoice, *, attainment_only: bool) -> Values:
    outcomes = simulate(work, setup_of(case.scenario, choice, case.devices, case.scenario.first_seed))
    sample = sample_of(work, case.devices, outcomes, warm_up_us=work.horizon_us // WARM_UP)
    part = sample.requests
    everyone = Group(part.function)
    values: Values = {"attainment" + SUFFIX[view]: value for view, value in everyone.mean(part.on_time).items()}
    if not attainment_only:
        hopeful = Group(part.function, _hopeful(sample))
        values |= {f"conditional{SUFFIX[view]}": value for view, value in hopeful.mean(part.on_time).items()}
        values |= {f"cold_ratio{SUFFIX[view]}": value for view, value in everyone.mean(part.cold).items()}
        fair = fairness(sample)
        values |= {name: fair[name] for name in FAIRNESS}
    return {name: None if value is None else round(value, _DIGITS) for name, value in values.items()}


def _hopeful(sample: Sample) -> Flags:
    part = sample.requests
    median_us = sample.of_functions([function.behaviour.median_us for function in sample.functions])
    latest_us = part.arrival_us + part.slo_us - median_us
    return np.asarray((part.dispatch_us >= 0) & (part.dispatch_us <= latest_us), np.bool_)


def _bound(case: Case, work: Workload) -> float | None:
    setup = setup_of(case.scenario, PolicyChoice(), case.devices, case.scenario.first_seed)
    on_time, offered = most_on_time(work, setup, work.horizon_us // WARM_UP)
    return round(on_time / offered, _DIGITS) if offered else None
