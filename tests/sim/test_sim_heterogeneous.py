"""The study of device choices: equal requests for all, money that adds up, and verdicts that follow from the runs."""

import pytest
from msgspec.structs import replace

from stoker_sim.results.heterogeneous import NAME, RIVALS, Cells, missed, page, ranking
from stoker_sim.results.heterogeneous_mixes import MEASURED, MIXES, TESTED, TUNED, Mix
from stoker_sim.results.heterogeneous_study import CHOICES, OURS, Cell, rates_of, study, workload
from stoker_sim.results.pages import as_json
from stoker_sim.results.registry import RESULTS
from stoker_sim.results.result import Verdict

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

PAIRS = next(mix for mix in MIXES if mix.name == "pairs")


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    return tuple(study(mixes=(PAIRS,), loads=(2.0,), seeds=(1,)))


def cell(mix: str, choice: str, missed: int, cost: float) -> Cell:
    return Cell(
        mix=mix,
        load=1.0,
        seed=1,
        choice=choice,
        offered=(100,) * 4,
        on_time=(100, 100, 100, 100 - missed),
        on_time_cpu=(0,) * 4,
        useful_s=1.0,
        cost=cost,
        devices_cost=10.0,
        ran=400 - missed,
    )


def verdicts(ours: int, theirs: int, cost: float = 1.0) -> list[Verdict]:
    found = [
        cell(mix, choice, ours if choice == OURS else theirs, cost if choice == OURS else 1.0)
        for mix in TESTED
        for choice in CHOICES
    ]
    return [claim.verdict for claim in page(Cells(found)).claims]


def test_every_choice_meets_the_same_requests_and_pays_no_more_than_the_devices_cost(cells: tuple[Cell, ...]) -> None:
    assert {one.choice for one in cells} == set(CHOICES)
    assert len({one.offered for one in cells}) == 1
    for one in cells:
        assert 0 < one.cost <= one.devices_cost
        assert all(
            on_cpu <= on_time <= offered
            for on_cpu, on_time, offered in zip(one.on_time_cpu, one.on_time, one.offered, strict=True)
        )


def test_gpu_only_serves_nothing_on_cores_and_cpu_only_everything(cells: tuple[Cell, ...]) -> None:
    of = {one.choice: one for one in cells}
    assert sum(of["gpu-only"].on_time_cpu) == 0
    assert of["cpu-only"].on_time_cpu == of["cpu-only"].on_time


def test_the_same_run_twice_is_the_same_figures(cells: tuple[Cell, ...]) -> None:
    again = study(mixes=(PAIRS,), loads=(2.0,), seeds=(1,), choices=(OURS,))
    assert list(again) == [one for one in cells if one.choice == OURS]


def test_load_is_the_gpu_time_asked_for_over_what_both_gpus_have() -> None:
    for mix in MIXES:
        rates = rates_of(mix.members, 2.0)
        asked = [rate / (1000 / one.fast_ms + 1000 / one.slow_ms) for rate, one in zip(rates, mix.members, strict=True)]
        assert sum(asked) == pytest.approx(2.0)
    work = workload(PAIRS, 2.0, 1)
    assert len(work) == pytest.approx(sum(rates_of(PAIRS.members, 2.0)) * work.horizon_us / 1e6, rel=0.2)


def test_the_claims_are_about_mixes_that_nothing_was_chosen_on() -> None:
    names = [mix.name for mix in MIXES]
    assert sorted((*TUNED, *TESTED)) == sorted(names)
    assert len(set(names)) == len(names)
    assert len(TESTED) >= 3
    assert all(isinstance(mix, Mix) and len(mix.members) >= 3 for mix in MIXES)
    assert {member.name for mix in MIXES for member in mix.members} >= set(MEASURED)


def test_a_claim_is_reached_where_ours_misses_fewer_on_every_mix_at_no_more_cost() -> None:
    assert verdicts(10, 20) == [Verdict.REACHED] * 3 * len(RIVALS)
    assert verdicts(20, 20)[0] is Verdict.NOT_REACHED, "as many are not fewer"
    assert verdicts(30, 20) == [Verdict.NOT_REACHED, Verdict.REACHED, Verdict.NOT_REACHED] * len(RIVALS)
    dear = verdicts(10, 20, cost=2.0)
    assert dear == [Verdict.REACHED, Verdict.NOT_REACHED, Verdict.NOT_REACHED] * len(RIVALS)


def test_the_page_ranks_choices_by_what_they_miss_and_holds_every_run(cells: tuple[Cell, ...]) -> None:
    found = Cells(cells)
    order = ranking(found, PAIRS.name, 2.0)
    shares = [found.mean(missed, PAIRS.name, choice) for choice in order]
    assert shares == sorted(shares)
    told = page(found)
    assert told.name == NAME
    assert NAME in RESULTS
    assert len(told.rows) == len(cells)
    assert as_json(told) == as_json(page(Cells([replace(one) for one in cells])))
