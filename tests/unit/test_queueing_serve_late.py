from collections.abc import Collection, Iterable, Mapping

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Place
from stoker.policies.queueing.fcfs import Fcfs
from stoker.policies.queueing.interface import Weights
from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.least_slack import LeastSlack
from stoker.policies.queueing.serve_late import ServeLate
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.unit


def late(flow: str = "default/f", *, arrival_us: int = 0, exec_us: int = 5) -> QueuedRequest:
    return make_request(flow=flow, arrival_us=arrival_us, objective_us=arrival_us, predicted_exec_us=exec_us)


def test_a_late_request_runs_behind_all_that_can_still_be_on_time() -> None:
    policy = ServeLate(LeastSlack())
    missed = late()
    punctual = [make_request(arrival_us=1), make_request(arrival_us=2)]
    for request in (missed, *punctual):
        policy.push(request)
    assert [policy.pop(make_slot("default/f"), 3) for _ in range(4)] == [*punctual, missed, None]


def test_a_late_request_runs_on_a_slot_that_no_on_time_request_can_use() -> None:
    policy = ServeLate(LeastSlack())
    policy.push(make_request(flow="default/a"))
    missed = late("default/b")
    policy.push(missed)
    assert policy.pop(make_slot("default/b"), 1) is missed


def test_a_request_is_on_time_at_its_latest_start_and_late_right_after_it() -> None:
    edge, other = make_request(objective_us=100, predicted_exec_us=10), make_request(objective_us=200)
    for now_us, want in ((90, edge), (91, other)):
        policy = ServeLate(LeastSlack())
        policy.push(edge)
        policy.push(other)
        other = make_request(objective_us=200 + 10_000)
        popped = policy.pop(make_slot("default/f"), now_us)
        assert popped is not None
        assert (popped is edge) == (want is edge)


def test_commitments_hold_what_is_queued_when_they_are_asked_for_and_nothing_that_has_left() -> None:
    lane = Lane("g", ("g",), 1)
    policy = ServeLate(LeastSlack())
    policy.arrange({"default/f": lane})
    left, given_up, first, second = (make_request(objective_us=100 + at, predicted_exec_us=10) for at in range(4))
    for request in (left, given_up, first, second):
        policy.push(request)
    assert policy.pop(make_slot("default/f"), 1) is left
    assert policy.cancel(given_up.id) is given_up
    commitments, behind = policy.commitments, policy.place(make_request(objective_us=1000, predicted_exec_us=1))
    assert commitments is not None
    assert commitments.ahead_us("default/f", behind) == 20
    assert policy.pop(make_slot("default/f"), 1) is first
    assert commitments.ahead_us("default/f", behind) == 10
    policy.push(first)
    assert policy.commitments is commitments
    assert commitments.ahead_us("default/f", behind) == 20


def test_late_requests_run_by_arrival_not_by_slack() -> None:
    policy = ServeLate(LeastSlack())
    early = make_request(arrival_us=1, objective_us=60, predicted_exec_us=1)
    worse = make_request(arrival_us=2, objective_us=3, predicted_exec_us=50)
    policy.push(worse)
    policy.push(early)
    assert list(policy.schedule(100)) == [early, worse]
    assert list(policy.schedule(0)) == [early, worse]
    assert [policy.pop(make_slot("default/f"), 100) for _ in range(2)] == [early, worse]


def test_a_late_request_of_what_is_resident_runs_before_one_that_would_have_to_start() -> None:
    policy = ServeLate(LeastSlack())
    absent, resident = late("default/absent"), late("default/resident", arrival_us=1)
    policy.push(absent)
    policy.push(resident)
    slot = make_slot("default/absent", "default/resident", warm={"default/resident"})
    assert [policy.pop(slot, 100) for _ in range(2)] == [resident, absent]


def test_the_schedule_moves_nothing_even_for_an_instant_ahead() -> None:
    policy = ServeLate(LeastSlack())
    soon, later = make_request(objective_us=20, predicted_exec_us=10), make_request(objective_us=40, arrival_us=1)
    later.predicted_exec_us = 10
    policy.push(soon)
    policy.push(later)
    assert list(policy.schedule(11)) == [later, soon]
    assert policy.pop(make_slot("default/f"), 5) is soon


def test_an_on_time_request_waits_for_on_time_work_only() -> None:
    policy = ServeLate(Fcfs())
    policy.push(make_request(arrival_us=0, predicted_exec_us=7))
    policy.push(late(exec_us=5))
    # No pop has come since: the arrival of the newcomer says what time it is.
    assert policy.work_ahead_us(make_request(arrival_us=1), ["default/f"]) == 7


def test_a_late_request_waits_for_all_on_time_work_and_the_late_work_before_it() -> None:
    policy = ServeLate(LeastSlack())
    policy.push(make_request(arrival_us=0, predicted_exec_us=7))
    policy.push(make_request(flow="default/other", arrival_us=0, predicted_exec_us=100))
    policy.push(late(exec_us=5))
    policy.push(late(arrival_us=9, exec_us=11))
    assert policy.pop(make_slot(), 10) is None
    assert policy.work_ahead_us(late(arrival_us=8), ["default/f"]) == 12
    assert policy.work_ahead_us(late(arrival_us=10), ["default/f", "default/f"]) == 23
    assert policy.work_ahead_us(late(arrival_us=10), ["default/f", "default/other"]) == 123


def test_work_that_left_is_no_longer_ahead() -> None:
    policy = ServeLate(LeastSlack())
    requests = [make_request(arrival_us=0, timeout_us=50, predicted_exec_us=7) for _ in range(3)]
    for request in requests:
        policy.push(request)
    newcomer = late(arrival_us=1)
    assert policy.work_ahead_us(newcomer, ["default/f"]) == 21
    assert policy.cancel(requests[0].id) is requests[0]
    assert policy.pop(make_slot("default/f"), 2) is requests[1]
    assert policy.work_ahead_us(newcomer, ["default/f"]) == 7
    assert policy.drop_expired(50) == [requests[2]]
    assert policy.work_ahead_us(newcomer, ["default/f"]) == 0


def test_expiry_and_cancel_reach_late_requests() -> None:
    policy = ServeLate(LeastSlack())
    missed = [late() for _ in range(2)]
    punctual = make_request(timeout_us=missed[0].timeout_us + 1)
    for request in (*missed, punctual):
        policy.push(request)
    assert policy.pop(make_slot(), 1) is None
    assert policy.next_expiry_us() == missed[0].timeout_us
    assert policy.cancel(missed[0].id) is missed[0]
    assert policy.drop_expired(punctual.timeout_us) == [punctual, missed[1]]
    assert policy.queued() == 0


class Recording:
    """A minimal policy of somebody else's: one list, and what it was told."""

    name = "recording"
    guarantees = Fcfs.guarantees

    def __init__(self) -> None:
        self.held: list[QueuedRequest] = []
        self.ended: list[str] = []
        self.gone_late: list[str] = []
        self.weights = Weights()

    def push(self, request: QueuedRequest) -> None:
        self.held.append(request)

    def pop(self, slot: object, now_us: int) -> QueuedRequest | None:
        return self.held.pop(0) if self.held else None

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        self.ended.append(request.id)

    def cancel(self, request_id: str) -> QueuedRequest | None:
        found = [request for request in self.held if request.id == request_id]
        self.held = [request for request in self.held if request.id != request_id]
        return found[0] if found else None

    def missed(self, request: QueuedRequest) -> None:
        assert request not in self.held
        self.gone_late.append(request.id)

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        return []

    def next_ready_us(self, now_us: int) -> int | None:
        return now_us + 7

    def next_expiry_us(self) -> int | None:
        return None

    def set_weights(self, weights: Weights) -> None:
        self.weights = weights

    def export(self) -> list[QueuedRequest]:
        return self.held

    def queued(self, flow: str | None = None) -> int:
        return len(self.held)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        return 0

    def queued_us(self, flows: Collection[str]) -> int:
        return sum(request.predicted_exec_us for request in self.held if request.flow in flows)

    def schedule(self, now_us: int) -> Iterable[QueuedRequest]:
        return self.held

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        pass

    @property
    def commitments(self) -> Commitments | None:
        return None

    def place(self, request: QueuedRequest) -> Place:
        raise AssertionError("asked for a place of a policy that keeps none")


def test_it_wraps_a_policy_that_it_knows_by_the_interface_only() -> None:
    inner = Recording()
    policy = ServeLate(inner)
    punctual, missed = make_request("punctual"), late()
    policy.push(missed)
    policy.push(punctual)
    policy.set_weights(Weights({"default/f": 2}))
    popped = [policy.pop(make_slot("default/f"), 1) for _ in range(2)]
    assert popped == [punctual, missed]
    for request in (punctual, missed):
        policy.done(request, 5)
    # The wrapped policy saw the late one leave by cancel: it has nothing to settle for it.
    assert inner.ended == ["punctual"]
    assert inner.gone_late == [missed.id]
    assert policy.next_ready_us(1) == 8
    assert inner.weights == Weights({"default/f": 2})
    assert policy.name == "recording"
    assert not policy.guarantees.starvation_free


def test_a_late_request_that_is_pushed_again_and_served_on_time_is_settled() -> None:
    inner = Recording()
    policy = ServeLate(inner)
    request = late()
    policy.push(request)
    assert policy.pop(make_slot("default/f"), 1) is request
    request.objective_us = 1_000
    policy.push(request)
    assert policy.pop(make_slot("default/f"), 2) is request
    policy.done(request, 5)
    assert inner.ended == [request.id]
