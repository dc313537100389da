"""Comparisons: the same requests for every policy, results of the scenario alone, and the bound above them."""

from pathlib import Path

import pytest
from sim_scenarios import comparison_of, played, scenario_of

from stoker.model.device import DeviceKind
from stoker_sim.bound.demand import NEVER
from stoker_sim.compare import Bound, Job, Result, Setting, compared, jobs_of, workload_of
from stoker_sim.evaluate.intervals import paired
from stoker_sim.report.documents import as_csv, as_json
from stoker_sim.scenario import Scenario, devices_of, setup_of
from stoker_sim.summary import lines_of
from stoker_sim.yardstick import demand_of, homeless, instance_of, most_on_time, optimum

pytestmark = pytest.mark.unit

SHORT = {"seeds": 2, "loads": [0.8], "duration": "8s", "warmUp": "1s"}


@pytest.fixture(scope="module")
def short() -> tuple[Scenario, list[Result]]:
    scenario = scenario_of(**SHORT)
    return scenario, played(scenario)


def test_jobs_of_one_workload_follow_each_other_the_bound_first() -> None:
    jobs = list(jobs_of(scenario_of(loads=[0.5, 0.9], seeds=2)))
    assert [(job.seed, job.setting.load, job.policy) for job in jobs][:7] == [
        (0, 0.5, None), (0, 0.5, 0), (0, 0.5, 1), (0, 0.9, None), (0, 0.9, 0), (0, 0.9, 1), (1, 0.5, None),
    ]  # fmt: skip
    assert all(job.policy is not None for job in jobs_of(scenario_of(bound=False)))


def test_results_hang_on_no_order_and_on_no_other_job(short: tuple[Scenario, list[Result]]) -> None:
    scenario, results = short
    backwards = compared(scenario, played(scenario, order=reversed))
    forwards = compared(scenario, results)
    assert as_json(forwards, lines_of(forwards)) == as_json(backwards, lines_of(backwards))
    assert as_csv(forwards) == as_csv(backwards)


def test_all_policies_see_the_same_requests(short: tuple[Scenario, list[Result]]) -> None:
    scenario, results = short
    runs = compared(scenario, results).runs
    by_seed = {
        seed: {(run.load, run.measured.values["offered"]) for run in runs if run.seed == seed} for seed in (0, 1)
    }
    assert [len(seen) for seen in by_seed.values()] == [1, 1]
    assert by_seed[0] != by_seed[1]


def test_no_policy_is_above_the_bound_and_every_run_is_held_against_it(short: tuple[Scenario, list[Result]]) -> None:
    for run in compared(*short).runs:
        assert run.bound is not None
        assert run.bound.offered == run.measured.values["offered"]
        assert run.over_bound is not None
        assert 0 < run.over_bound <= 1


def test_without_a_bound_nothing_is_held_against_it() -> None:
    comparison = comparison_of(scenario_of(**{**SHORT, "bound": False, "seeds": 1}))
    assert [run.over_bound for run in comparison.runs] == [None, None]
    loops = scenario_of(workload={"kind": "closed-loops", "duration": "2s", "start": "0s"}, loads=[], warmUp="0s")
    assert all(run.bound is None for run in comparison_of(loops).runs)


def test_differences_are_taken_seed_by_seed_against_the_first_policy(short: tuple[Scenario, list[Result]]) -> None:
    comparison = compared(*short)
    setting = comparison.settings[0]
    lines = {(line.policy, line.figure): line for line in lines_of(comparison)}
    first, second = (
        [run.measured.values["attainment"] for run in comparison.of(setting, policy)] for policy in comparison.policies
    )
    line = lines["mqfq-sticky", "attainment"]
    assert line.against_first == paired(second, first)
    assert line.against_first != paired(second, first[::-1])
    assert lines["fcfs", "attainment"].against_first is None


def test_notes_are_told_once_and_of_no_seed(short: tuple[Scenario, list[Result]]) -> None:
    notes = compared(*short).notes
    assert "Poisson arrivals (by the seed)" in notes
    assert len(set(notes)) == len(notes)


def test_functions_that_fit_nowhere_are_told() -> None:
    scenario = scenario_of(memories=["2Gi"], **SHORT)
    comparison = comparison_of(scenario)
    assert "6 of 6 functions fit on no device and are refused" in comparison.notes
    assert {run.measured.values["refused"] for run in comparison.runs} == {
        run.measured.values["offered"] for run in comparison.runs
    }
    assert [run.over_bound for run in comparison.runs] == [None] * 4


SETTING = Setting(load=0.8)


def test_the_optimum_is_not_searched_for_where_there_is_too_much() -> None:
    scenario = scenario_of(**SHORT)
    work = workload_of(scenario, Job(setting=SETTING, seed=0, policy=None), devices_of(scenario), Path())
    setup = setup_of(scenario, scenario.choices[0], devices_of(scenario), 0)
    assert len(work) > 60
    assert optimum(work, setup) is None
    assert most_on_time(work, setup)[0] <= len(work)


def test_the_bound_is_asked_of_what_the_engine_would_do() -> None:
    cores = {"devices": [{"product": "A100", "memory": "16Gi", "slots": 2}, {"cores": 8}]}
    workload = {
        "kind": "poisson", "functions": 2, "duration": "2s", "start": "300ms", "resume": "40ms", "memory": "4Gi",
        "concurrency": 2, "cpuFactor": 3,
    }  # fmt: skip
    asked = {}
    for form in ("static", "late-binding", "replicas"):
        scenario = scenario_of(form=form, workload=workload, memory={"inHostAtStart": True}, **cores)
        devices = devices_of(scenario)
        work = workload_of(scenario, Job(setting=Setting(), seed=0, policy=None), devices, Path())
        setup = setup_of(scenario, scenario.choices[0], devices, 0)
        asked[form] = (work, setup, demand_of(work, setup))
        assert homeless(work, setup) == 0
    static, late, replicas = (demand for _, _, demand in asked.values())
    assert static.ready_us.tolist() == [[0, NEVER]] * 2
    assert late.ready_us.tolist() == [[40_000, NEVER]] * 2
    assert replicas.ready_us.tolist() == [[300_000, 300_000]] * 2
    assert (static.share.tolist()[0], late.share.tolist()[0]) == ([0, 0], [2048, 0])
    # An exclusive replica has the whole device, for two requests at a time; one on cores has four of them.
    assert replicas.share.tolist()[0][0] == 8192
    assert static.slots.tolist() == [2, 8]
    work, setup, demand = asked["replicas"]
    instance = instance_of(work, setup)
    assert [request.exec_us["cpu"] for request in instance.requests] == demand.exec_us[:, 1].tolist()
    assert [request.deadline_us for request in instance.requests] == demand.deadline_us.tolist()
    assert [device.kind for device in instance.devices] == [DeviceKind.GPU, DeviceKind.CPU]


def test_after_a_warm_up_everything_may_be_resident() -> None:
    scenario = scenario_of(**SHORT)
    work = workload_of(scenario, Job(setting=SETTING, seed=0, policy=None), devices_of(scenario), Path())
    setup = setup_of(scenario, scenario.choices[0], devices_of(scenario), 0)
    demand = demand_of(work, setup, scenario.warm_up)
    assert len(demand.arrival_us) == int((work.time_us >= scenario.warm_up).sum())
    assert demand.ready_us.max() == 0


def test_attainment_of_a_bound_is_the_optimums_where_it_is_known() -> None:
    assert Bound(on_time=9, offered=10).attainment == 0.9
    assert Bound(on_time=9, offered=10, optimum=8).attainment == 0.8
    assert Bound(on_time=0, offered=0).attainment is None
