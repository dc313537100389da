"""What every queueing policy of the registry does alike, bare and in ServeLate."""

from collections.abc import Callable

import pytest
from queueing_policies import ALL, BARE, Make, each, take

from stoker.errors import StokerError
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import Weights
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.policies.queueing.serve_late import ServeLate
from stoker.testing.builders import make_request, make_slot
from stoker.testing.queueing_orders import ORDERS

pytestmark = pytest.mark.unit


@each(ALL)
def test_pop_takes_only_from_eligible_flows_and_then_nothing(make: Make) -> None:
    policy = make()
    for flow in ("default/a", "default/b"):
        policy.push(make_request(flow=flow))
    assert policy.pop(make_slot(), 0) is None
    assert policy.pop(make_slot("default/other"), 0) is None
    popped = take(policy, make_slot("default/b", "default/other"))
    assert popped is not None
    assert popped.flow == "default/b"
    assert policy.pop(make_slot("default/b"), 0) is None
    assert (policy.queued(), policy.queued("default/a"), policy.queued("default/b")) == (1, 1, 0)


@each(ALL)
def test_an_empty_policy_answers_everything(make: Make) -> None:
    policy = make()
    assert policy.pop(make_slot("default/f"), 0) is None
    assert policy.cancel("nobody") is None
    assert policy.drop_expired(10**12) == []
    assert policy.next_expiry_us() is None
    assert policy.next_ready_us(0) is None
    assert policy.export() == []
    assert policy.queued() == policy.queued("default/f") == 0
    assert policy.work_ahead_us(make_request(), ["default/f"]) == 0
    assert list(policy.schedule(0)) == []
    policy.set_weights(Weights({"default/f": 3}, {"default": 2}))
    policy.done(make_request(), 5)
    policy.missed(make_request())


@each(ALL)
def test_the_queued_work_is_that_of_the_flows_named_on_time_or_late(make: Make) -> None:
    policy = make()
    policy.push(make_request("late", flow="default/a", objective_us=1, predicted_exec_us=3))
    policy.push(make_request(flow="default/a", predicted_exec_us=5))
    policy.push(make_request(flow="default/b", predicted_exec_us=7))
    assert policy.pop(make_slot(), 10) is None
    assert policy.queued_us(["default/a", "default/nobody"]) == 8
    policy.cancel("late")
    assert policy.queued_us({"default/a", "default/b"}) == 12


@each(ALL)
def test_an_id_that_is_queued_already_is_refused_and_nothing_changes(make: Make) -> None:
    policy = make()
    policy.push(make_request("same", objective_us=10, predicted_exec_us=10))
    with pytest.raises(StokerError, match="request same is queued already"):
        policy.push(make_request("same"))
    assert policy.pop(make_slot(), 10**6) is None  # in ServeLate: now it is late, and still the only one
    with pytest.raises(StokerError, match="request same is queued already"):
        policy.push(make_request("same"))
    assert policy.queued() == 1
    assert len(policy.export()) == 1


@each(ALL)
def test_a_request_may_come_again_after_it_left(make: Make) -> None:
    policy = make()
    request = make_request("again")
    ways: tuple[Callable[[], QueuedRequest | None], ...] = (
        lambda: take(policy, make_slot("default/f")),
        lambda: policy.pop(make_slot("default/f"), 10**6),  # as a late one where there are late ones
        lambda: policy.cancel("again"),
        lambda: policy.drop_expired(request.timeout_us)[0],
        lambda: policy.export()[0],
    )
    for leave in ways:
        policy.push(request)
        assert policy.next_expiry_us() == request.timeout_us
        assert leave() is request
        assert policy.queued() == 0
        assert policy.next_expiry_us() is None
        policy.done(request, 5)


@each([(name, make) for name, make in ALL if not name.endswith("random")])
def test_a_request_that_is_pushed_again_keeps_its_place(make: Make) -> None:
    policy = make()
    first, second = make_request(arrival_us=1), make_request(arrival_us=2)
    policy.push(first)
    assert take(policy, make_slot("default/f"), 2) is first
    policy.push(second)
    policy.push(first)
    assert next(iter(policy.schedule(3))) is first
    assert take(policy, make_slot("default/f"), 3) is first


@each(ALL)
def test_expiry_is_at_the_timeout_exactly_and_earliest_first(make: Make) -> None:
    policy = make()
    requests = [make_request(timeout_us=timeout) for timeout in (30, 10, 20)]
    for request in requests:
        policy.push(request)
    assert policy.next_expiry_us() == 10
    assert policy.drop_expired(9) == []
    assert [request.timeout_us for request in policy.drop_expired(20)] == [10, 20]
    assert policy.next_expiry_us() == 30
    assert policy.queued() == 1


@each(ALL)
def test_export_gives_everything_in_the_order_of_arrival(make: Make) -> None:
    policy = make()
    for arrival_us, objective_us in ((3, 100), (1, 300), (2, 5)):
        policy.push(make_request(arrival_us=arrival_us, objective_us=objective_us, predicted_exec_us=1))
    assert policy.pop(make_slot(), 50) is None  # turns the last one late
    assert [request.arrival_us for request in policy.export()] == [1, 2, 3]
    assert policy.queued() == 0


@each(ALL)
def test_flows_may_be_given_as_any_collection(make: Make) -> None:
    policy = make()
    policy.push(make_request(predicted_exec_us=7))
    ahead = [
        policy.work_ahead_us(make_request(arrival_us=20_000), flows)
        for flows in (["default/f", "default/f"], ("default/f",), {"default/f": 1}.keys(), {"default/f"})
    ]
    assert ahead in ([7, 7, 7, 7], [3, 3, 3, 3])  # all of it, or what half of it is expected to be


def mixture() -> list[QueuedRequest]:
    """Requests that no two policies need have in the same order, all of them on time at 10."""
    return [
        make_request(flow=flow, arrival_us=arrival_us, objective_us=objective_us, predicted_exec_us=exec_us)
        for arrival_us in (2, 1)
        for objective_us in (50, 40)
        for exec_us in (5, 15)
        for flow in ("default/b", "default/a", "team/c")
    ]


@each([(name, make) for name, make in BARE if name in ORDERS])
def test_a_policy_with_a_fixed_order_pops_by_it_and_equal_ranks_in_the_order_of_push(make: Make) -> None:
    policy = make()
    for request in mixture():
        policy.push(request)
    order = list(policy.schedule(10))
    assert order == sorted(sorted(order, key=lambda request: int(request.id[1:])), key=ORDERS[policy.name])


@each(ALL)
def test_the_schedule_is_what_one_slot_gets_and_making_it_changes_nothing(make: Make) -> None:
    policy = make()
    slot = make_slot("default/a", "default/b", "team/c")
    for request in mixture():
        policy.push(request)
    ran = take(policy, slot, 10)
    assert ran is not None
    policy.done(ran, ran.predicted_exec_us)
    order = list(policy.schedule(10))
    assert list(policy.schedule(10)) == order
    popped: list[QueuedRequest] = []
    while (given := take(policy, slot, 10)) is not None:
        popped.append(given)
        policy.done(given, given.predicted_exec_us)
    assert popped == order
    assert policy.queued() == 0


@each(ALL)
def test_the_work_ahead_is_never_more_than_what_is_queued_in_those_flows(make: Make) -> None:
    policy = make()
    requests = mixture()
    for request in requests:
        policy.push(request)
    for flows in (["default/a"], ["default/a", "team/c"], ["nobody/f"]):
        queued_us = sum(request.predicted_exec_us for request in requests if request.flow in flows)
        for newcomer in (make_request(flow="default/a", arrival_us=10), make_request(flow="team/d", arrival_us=10)):
            assert 0 <= policy.work_ahead_us(newcomer, flows) <= queued_us


def test_the_registry_gives_every_policy_in_serve_late() -> None:
    assert set(ORDERS) <= set(POLICIES)
    assert all(isinstance(make_queueing(name), ServeLate) for name in POLICIES)
