"""The latest start of a room against a schedule that is played: never before it, and after it by a known part."""

from heapq import heapify, heapreplace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.policies.queueing.lanes import Room

pytestmark = pytest.mark.property


def played_us(servers: int, running: list[int], ahead: list[int]) -> int:
    """When the slots have begun all of `ahead`, in that order, and one is free again."""
    ends = sorted(running)[-servers:]
    ends += [0] * (servers - len(ends))
    heapify(ends)
    for work_us in ahead:
        heapreplace(ends, ends[0] + work_us)
    return ends[0]


@given(
    servers=st.integers(1, 5),
    running=st.lists(st.integers(0, 60), max_size=7),
    ahead=st.lists(st.integers(1, 40), max_size=12),
)
def test_the_latest_start_is_never_before_the_true_one_and_after_it_by_less_than_one_execution(
    servers: int, running: list[int], ahead: list[int]
) -> None:
    latest_us = Room(servers, tuple(sorted(running))).start_us(sum(ahead))
    start_us = played_us(servers, running, ahead)
    assert start_us <= latest_us
    # Rounded up to a whole microsecond.
    assert (latest_us - start_us - 1) * servers < (servers - 1) * max(ahead, default=1) or latest_us == start_us
