"""Commitment: while nothing runs longer than predicted, no request that was promised to be on time is late."""

import pytest
from admission_world import AdmissionWorld
from hypothesis import given
from hypothesis import strategies as st

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
