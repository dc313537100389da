"""EDF against every order that there is, on unit jobs released together: the theorem that gave it its name."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.policies.queueing.interface import QueuePolicy
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.property

deadlines = st.lists(st.integers(0, 7), max_size=6)


def on_time(order: tuple[int, ...] | list[int]) -> int:
    """How many of the unit jobs, run back to back from 0 in this order of deadlines, end by their deadline."""
    return sum(at + 1 <= deadline for at, deadline in enumerate(order))


def run(policy: QueuePolicy, jobs: list[int]) -> list[int]:
    for deadline in jobs:
        policy.push(make_request(objective_us=deadline, predicted_exec_us=1))
    ran: list[int] = []
    while (request := policy.pop(make_slot("default/f"), len(ran))) is not None:
        ran.append(request.objective_us)
    return ran


@settings(max_examples=60, deadline=None)
@given(jobs=deadlines)
@pytest.mark.parametrize("name", ["edf", "least-slack"])
def test_every_deadline_is_met_when_any_order_meets_every_deadline(name: str, jobs: list[int]) -> None:
    feasible = any(on_time(order) == len(jobs) for order in permutations(jobs))
    assert (on_time(run(POLICIES[name](), jobs)) == len(jobs)) == feasible
    assert (on_time(run(make_queueing(name), jobs)) == len(jobs)) == feasible


@settings(max_examples=60, deadline=None)
@given(jobs=deadlines)
@pytest.mark.parametrize("name", ["edf", "least-slack"])
def test_with_serve_late_no_other_order_of_unit_jobs_meets_more_deadlines(name: str, jobs: list[int]) -> None:
    best = max(on_time(order) for order in permutations(jobs))
    assert on_time(run(make_queueing(name), jobs)) == best


def test_without_serve_late_edf_spends_the_slot_on_a_job_that_is_late_anyway() -> None:
    jobs = [0, 1]
    assert on_time(run(POLICIES["edf"](), jobs)) == 0
    assert on_time(run(make_queueing("edf"), jobs)) == 1
