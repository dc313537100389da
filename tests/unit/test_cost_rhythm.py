"""When a function under a bound on cost is warm: idle times of the last hour, and the ages that are worth most."""

from itertools import pairwise
from random import Random

import pytest

from stoker.cost.prices import HOUR_US
from stoker.cost.rhythm import LEAST_GAPS, NO_RHYTHM, an_hour, learn, windows
from stoker.cost.window import RollingHour
from stoker.policies.prewarm.hazard_rate import Window
from stoker.testing.builders import S

pytestmark = pytest.mark.unit

START_US = 8 * S


def held(found: tuple[Window, ...], length_us: int) -> int:
    """How long one is warm in an idle time of that length, and starting before that."""
    inside = sum(max(0, min(one.end_us, length_us) - one.begin_us) for one in found)
    return inside + START_US * sum(0 < one.begin_us < length_us for one in found)


def hit(found: tuple[Window, ...], length_us: int) -> bool:
    return any(one.begin_us <= length_us < one.end_us for one in found)


def test_the_same_facts_twice_count_once_and_work_ends_no_idle_time() -> None:
    seen = learn(NO_RHYTHM, 10 * S, 10 * S, busy=True)
    seen = learn(seen, 10 * S, 12 * S, busy=True)
    assert learn(seen, 10 * S, 12 * S, busy=False) is seen
    assert seen.gaps == ()
    seen = learn(seen, 30 * S, 31 * S, busy=True)
    assert seen.gaps == ((30 * S, 18 * S),)


def test_idle_times_count_for_an_hour() -> None:
    seen = NO_RHYTHM
    for at in range(10):
        seen = learn(seen, at * 600 * S, at * 600 * S, busy=False)
    assert [ended for ended, _ in seen.gaps] == [at * 600 * S for at in range(3, 10)]
    assert an_hour(seen, 9 * 600 * S) == 7000
    assert an_hour(NO_RHYTHM, S) == 0


def test_a_burst_at_the_begin_is_not_taken_for_an_hour_of_its_like() -> None:
    seen = NO_RHYTHM
    for at in range(11):
        seen = learn(seen, at * S, at * S, busy=False)
    assert an_hour(seen, 11 * S) == 30_000


def test_before_three_idle_times_nothing_is_known() -> None:
    assert windows([S] * (LEAST_GAPS - 1), 1000, HOUR_US, START_US) is None
    assert windows([S] * LEAST_GAPS, 1000, HOUR_US, START_US) is not None


def test_who_comes_soon_is_waited_for_and_who_comes_by_the_clock_is_met() -> None:
    soon = windows([5 * S, 8 * S, 9 * S, 6 * S, 400 * S], 20_000, 400 * S, START_US)
    assert soon is not None
    assert soon[0].begin_us == 0
    assert all(hit(soon, length) for length in (5 * S, 6 * S, 8 * S, 9 * S))
    clock = windows([240 * S] * 15, 15_000, 800 * S, START_US)
    assert clock is not None
    assert all(one.begin_us for one in clock)
    assert hit(clock, 240 * S)


def test_what_a_bound_pays_for_is_not_exceeded_if_the_hour_is_as_the_last_one_and_more_of_it_serves_no_fewer() -> None:
    random = Random(1)
    for _ in range(100):
        typical = random.lognormvariate(4, 1.5)
        lengths = [int(typical * random.uniform(0.8, 1.4) * S) for _ in range(random.randrange(3, 30))]
        before = -1
        for pays_us in (100 * S, 400 * S, 1600 * S):
            found = windows(lengths, 1000 * len(lengths), pays_us, START_US)
            assert found is not None
            assert all(one.end_us < two.begin_us for one, two in pairwise(found))
            hits = sum(hit(found, length) for length in lengths)
            assert hits >= before
            before = hits
            # An idle time is taken to end up to a tenth and two seconds before or after it did.
            assert sum(held(found, length) for length in lengths) <= 1.3 * pays_us + 4 * S * len(lengths)


def test_nothing_is_said_of_requests_that_come_in_bursts_with_long_times_between_them() -> None:
    assert windows([S, 2 * S, 90 * S, S, 3 * S, 1600 * S, 70 * S], 7000, HOUR_US, START_US) is None


def test_nothing_is_paid_for_with_nothing() -> None:
    assert windows([10 * S] * 5, 5000, 0, START_US) == ()


def test_a_rate_lasts_where_what_was_spent_leaves_the_hour_in_time() -> None:
    hour = RollingHour()
    hour.add("f", 600, 0)
    now_us = 1800 * S
    spent = hour.spent("f", now_us)
    assert spent.lasts(1000, 790, now_us)
    assert not spent.lasts(1000, 810, now_us), "400 are left for the half hour until the 600 are out of it"
    assert not spent.lasts(500, 1, now_us)
    assert hour.spent("nobody", now_us).lasts(1000, 1000, now_us)
    assert not hour.spent("nobody", now_us).lasts(1000, 1001, now_us)
