"""A count that goes up at once and down only after a while without need."""

import pytest

from stoker.sizing.steady import DOWN_US, Steady, settle, surge, wanted

pytestmark = pytest.mark.unit

S = 1_000_000


def test_it_goes_up_at_once() -> None:
    assert settle(Steady(count=2), 5, 5, 0).count == 5


def test_it_goes_down_after_a_while_and_to_the_most_that_was_needed_meanwhile() -> None:
    held: Steady | None = Steady(count=8)
    for second in range(DOWN_US // S):
        held = settle(held, 4 if second == 7 else 3, 5 if second == 7 else 3, second * S)
        assert held.count == 8
    assert settle(held, 3, 3, DOWN_US).count == 5


def test_a_need_within_the_margin_keeps_the_count() -> None:
    held = settle(Steady(count=8), 3, 3, 0)
    assert held.low_since_us == 0
    assert settle(held, 7, 8, 10 * S) == Steady(count=8, low_peak=3)


def test_a_backlog_wants_more_for_a_while_and_leaves_the_count() -> None:
    held = surge(Steady(count=4), 5, 0)
    assert (wanted(held, DOWN_US - 1), wanted(held, DOWN_US)) == (5, 4)
    assert wanted(settle(held, 9, 9, S), S) == 9
