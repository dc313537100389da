"""Intervals over seeds against printed tables of Student's t, and paired differences."""

import pytest

from stoker_sim.evaluate.intervals import interval, paired
from stoker_sim.evaluate.student import critical, within

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("freedom", "at_95", "at_99"),
    [(1, 12.706, 63.657), (2, 4.303, 9.925), (3, 3.182, 5.841), (9, 2.262, 3.250), (19, 2.093, 2.861), (60, 2.0, 2.66)],
)
def test_critical_values_are_those_of_the_tables(freedom: int, at_95: float, at_99: float) -> None:
    assert critical(0.95, freedom) == pytest.approx(at_95, abs=6e-4)
    assert critical(0.99, freedom) == pytest.approx(at_99, abs=6e-4)


def test_the_distribution_is_that_of_cauchy_with_one_degree_of_freedom() -> None:
    assert within(1.0, 1) == pytest.approx(0.5)
    assert within(0.0, 7) == 0.0


def test_an_interval_is_the_mean_and_t_standard_errors() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.count) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert found.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)


def test_the_bootstrap_stays_inside_the_values_and_is_the_same_each_time() -> None:
    values = [0.1, 0.2, 0.4, 0.8, 1.6]
    first, again, other = interval(values), interval(values), interval(values, seed=1)
    assert first == again
    assert first is not None
    assert other is not None
    assert first.bootstrap_low is not None
    assert first.bootstrap_high is not None
    assert 0.1 <= first.bootstrap_low < first.mean < first.bootstrap_high <= 1.6
    assert other.bootstrap_low != first.bootstrap_low


def test_one_seed_has_no_interval_and_none_has_no_mean() -> None:
    found = interval([0.5])
    assert found is not None
    assert (found.mean, found.low, found.bootstrap_high) == (0.5, None, None)
    assert interval([]) is None


def test_paired_differences_take_out_what_seeds_have_in_common() -> None:
    base = [0.2, 0.9, 0.5, 0.7]
    better = [value + 0.01 for value in base]
    found, alone = paired(better, base), interval(better)
    assert found is not None
    assert alone is not None
    assert found.mean == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01)
    assert alone.low is not None
    assert alone.mean - alone.low > 0.3


def test_seeds_without_a_value_are_left_out_of_a_difference() -> None:
    found = paired([1.0, None, 3.0], [0.5, 1.0, None])
    assert found is not None
    assert (found.mean, found.count) == (0.5, 1)
    assert paired([None], [1.0]) is None
