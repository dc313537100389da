"""Figures of requests by cases counted by hand: attainment, waits, cold starts, compliance, in the three views."""

import numpy as np
import pytest
from sim_outcomes import Row, expired, function, refused, sampled

from stoker.reasons import Outcome, Reason
from stoker_sim.engine.setup import Form
from stoker_sim.evaluate.by_function import compliance, function_rows, least_requests
from stoker_sim.evaluate.by_tenant import tenant_rows
from stoker_sim.evaluate.figures import CATALOGUE, measure
from stoker_sim.evaluate.quality import quality
from stoker_sim.evaluate.sample import NothingMeasured
from stoker_sim.evaluate.weighting import quantile

pytestmark = pytest.mark.unit


def test_refused_expired_failed_and_late_requests_are_misses() -> None:
    failed = Row(at=5, outcome=Outcome.FAILED, reason=Reason.REPLICA_FAILED)
    late = Row(at=6, dispatch=200)
    rows = [Row(at=0), Row(at=1), refused(2), expired(3, 900), failed, late]
    assert quality(sampled(rows))["attainment"] == pytest.approx(2 / 6)


def test_an_answer_at_the_objective_is_on_time_and_one_a_microsecond_later_is_late() -> None:
    assert quality(sampled([Row(at=0, dispatch=90), Row(at=0, dispatch=91)]))["attainment"] == 0.5


def test_a_client_that_left_before_the_objective_is_in_no_figure_but_one_and_later_it_is_a_miss() -> None:
    left = [Row(at=0, finish=at, outcome=Outcome.FAILED, reason=Reason.CLIENT_GONE) for at in (99, 100)]
    values = measure(sampled([*left, Row(at=0)]), Form.STATIC, {}).values
    assert (values["offered"], values["cancelled"], values["attainment"], values["failed"]) == (2, 1, 0.5, 1)


def test_conditional_attainment_is_of_those_that_were_promised() -> None:
    rows = [Row(at=0, promised=True), Row(at=0, promised=True, dispatch=200), Row(at=0), refused(0)]
    values = quality(sampled(rows))
    assert (values["attainment"], values["conditional_attainment"]) == (0.5, 0.5)
    assert quality(sampled(rows[2:]))["conditional_attainment"] is None


def test_cold_requests_have_their_own_objective_and_without_one_the_timeout() -> None:
    cold = [Row(at=0, dispatch=at, cold=True) for at in (400, 600, 800)]
    hurried = function("a/f", latency_us=100, cold_latency_us=700)
    values = quality(sampled([*cold, Row(at=0)], (hurried,)))
    assert values["cold_attainment"] == pytest.approx(2 / 3)
    assert values["cold_ratio"] == 0.75
    assert values["attainment"] == 0.25
    assert quality(sampled(cold))["cold_attainment"] == 1.0


def test_requests_that_came_during_the_warm_up_are_in_no_figure() -> None:
    rows = [refused(0), refused(99), Row(at=100), Row(at=500)]
    values = measure(sampled(rows, warm_up=100), Form.STATIC, {}).values
    assert (values["offered"], values["attainment"], values["refused"]) == (2, 1.0, 0)
    assert values["goodput_per_s"] == pytest.approx(2 / 900e-6)


def test_a_warm_up_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(NothingMeasured, match=r"a warm-up of 0\.001 s leaves nothing of a workload of 0\.001 s"):
        sampled([Row(at=0)], warm_up=1000)


def test_waits_are_arrival_to_dispatch_of_the_dispatched_and_their_quantiles_waits_that_were() -> None:
    rows = [Row(at=0, dispatch=1000 * wait) for wait in range(1, 101)] + [expired(0, 60_000_000)]
    values = quality(sampled(rows, horizon=10**8))
    assert (values["wait_mean_ms"], values["wait_p50_ms"], values["wait_p99_ms"]) == (50.5, 50.0, 99.0)


def test_the_hold_is_no_wait_in_the_queue_and_the_cold_part_has_the_start_in_the_slot_too() -> None:
    rows = [Row(at=0, dispatch=9000, held=5000, cold=True), Row(at=0, dispatch=1000, start=3000, cold=True), Row(at=0)]
    values = quality(sampled(rows, horizon=10**6))
    assert values["wait_mean_ms"] == pytest.approx(10 / 3)
    assert values["queue_wait_mean_ms"] == pytest.approx(5 / 3)
    assert values["cold_part_mean_ms"] == pytest.approx(8 / 3)
    assert (values["cold_part_p50_ms"], values["cold_part_p99_ms"]) == (3.0, 5.0)


def test_by_function_every_function_counts_alike_and_the_rest_is_without_the_three_busiest() -> None:
    owners = tuple(function(f"a/{name}") for name in "pqrst")
    rows = [Row(at=0, function=0)] * 8 + [refused(0, 1)] * 4 + [Row(at=0, function=2)] * 3
    rows += [refused(0, 3), Row(at=0, function=3), refused(0, 4)]
    values = quality(sampled(rows, owners))
    assert values["attainment"] == pytest.approx(12 / 18)
    assert values["attainment_by_function"] == pytest.approx((1 + 0 + 1 + 0.5 + 0) / 5)
    assert values["attainment_rest"] == pytest.approx(1 / 3)


def test_quantiles_by_function_weigh_functions_alike() -> None:
    owners = (function("a/f"), function("a/g"))
    rows = [Row(at=0, dispatch=1000)] * 98 + [Row(at=0, function=1, dispatch=wait) for wait in (50_000, 90_000)]
    values = quality(sampled(rows, owners, horizon=10**6))
    assert (values["wait_p99_ms"], values["wait_p99_ms_by_function"]) == (50.0, 90.0)
    assert (values["wait_p50_ms"], values["wait_p50_ms_by_function"]) == (1.0, 1.0)


def test_slowdown_is_latency_over_the_isolated_time_of_the_request() -> None:
    values = quality(sampled([Row(at=0, dispatch=30), Row(at=0, exec=20, dispatch=0)]))
    assert values["slowdown_p99"] == 4.0


@pytest.mark.parametrize(("percentile", "least"), [(99.0, 300), (95.0, 60), (50.0, 6), (99.9, 3000)])
def test_a_function_complies_only_with_enough_requests(percentile: float, least: int) -> None:
    assert least_requests(percentile / 100) == least
    owners = (function("a/f", percentile=percentile),)
    enough, few = [sampled([Row(at=0)] * count, owners) for count in (least, least - 1)]
    assert [row.compliant for row in function_rows(enough)] == [True]
    assert [row.compliant for row in function_rows(few)] == [None]


def test_a_function_that_just_reaches_its_percentile_complies() -> None:
    half = [Row(at=0)] * 3 + [refused(0)] * 3
    assert [row.compliant for row in function_rows(sampled(half, (function("a/f", percentile=50.0),)))] == [True]


def test_compliance_is_over_the_functions_that_can_be_judged() -> None:
    owners = tuple(function(f"a/{name}", percentile=50.0) for name in "fgh")
    rows = [Row(at=0)] * 6 + [refused(0, 1)] * 4 + [Row(at=0, function=1)] * 3 + [Row(at=0, function=2)]
    found = compliance(function_rows(sampled(rows, owners)))
    assert found == {"compliant_functions": 0.5, "judged_functions": 2.0, "functions": 3.0}


def test_each_tenant_is_shown_with_its_refusals_and_its_device_time() -> None:
    rows = [Row(at=0, exec=50), refused(0, 1), Row(at=0, function=2, dispatch=60), expired(0, 700, 2)]
    first, second = tenant_rows(sampled(rows))
    assert (first.tenant, first.offered, first.refused, first.expired, first.attainment) == ("a", 2, 1, 0, 0.5)
    assert (second.tenant, second.offered, second.refused, second.expired) == ("b", 2, 0, 1)
    assert (first.service_s, second.service_s) == (50e-6, 10e-6)
    assert (first.slowdown_p99, second.slowdown_p99, second.wait_p99_ms) == (1.0, 7.0, 0.06)


def test_every_figure_of_the_catalogue_is_there_and_named_once() -> None:
    names = [spec.name for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    assert list(measure(sampled([Row(at=0)]), Form.LATE_BINDING, {}).values) == names


def test_of_no_requests_nothing_is_said() -> None:
    values = measure(sampled([]), Form.LATE_BINDING, {}).values
    assert (values["offered"], values["attainment"], values["wait_p99_ms"], values["cost"]) == (0, None, None, None)


def test_a_quantile_is_a_value_that_enough_do_not_exceed() -> None:
    column = np.array([4.0, 1.0, 3.0, 2.0])
    assert [quantile(column, at) for at in (0.05, 0.25, 0.26, 0.5, 0.99, 1.0)] == [1, 1, 2, 2, 4, 4]
    assert quantile(column[:0], 0.5) is None
