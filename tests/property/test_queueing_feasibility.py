"""What theory proves of EDF on one slot, against every order that there is; and where it stops holding.

Jackson (1955): of jobs that are all there at 0, EDF has the least maximum lateness. Of unit jobs that come at whole
times it meets every deadline if any order does. Of jobs of any length that come at any time it does not, since it never
waits for one that is about to come: no policy of ours looks ahead, and this is the price.
"""

from functools import cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.policies.queueing.interface import QueuePolicy
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.property

Job = tuple[int, int, int]
"""When it comes, how long it runs, and its deadline."""

unit_jobs_at_0 = st.lists(st.integers(0, 7).map(lambda deadline: (0, 1, deadline)), max_size=6)
jobs_at_0 = st.lists(st.tuples(st.just(0), st.integers(1, 5), st.integers(0, 25)), min_size=1, max_size=8)
unit_jobs = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 4)).map(lambda job: (job[0], 1, job[0] + job[1])), max_size=8
)


def run(policy: QueuePolicy, jobs: list[Job]) -> list[int]:
    """By how much each job ends after its deadline, in the order in which one slot runs them."""
    coming = sorted(enumerate(jobs), key=lambda numbered: numbered[1][0])
    lateness: list[int] = []
    now = 0
    while len(lateness) < len(jobs):
        while coming and coming[0][1][0] <= now:
            number, (release, length, deadline) = coming.pop(0)
            policy.push(make_request(f"{number}", arrival_us=release, objective_us=deadline, predicted_exec_us=length))
        request = policy.pop(make_slot("default/f"), now)
        if request is None:
            now = coming[0][1][0]
            continue
        now += request.predicted_exec_us
        lateness.append(now - request.objective_us)
    return lateness


def met(lateness: list[int]) -> int:
    return sum(late <= 0 for late in lateness)


def most_met_at_0(jobs: list[Job]) -> int:
    """The most deadlines that any order of unit jobs meets."""
    return max(sum(at + 1 <= deadline for at, (_, _, deadline) in enumerate(order)) for order in permutations(jobs))


def least_lateness(jobs: list[Job]) -> int:
    """The least maximum lateness of jobs that are all there at 0: over who is last of each subset."""

    @cache
    def least(subset: int) -> int:
        members = [number for number in range(len(jobs)) if subset >> number & 1]
        end = sum(jobs[number][1] for number in members)
        return min(
            (max(least(subset & ~(1 << last)), end - jobs[last][2]) for last in members),
            default=-(10**9),
        )

    return least((1 << len(jobs)) - 1)


def is_feasible(jobs: list[Job]) -> bool:
    """Whether some schedule meets every deadline: at each whole time any job that has come may start, or none."""
    end = max((deadline for _, _, deadline in jobs), default=0)

    @cache
    def feasible(now: int, left: int) -> bool:
        if left == 0:
            return True
        if now >= end:
            return False
        startable = [
            (number, length)
            for number, (release, length, deadline) in enumerate(jobs)
            if left >> number & 1 and release <= now and now + length <= deadline
        ]
        return feasible(now + 1, left) or any(
            feasible(now + length, left & ~(1 << number)) for number, length in startable
        )

    return feasible(0, (1 << len(jobs)) - 1)


@settings(max_examples=60, deadline=None)
@given(jobs=jobs_at_0)
def test_edf_has_the_least_maximum_lateness_of_jobs_that_are_all_there(jobs: list[Job]) -> None:
    assert max(run(POLICIES["edf"](), jobs)) == least_lateness(jobs)


def test_least_slack_has_not_once_lengths_differ() -> None:
    jobs = [(0, 2, 5), (0, 4, 6)]
    assert max(run(POLICIES["edf"](), jobs)) == least_lateness(jobs) == 0
    assert max(run(POLICIES["least-slack"](), jobs)) == 1


@settings(max_examples=60, deadline=None)
@given(jobs=unit_jobs)
@pytest.mark.parametrize("name", ["edf", "least-slack"])
def test_unit_jobs_all_meet_their_deadlines_when_any_schedule_has_them_do_so(name: str, jobs: list[Job]) -> None:
    feasible = is_feasible(jobs)
    assert (met(run(POLICIES[name](), jobs)) == len(jobs)) == feasible
    assert (met(run(make_queueing(name), jobs)) == len(jobs)) == feasible


def test_edf_misses_a_deadline_that_a_schedule_which_waits_would_meet() -> None:
    long, short = (0, 4, 6), (1, 1, 2)
    assert is_feasible([long, short])
    assert run(POLICIES["edf"](), [long, short]) == [-2, 3]


@settings(max_examples=60, deadline=None)
@given(jobs=unit_jobs_at_0)
@pytest.mark.parametrize("name", ["edf", "least-slack"])
def test_with_serve_late_no_other_order_of_unit_jobs_meets_more_deadlines(name: str, jobs: list[Job]) -> None:
    assert met(run(make_queueing(name), jobs)) == most_met_at_0(jobs)


def test_without_serve_late_edf_spends_the_slot_on_a_job_that_is_late_anyway() -> None:
    jobs = [(0, 1, 0), (0, 1, 1)]
    assert met(run(POLICIES["edf"](), jobs)) == 0
    assert met(run(make_queueing("edf"), jobs)) == 1
