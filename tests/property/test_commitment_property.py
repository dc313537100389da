"""Commitment: while nothing runs longer than predicted, no request that was promised to be on time is late."""

import pytest
from admission_world import AdmissionWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.property

STATIC = ("least-slack", "edf", "fcfs")


@pytest.mark.parametrize("queueing", STATIC)
@given(seed=st.integers(0, 2**32))
def test_no_promise_is_broken_while_nothing_runs_longer_than_predicted(queueing: str, seed: int) -> None:
    world = AdmissionWorld(seed, queueing)
    world.run(60)
    assert world.late == []


def test_the_worlds_of_this_suite_promise_refuse_and_shed() -> None:
    worlds = [AdmissionWorld(seed) for seed in range(10)]
    for world in worlds:
        world.run(1_000)
        assert world.late == []
    assert sum(world.kept for world in worlds) > 1_000
    assert sum(world.refused for world in worlds) > 500
    assert sum(world.shed for world in worlds) > 50
    assert max(world.most_queued for world in worlds) > 20


@pytest.mark.parametrize("queueing", sorted(POLICIES))
@settings(max_examples=25)
@given(flows=st.lists(st.sampled_from(("a/f", "a/g")), min_size=2, max_size=12), seed=st.integers(0, 99))
def test_only_a_policy_that_runs_by_rank_alone_keeps_commitments(queueing: str, flows: list[str], seed: int) -> None:
    policy = make_queueing(queueing)
    policy.arrange(dict.fromkeys(("a/f", "a/g"), Lane("g", ("g",), 1)))
    if policy.commitments is None:
        return
    slot, places, ran = make_slot("a/f", "a/g"), {}, []
    for number, flow in enumerate(flows):
        request = make_request(str(number), flow, arrival_us=number, predicted_exec_us=1 + seed * number % 7)
        places[request.id] = policy.place(request)
        policy.push(request)
        if number % 3 == 2:
            running = policy.pop(slot, number)
            assert running is not None
            ran.append(running)
            queued = set(places) - {one.id for one in ran}
            assert all(places[running.id] < places[other] for other in queued)
            policy.done(running, 1)
    while (running := policy.pop(slot, len(flows))) is not None:
        ran.append(running)
        queued = set(places) - {one.id for one in ran}
        assert all(places[running.id] < places[other] for other in queued)
        policy.done(running, 1)
