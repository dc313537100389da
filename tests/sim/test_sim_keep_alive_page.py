"""The page on keep-alive in a small form: the shapes that it states, verdicts from the run, equal bytes."""

import pytest

from stoker_sim.keep_alive.optimum import cold_at, foreseen
from stoker_sim.results import keep_alive
from stoker_sim.results.keep_alive_ratios import Group, groups
from stoker_sim.results.keep_alive_study import MIB_US, WARM_UP_US, Case, anyone, is_even, is_odd, study
from stoker_sim.results.keep_alive_ways import BASE, FIXED, HAZARD, HISTOGRAM, PAPER
from stoker_sim.results.pages import as_csv, as_json, as_markdown
from stoker_sim.results.result import Verdict
from stoker_sim.traces.spread import Spread

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return study(small=True)


@pytest.fixture(scope="module")
def found(cases: list[Case]) -> list[Group]:
    return groups(cases)


def test_there_are_two_ways_of_spreading_and_two_memories(found: list[Group]) -> None:
    assert {(group.spread, group.memory) for group in found} == {
        (spread, memory) for spread in Spread for memory in ("trace", "profiles")
    }


def test_a_longer_fixed_time_holds_more_and_has_fewer_cold_starts(cases: list[Case]) -> None:
    for case in cases:
        everybody = case.chosen(anyone)
        cold, memory = zip(*(case.total(way.key, everybody) for way in case.ways if way.family == FIXED), strict=True)
        assert list(cold) == sorted(cold, reverse=True)
        assert list(memory) == sorted(memory)


def test_every_function_is_of_one_half(cases: list[Case]) -> None:
    for case in cases:
        assert (case.chosen(is_odd) ^ case.chosen(is_even)).all()
        parts = [case.total(BASE, case.chosen(of)) for of in (is_odd, is_even)]
        assert sum(cold for cold, _ in parts) == case.total(BASE, case.chosen(anyone))[0]


def test_nobody_beats_the_optimum_without_pre_warming_nor_holds_less_than_the_least(cases: list[Case]) -> None:
    for case in cases:
        for of in (is_odd, is_even):
            chosen = case.chosen(of)
            costs = case.costs(chosen)
            least = foreseen(costs) / MIB_US
            assert least > 0
            for way in case.ways:
                cold, memory = case.total(way.key, chosen)
                assert memory >= least * (1 - 1e-9), way.key
                if not way.keep.brings_back:
                    fewest = cold_at(costs, memory * MIB_US)
                    assert fewest is not None
                    assert fewest <= cold, way.key


def test_first_activations_and_the_first_two_hours_are_not_counted(cases: list[Case]) -> None:
    case = cases[0]
    shortest = next(way.key for way in case.ways if way.family == FIXED)
    cold, _ = case.total(shortest, case.chosen(anyone))
    assert cold <= sum(int((gaps.end_us >= WARM_UP_US).sum()) for gaps in case.functions)


def test_pre_warming_by_history_holds_less_for_as_many_cold_starts(found: list[Group]) -> None:
    for group in found:
        ours, paper = (group.ratio(group.chosen((family,)), is_odd) for family in (HAZARD, HISTOGRAM))
        assert ours.short < paper.short
        assert group.ratio(PAPER, is_odd).cold < 1


def test_verdicts_come_from_the_run_and_the_same_page_made_twice_is_the_same_bytes(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep_alive.make(small=True)
    monkeypatch.setattr(keep_alive, "study", lambda *, small: cases)
    again = keep_alive.make(small=True)
    assert (as_json(first), as_csv(first.rows), as_markdown(first)) == (
        as_json(again),
        as_csv(again.rows),
        as_markdown(again),
    )
    told = [claim for claim in first.claims if claim.what.startswith("avoidable cold starts")]
    assert len(told) == 2 * 4
    assert {claim.verdict for claim in told} <= {Verdict.REACHED, Verdict.NOT_REACHED}
    # Nobody reaches what cannot be reached.
    monkeypatch.setattr("stoker_sim.results.keep_alive_ratios.WANTED", 0.0001)
    harder = keep_alive.make(small=True)
    assert all(
        claim.verdict is Verdict.NOT_REACHED
        for claim in harder.claims
        if claim.what.startswith("avoidable cold starts")
    )
