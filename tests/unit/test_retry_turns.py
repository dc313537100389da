"""Those who get no place come back one after the other."""

import pytest

from stoker.turns import Turns

pytestmark = pytest.mark.unit


def test_each_is_told_a_step_more_than_the_one_before() -> None:
    turns = Turns()
    assert [turns.next_us(100, 200, 30) for _ in range(4)] == [100, 130, 160, 190]


def test_behind_the_end_it_begins_again() -> None:
    turns = Turns()
    assert [turns.next_us(100, 150, 30) for _ in range(4)] == [100, 130, 100, 130]
    assert turns.next_us(300, 250, 30) == 300, "nobody is told to come before it makes sense"


def test_nobody_waits_for_those_of_long_ago() -> None:
    turns = Turns()
    turns.next_us(100, 200, 30)
    assert turns.next_us(900, 1_000, 30) == 900


def test_two_are_never_told_the_same_even_if_work_takes_no_time() -> None:
    turns = Turns()
    assert turns.next_us(100, 200, 0) < turns.next_us(100, 200, 0)
