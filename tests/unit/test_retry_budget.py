"""Further tries are a small part of the requests, whatever goes wrong and for how long."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.retry_budget import MIN_PER_S, SHARE_PERCENT, WINDOW_S, RetryBudget

pytestmark = pytest.mark.unit

S = 1_000_000


def test_a_function_that_is_called_rarely_may_try_again_ten_times_a_second() -> None:
    budget = RetryBudget()
    assert [budget.take(0) for _ in range(101)] == [True] * 100 + [False]
    assert not budget.take(9 * S)
    assert budget.take(10 * S)


def test_a_tenth_of_the_requests_may_be_tried_again() -> None:
    budget = RetryBudget()
    for _ in range(1_000):
        budget.request(0)
    assert [budget.take(S) for _ in range(201)] == [True] * 200 + [False]


def test_requests_of_long_ago_allow_nothing() -> None:
    budget = RetryBudget()
    for _ in range(1_000):
        budget.request(0)
    assert sum(budget.take(1_000 * S) for _ in range(500)) == 100


def test_a_clock_that_stands_or_goes_back_changes_nothing() -> None:
    budget = RetryBudget()
    budget.request(50 * S)
    assert sum(budget.take(40 * S) for _ in range(500)) == 100


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 60), st.integers(0, 60)), max_size=60))
@settings(max_examples=25, deadline=None)
def test_in_any_ten_seconds_the_tries_are_a_tenth_of_the_requests_and_a_hundred(
    script: list[tuple[int, int, int]],
) -> None:
    budget, now_us = RetryBudget(), 0
    requests: list[int] = []
    tries: list[int] = []
    for step_us, some, wanted in script:
        now_us += step_us
        for _ in range(some):
            budget.request(now_us)
            requests.append(now_us)
        for _ in range(wanted):
            if not budget.take(now_us):
                break
            tries.append(now_us)
            since = now_us // S - WINDOW_S + 1
            recent = [sum(at_us // S >= since for at_us in times) for times in (tries, requests)]
            assert recent[0] <= MIN_PER_S * WINDOW_S + recent[1] * SHARE_PERCENT // 100
