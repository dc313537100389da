"""Commitments hold what is queued, whatever replicas come and go, and whatever leaves the queue meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.registry import make_queueing
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.property

FLOWS = ("a/f", "a/g", "b/h")
LANES = st.sampled_from((Lane("x", ("x",), 1), Lane("x", ("x", "y"), 2), Lane("z", ("z",), 1)))
LAST = ((1 << 40,), 1 << 40)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from(FLOWS), st.integers(1, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 40)),
        st.tuples(st.just("pop"), st.sets(st.sampled_from(FLOWS), min_size=1)),
        st.tuples(st.just("arrange"), st.dictionaries(st.sampled_from(FLOWS), LANES)),
        st.tuples(st.just("pass"), st.integers(1, 20)),
    ),
    max_size=60,
)


@given(steps)
def test_the_work_of_a_pool_is_all_that_can_still_be_on_time_of_its_flows(steps: list[tuple[object, ...]]) -> None:
    policy = make_queueing("least-slack")
    policy.arrange({})
    lanes: dict[str, Lane] = {}
    now_us = pushed = 0
    for step in steps:
        match step:
            case "push", str(flow), int(work_us):
                request = make_request(
                    str(pushed), flow, arrival_us=now_us, objective_us=now_us + 30, predicted_exec_us=work_us
                )
                request.late_ok = bool(work_us % 2)
                policy.push(request)
                pushed += 1
            case "cancel", int(number):
                policy.cancel(str(number))
            case "pop", set(eligible):
                policy.pop(make_slot(*eligible), now_us)
            case "arrange", dict(given_lanes):
                lanes = given_lanes
                policy.arrange(lanes)
            case "pass", int(us):
                now_us += us
        commitments = policy.commitments
        assert commitments is not None
        # Asked as late as it may be: whoever is late by now has left the commitments, too.
        probe = make_request("probe", FLOWS[0], arrival_us=now_us, objective_us=1 << 30, predicted_exec_us=1)
        for flow, lane in lanes.items():
            beside = [other for other, theirs in lanes.items() if theirs.pool == lane.pool]
            assert commitments.ahead_us(flow, LAST) == policy.work_ahead_us(probe, beside)
