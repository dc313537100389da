import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.control.measured import exec_us, service
from stoker.model.demand import VariantDemand
from stoker.model.function import Variant
from stoker.prediction import WINDOW, Estimate, Predictions, predict_wait_us
from stoker.sizing.service_time import ServiceTime
from stoker.testing.builders import MS, S, make_function, make_replica

pytestmark = pytest.mark.unit

F = make_function("f", cpu_variant=True)
GPU, CPU = Variant.GPU, Variant.CPU


@pytest.mark.parametrize(
    ("latency_us", "want_us"), [(250 * MS, 125 * MS), (2 * S, 1 * S), (60 * S, 1 * S), (1, 1), (0, 1)]
)
def test_an_unknown_run_takes_half_of_the_objective_at_most_a_second_never_zero(latency_us: int, want_us: int) -> None:
    function = make_function(latency_us=latency_us)
    assert Predictions().exec_us(function, GPU, "A100-40GB") == Estimate(want_us, 0)
    assert Predictions().exec_us(function, GPU) == Estimate(want_us, 0)


@pytest.mark.parametrize(("timeout_us", "want_us"), [(600 * S, 10 * S), (4 * S, 4 * S), (0, 1)])
def test_an_unknown_start_takes_ten_seconds_at_most_the_startup_timeout(timeout_us: int, want_us: int) -> None:
    assert Predictions().start_us(make_function(startup_timeout_us=timeout_us), GPU) == Estimate(want_us, 0)


def test_measurements_take_the_place_of_the_prior_at_once() -> None:
    predictions = Predictions()
    predictions.observe_exec(F.key, GPU, "A100", 10 * MS)
    predictions.observe_exec(F.key, GPU, "A100", 20 * MS)
    predictions.observe_start(F.key, GPU, 3 * S)
    assert predictions.exec_us(F, GPU, "A100") == Estimate(15 * MS, 2)
    assert predictions.start_us(F, GPU) == Estimate(3 * S, 1)
    assert predictions.exec_us(F, CPU).samples == predictions.start_us(F, CPU).samples == 0


def test_the_mean_is_over_the_last_samples_only() -> None:
    predictions = Predictions()
    for _ in range(500):
        predictions.observe_exec(F.key, GPU, "A100", 900 * MS)
    for _ in range(WINDOW):
        predictions.observe_exec(F.key, GPU, "A100", 10 * MS)
    assert predictions.exec_us(F, GPU, "A100") == Estimate(10 * MS, WINDOW)


def test_a_product_that_it_never_ran_on_takes_the_mean_of_the_others_as_a_prior() -> None:
    predictions = Predictions()
    predictions.observe_exec(F.key, GPU, "A100", 10 * MS)
    predictions.observe_exec(F.key, GPU, "L4", 40 * MS)
    predictions.observe_exec(F.key, GPU, "L4", 40 * MS)
    assert predictions.exec_us(F, GPU, "H100") == Estimate(30 * MS, 0)
    assert predictions.exec_us(F, GPU) == Estimate(30 * MS, 3)
    assert predictions.exec_us(F, GPU, "A100") == Estimate(10 * MS, 1)


def test_a_new_revision_starts_from_the_means_of_the_old_one_as_priors() -> None:
    predictions = Predictions()
    predictions.observe_exec(F.key, GPU, "A100", 10 * MS)
    predictions.observe_exec(F.key, GPU, "L4", 30 * MS)
    predictions.observe_start(F.key, GPU, 3 * S)
    for _ in range(2):  # the second time nothing was measured in between: the prior stays
        predictions.reset(F.key)
        assert predictions.exec_us(F, GPU, "A100") == Estimate(10 * MS, 0)
        assert predictions.exec_us(F, GPU) == Estimate(20 * MS, 0)
        assert predictions.start_us(F, GPU) == Estimate(3 * S, 0)
    predictions.observe_exec(F.key, GPU, "A100", 50 * MS)
    assert predictions.exec_us(F, GPU, "A100") == predictions.exec_us(F, GPU) == Estimate(50 * MS, 1)
    assert predictions.exec_us(F, GPU, "L4") == Estimate(30 * MS, 0)


def test_resetting_or_forgetting_an_unknown_function_does_nothing() -> None:
    predictions = Predictions()
    predictions.reset("default/nobody")
    predictions.forget("default/nobody")
    assert predictions.exec_us(F, GPU).samples == 0


def test_a_forgotten_function_is_unknown_again() -> None:
    predictions = Predictions()
    predictions.observe_exec(F.key, GPU, "A100", 10 * MS)
    predictions.observe_start(F.key, GPU, 3 * S)
    predictions.forget(F.key)
    assert predictions.exec_us(F, GPU, "A100") == Estimate(125 * MS, 0)
    assert predictions.start_us(F, GPU) == Estimate(10 * S, 0)


@pytest.mark.parametrize("us", [0, -5])
def test_a_measurement_of_nothing_counts_as_a_microsecond(us: int) -> None:
    predictions = Predictions()
    predictions.observe_exec(F.key, GPU, "A100", us)
    predictions.observe_start(F.key, GPU, us)
    assert predictions.exec_us(F, GPU, "A100") == predictions.start_us(F, GPU) == Estimate(1, 1)


@pytest.mark.parametrize(
    ("remaining", "ahead", "servers", "want"),
    [
        ([], 0, 1, 0),
        ([30], 0, 1, 30),
        ([30], 50, 1, 80),
        ([30], 0, 2, 0),
        ([30], 50, 2, 40),
        ([30, 40], 0, 2, 30),
        ([30, 40], 10, 2, 40),
        ([30, 40], 11, 2, 41),
        ([10, 20, 30], 0, 2, 20),
        ([-10], 5, 1, 5),
        ([], 7, 0, 7),
        ([], -7, 1, 0),
        ([], 7, 4, 2),
    ],
)
def test_queued_work_is_poured_over_the_slots_the_soonest_free_one_first(
    remaining: list[int], ahead: int, servers: int, want: int
) -> None:
    assert predict_wait_us(remaining, ahead, servers) == want


durations = st.integers(0, 10**7)


@given(st.lists(durations, max_size=6), durations, durations, st.integers(0, 5))
def test_more_work_ahead_never_means_an_earlier_start_and_more_slots_never_a_later_one(
    remaining: list[int], ahead: int, more: int, servers: int
) -> None:
    wait_us = predict_wait_us(remaining, ahead, servers)
    assert 0 <= wait_us <= predict_wait_us(remaining, ahead + more, servers)
    assert predict_wait_us(remaining, ahead, servers + 1) <= wait_us
    # Never beyond one slot that does it all.
    assert wait_us <= sum(remaining) + ahead


def test_plan_is_shown_measured_execution_times_of_what_has_replicas_only() -> None:
    predictions = Predictions()
    ran, never_ran, unplaced = (make_function(name) for name in ("ran", "never", "unplaced"))
    for function in (ran, unplaced):
        predictions.observe_exec(function.key, Variant.GPU, "T4", 7_000)
    functions = {function.key: function for function in (ran, never_ran, unplaced)}
    replicas = [make_replica(ran), make_replica(ran, 1), make_replica(never_ran), make_replica(make_function("gone"))]
    assert exec_us(predictions, functions, replicas) == {ran.key: {Variant.GPU: 7_000}}


def test_mean_and_spread_are_over_the_last_samples_of_all_products() -> None:
    known = Predictions()
    assert known.service(F.key, GPU) is None
    for us in [9_000_000] * 3 + [10_000, 30_000] * (WINDOW // 2):
        known.observe_exec(F.key, GPU, "A100", us)
    assert known.service(F.key, GPU) == ServiceTime(mean_us=20_000, deviation_us=10_000, samples=WINDOW)
    (profile,) = known.profiles()[F.key]
    assert (profile.mean_us, profile.deviation_us) == (20_000, 10_000)
    for _ in range(WINDOW):
        known.observe_exec(F.key, GPU, "T4", 20_000)
    took = known.service(F.key, GPU)
    assert took is not None
    assert (took.mean_us, took.samples) == (20_000, 2 * WINDOW)
    known.reset(F.key)
    assert known.service(F.key, GPU) is None


def test_plan_is_shown_mean_and_spread_of_what_has_replicas_or_demand() -> None:
    known = Predictions()
    functions = {function.key: function for name in "abc" if (function := make_function(name))}
    for key in functions:
        known.observe_exec(key, GPU, "A100", 20_000)
    one, two, three = functions
    demand = {two: {GPU: VariantDemand(in_system=1)}, three: {GPU: VariantDemand(last_wake_us=1)}}
    shown = service(known, functions, [make_replica(functions[one])], demand)
    assert sorted(shown) == [one, two]
