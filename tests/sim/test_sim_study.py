"""The study's families on their tuning half: what each is meant to be, and that a run is reproducible."""

import pytest

from stoker_sim.scenario import PolicyChoice
from stoker_sim.sources.making import load_of
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.family import MOST, case_of, described, workload_of
from stoker_sim.study.halves import Half
from stoker_sim.study.runs import BOUND, Job, play

pytestmark = pytest.mark.sim

TIGHT = ("azure", "real-time", "zipf")
"""Families whose functions do not all fit at once."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_the_loads_and_the_size_that_it_says(name: str) -> None:
    family = FAMILIES[name]
    assert len(family.points) == 3
    for point in family.points:
        case = case_of(family, Half.TUNING, 3, point)
        work = workload_of(case)
        assert load_of(work, case.devices) == pytest.approx(point.load, rel=1e-3)
        assert MOST / 2 <= len(work) <= MOST


@pytest.mark.parametrize("name", FAMILIES)
def test_replications_are_different_requests_and_the_same_one_is_the_same(name: str) -> None:
    family = FAMILIES[name]
    first, again, other = (
        workload_of(case_of(family, Half.TUNING, replication, family.points[0])) for replication in (0, 0, 1)
    )
    assert first.time_us.tolist() == again.time_us.tolist()
    assert first.time_us.tolist() != other.time_us.tolist()
    assert described(family, 1) == described(family, 1)


@pytest.mark.parametrize("name", TIGHT)
def test_in_a_tight_family_the_functions_in_use_do_not_all_fit(name: str) -> None:
    case = case_of(FAMILIES[name], Half.TUNING, 0, FAMILIES[name].points[0])
    work = workload_of(case)
    used = [work.functions[index] for index in sorted(set(work.function.tolist()))]
    needed_mib = sum(function.definition.spec.gpu[0].memory_mib for function in used)
    assert needed_mib > sum(device.memory_mib for device in case.devices)


@pytest.mark.parametrize("name", FAMILIES)
def test_policies_come_out_differently_and_none_beats_the_bound(name: str) -> None:
    choices = tuple(PolicyChoice(queueing=queueing) for queueing in ("fcfs", "sjf", "edf"))
    job = Job(family=name, half=Half.TUNING, replication=0, point=1, choices=choices, bound=name != "llm")
    values = {row.policy: row.values["attainment"] for row in play(job)}
    bound = values.pop(BOUND, 1.0)
    told = [value for value in values.values() if value is not None]
    assert bound is not None
    assert max(told) - min(told) > 0.005
    assert 0.1 < max(told) <= bound


def test_a_run_gives_the_same_rows_again() -> None:
    job = Job(
        family="zipf",
        half=Half.TUNING,
        replication=1,
        point=0,
        choices=(PolicyChoice(queueing="random"), PolicyChoice(queueing="mqfq-sticky", eviction="slack-value")),
        attainment_only=False,
    )
    assert play(job) == play(job)
