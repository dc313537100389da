"""Rates from a counter of arrivals: peaks that a lull does not lower, and rises that show at once."""

from collections.abc import Callable

import pytest

from stoker.model.demand import new_arrivals
from stoker.sizing.arrival_rate import (
    BUCKET_US,
    GROUP,
    GROUPS,
    LOOK_BACK_US,
    ArrivalRates,
    begin,
    learn,
    peak_per_s,
    recent,
    recent_per_s,
)

pytestmark = pytest.mark.unit

S = 1_000_000


def played(per_s: Callable[[float], int], seconds: int, step_us: int = 250_000) -> ArrivalRates:
    """A history of `seconds`, told four times a second; `per_s` by the second."""
    rates, told, fraction = begin(0, 0, 0), 0, 0
    for at_us in range(step_us, seconds * S + 1, step_us):
        fraction += per_s(at_us / S) * step_us
        came, fraction = divmod(fraction, S)
        told += came
        rates = learn(rates, told, came, at_us)
    return rates


def test_a_constant_rate_is_its_own_peak() -> None:
    rates = played(lambda _: 20, 150)
    assert peak_per_s(rates) == 20
    assert recent_per_s(rates, 5, chance=0) == pytest.approx(20)


def test_a_lull_does_not_lower_the_peak() -> None:
    assert peak_per_s(played(lambda at: 2 if at > 120 else 20, 190)) == 20
    # Only when nearly the whole look-back was low it is.
    assert peak_per_s(played(lambda at: 2 if at > 120 else 20, 120 + LOOK_BACK_US // S)) == 2


def test_one_short_spike_is_no_peak() -> None:
    assert peak_per_s(played(lambda at: 200 if 100 < at <= 103 else 10, 150)) == 10


def test_a_rise_shows_in_the_recent_rate_after_a_second() -> None:
    rates = played(lambda at: 50 if at > 100 else 10, 101)
    assert 10 < recent_per_s(rates, 1) < 50
    assert peak_per_s(rates) == 10


def test_a_recent_rate_is_lowered_by_what_may_be_chance() -> None:
    rates = played(lambda _: 9, 20)
    count, length_us = recent(rates, 4)
    assert (count, length_us) == (36, 4 * S)
    assert recent_per_s(rates, 4) == pytest.approx((36 - 2 * 6) / 4)


def test_no_rate_is_told_of_an_instant() -> None:
    assert recent_per_s(begin(5, 5, 0), GROUP, chance=0) == 0


def test_arrivals_that_are_told_late_are_spread_over_the_time_that_passed() -> None:
    rates = learn(begin(0, 0, 0), 40, 40, 4 * S)
    assert rates.recent == (10, 10, 10, 10)


def test_what_nobody_looked_at_for_the_whole_look_back_is_forgotten() -> None:
    before = played(lambda _: 20, 60)
    after = learn(before, before.told + 3, 3, 60 * S + LOOK_BACK_US)
    assert (after.groups, after.current) == ((), 3)


def test_a_history_is_bounded() -> None:
    rates = played(lambda _: 3, 500, BUCKET_US)
    assert (len(rates.recent), len(rates.groups)) == (GROUP, GROUPS)


@pytest.mark.parametrize(
    ("before", "told", "in_system", "came"),
    [
        (None, 10_000, 3, 3),  # a leader that never heard it: those that are there
        (None, 2, 9, 2),
        (100, 130, 5, 30),
        (10_000, 4, 9, 4),  # a gateway that began anew
        (10_000, 9_999, 9, 0),  # one request turned out to want the other variant
    ],
)
def test_new_arrivals_of_a_counter(before: int | None, told: int, in_system: int, came: int) -> None:
    assert new_arrivals(before, told, in_system) == came
