"""Fairness by cases counted by hand: max-min shares, service and demand in windows, Jain's index, the service gap."""

import numpy as np
import pytest
from sim_outcomes import CORES, GPU, Row, expired, function, refused, sampled

from stoker_sim.evaluate.fairness import indexes
from stoker_sim.evaluate.max_min import max_min
from stoker_sim.evaluate.sample import Sample
from stoker_sim.evaluate.service_gap import service_gap, union
from stoker_sim.evaluate.windows import windows_of

pytestmark = pytest.mark.unit


def shares(demand: list[float], weight: list[float], capacity: float) -> list[float]:
    segment = np.zeros(len(demand), np.int64)
    found: list[float] = max_min(segment, np.array(demand), np.array(weight), np.array([capacity])).tolist()
    return found


def test_small_demands_are_met_and_the_rest_is_shared_by_weight() -> None:
    assert shares([2, 8, 8], [1, 1, 2], 10) == pytest.approx([2, 8 / 3, 16 / 3])
    assert shares([2, 8, 8], [1, 1, 1], 100) == pytest.approx([2, 8, 8])
    assert shares([4, 4], [3, 1], 4) == pytest.approx([3, 1])
    assert shares([0, 5], [1, 1], 3) == pytest.approx([0, 3])
    assert shares([1, 5], [1, 1], 0) == pytest.approx([0, 0])


def test_each_segment_has_its_own_capacity() -> None:
    segment = np.array([2, 0, 2, 0])
    found = max_min(segment, np.array([9.0, 1.0, 9.0, 9.0]), np.ones(4), np.array([4.0, 7.0, 10.0]))
    assert found.tolist() == pytest.approx([5, 1, 5, 3])


def told(sample: Sample, length: int) -> dict[tuple[int, int], tuple[float, float]]:
    """(window, function): demand and service."""
    seen = windows_of(sample, length)
    rows = zip(seen.window.tolist(), seen.function.tolist(), seen.demand_us, seen.service_us, strict=True)
    return {(window, of): (float(demand), float(service)) for window, of, demand, service in rows}


def test_a_request_is_served_in_the_windows_in_which_it_runs_and_demands_from_its_arrival() -> None:
    assert told(sampled([Row(at=50, dispatch=80, exec=60)], horizon=400), 100) == {
        (0, 0): (50.0, 20.0),
        (1, 0): (40.0, 40.0),
    }


def test_one_that_waits_demands_all_its_work_in_each_window() -> None:
    assert told(sampled([expired(20, 220)], horizon=400), 100) == {(w, 0): (10.0, 0.0) for w in (0, 1, 2)}


def test_one_that_was_refused_demands_where_it_came_and_one_that_ended_at_an_edge_no_more() -> None:
    rows = [refused(95, exec_us=40), Row(at=150, exec=50, function=1)]
    assert told(sampled(rows, horizon=400), 100) == {(0, 0): (5.0, 0.0), (1, 1): (50.0, 50.0)}


def test_the_warm_up_and_the_part_of_a_window_at_the_end_are_left_out() -> None:
    rows = [Row(at=0, exec=150), Row(at=260, exec=40)]
    assert told(sampled(rows, horizon=290, warm_up=100), 100) == {(0, 0): (50.0, 50.0)}


def test_requests_on_cores_neither_get_nor_demand_gpu_time() -> None:
    rows = [Row(at=0, device=1), Row(at=0, function=1)]
    assert told(sampled(rows, devices=(GPU, CORES)), 1000) == {(0, 1): (10.0, 10.0)}


def jain(sample: Sample, length: int) -> tuple[list[float], list[float]]:
    tenants, functions = indexes(sample, windows_of(sample, length))
    return tenants.jain.tolist(), functions.jain.tolist()


def test_equal_service_is_1_and_all_for_one_of_two_is_a_half() -> None:
    split = [Row(at=0, exec=50), Row(at=0, exec=50, function=2, dispatch=50)]
    assert jain(sampled(split, horizon=100), 100)[0] == pytest.approx([1.0])
    greedy = [Row(at=0, exec=100), expired(0, 900, 2)]
    assert jain(sampled(greedy, horizon=100), 100)[0] == pytest.approx([0.5])


def test_service_counts_against_what_was_asked_for() -> None:
    # a asks for 90 and b for 10 of 100: both get it, and that is fair.
    rows = [Row(at=0, exec=90), Row(at=0, exec=10, function=2, dispatch=90)]
    assert jain(sampled(rows, horizon=100), 100)[0] == pytest.approx([1.0])


def test_a_share_is_of_what_the_slots_could_give_and_of_no_less_than_was_given() -> None:
    # a asks for 80 of 100 and gets 40, though the device was idle for 40; b gets all of its 20.
    idle = [Row(at=0, exec=80, dispatch=60), Row(at=0, exec=20, function=2)]
    assert jain(sampled(idle, horizon=100), 100)[0] == pytest.approx([0.9])
    # Two at once on one slot, as replicas with a concurrency of two do: both get all that they ask for.
    together = [Row(at=0, exec=100), Row(at=0, exec=60, function=2)]
    assert jain(sampled(together, horizon=100), 100)[0] == pytest.approx([1.0])


def test_weights_say_what_is_fair() -> None:
    rows = [Row(at=0, exec=75), Row(at=0, exec=900, function=2, dispatch=75), expired(0, 100), expired(0, 100)]
    long = [Row(at=0, exec=900, dispatch=25), Row(at=0, exec=25, function=2)]
    assert jain(sampled(long, horizon=100, weights={"a": 3}), 100)[0] == pytest.approx([1.0])
    assert jain(sampled(rows, horizon=100), 100)[0][0] < 1


def test_functions_share_what_their_tenant_has() -> None:
    # f and g of tenant a want all of it, as h of b does: a fair share is 25, 25, 50, and that is what they get.
    rows = [
        Row(at=0, exec=900, dispatch=75),
        Row(at=0, exec=25, function=1, dispatch=50),
        Row(at=0, exec=50, function=2),
        expired(0, 900, 1),
        expired(0, 900, 1),
        expired(0, 900, 1),
        Row(at=0, exec=900, dispatch=100, function=2),
        Row(at=0, exec=900, dispatch=100, function=1),
    ]
    tenants, functions = jain(sampled(rows, horizon=100), 100)
    assert tenants == pytest.approx([1.0])
    assert functions == pytest.approx([1.0])


def test_windows_in_which_only_one_asks_or_nobody_is_served_say_nothing() -> None:
    assert jain(sampled([Row(at=0), expired(150, 900), expired(150, 190, 2)], horizon=200), 100) == ([], [])


def gap(sample: Sample) -> tuple[float, tuple[str, str]] | None:
    found = service_gap(sample)
    return None if found is None else (round(found.seconds * 1e6), found.tenants)


BUSY_A = [Row(at=0, exec=10, dispatch=10 * place) for place in range(4)]
BUSY_B = [Row(at=0, exec=10, dispatch=40 + 10 * place, function=2) for place in range(4)]


def test_the_gap_is_the_largest_while_both_wait() -> None:
    # Both wait up to 30; until then a is served 10, 20, 30 and b nothing.
    assert gap(sampled([*BUSY_A, *BUSY_B])) == (30, ("a", "b"))


def test_service_while_one_of_them_waits_for_nothing_is_no_gap() -> None:
    alone = [Row(at=100, exec=10, dispatch=100 + 10 * place) for place in range(4)]
    assert gap(sampled([*alone, Row(at=200, dispatch=210, function=2)])) is None


def test_the_gap_is_in_units_of_weight() -> None:
    assert gap(sampled([*BUSY_A, *BUSY_B], weights={"a": 3})) == (10, ("a", "b"))


def test_what_was_served_before_both_wait_is_no_part_of_the_gap() -> None:
    late = [Row(at=15, exec=10, dispatch=40, function=2)]
    # b waits from 15 on; a is served at 20 and 30 (what began before counts when it ends).
    assert gap(sampled([*BUSY_A, *late])) == (20, ("a", "b"))


@pytest.mark.parametrize(
    ("spans", "whole"),
    [([], []), ([(4, 4)], []), ([(5, 7), (0, 2), (1, 3)], [(0, 3), (5, 7)]), ([(0, 9), (2, 3), (9, 10)], [(0, 10)])],
)
def test_spans_that_touch_become_one(spans: list[tuple[int, int]], whole: list[tuple[int, int]]) -> None:
    columns = np.array(spans, np.int64).reshape(-1, 2)
    begins, ends = union(columns[:, 0], columns[:, 1])
    assert list(zip(begins.tolist(), ends.tolist(), strict=True)) == whole


def test_a_function_without_a_second_tenant_is_compared_with_other_functions() -> None:
    rows = [Row(at=0, exec=100), expired(0, 900, 1)]
    tenants, functions = jain(sampled(rows, (function("a/f"), function("a/g")), horizon=100), 100)
    assert (tenants, functions) == ([], [0.5])
