"""Commitment over a million steps: arrivals, ends and withdrawals. Its short form is in tests/property."""

import pytest
from admission_world import AdmissionWorld

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

STEPS = 1_000


@pytest.mark.parametrize("queueing", ["least-slack", "edf", "fcfs", "least-slack, long"])
def test_no_promise_is_broken_over_a_quarter_of_a_million_steps(queueing: str) -> None:
    name, _, long = queueing.partition(", ")
    worlds, steps = (10, 25 * STEPS) if long else (250, STEPS)
    kept = 0
    for seed in range(worlds):
        world = AdmissionWorld(1_000 + seed, name)
        world.run(steps)
        assert world.late == [], f"seed {1_000 + seed}"
        kept += world.kept
    assert kept > 10_000
