"""Every policy in the registry, bare and in ServeLate, is held to what it declares.

What a policy does not declare has a witness here: a schedule of arrivals under which it really does not hold.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from stoker.errors import StokerError
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, Weights
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.policies.queueing.serve_late import ServeLate
from stoker.testing.builders import make_request, make_slot
from stoker.testing.queueing_orders import ORDERS

pytestmark = pytest.mark.unit

Make = Callable[[], QueuePolicy]
BARE: list[tuple[str, Make]] = list(POLICIES.items())
WRAPPED: list[tuple[str, Make]] = [(f"late-{name}", lambda name=name: make_queueing(name)) for name in POLICIES]  # type: ignore[misc]
ALL = BARE + WRAPPED


def each(policies: list[tuple[str, Make]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [make for _, make in policies], ids=[name for name, _ in policies])


@each(ALL)
def test_pop_takes_only_from_eligible_flows_and_then_nothing(make: Make) -> None:
    policy = make()
    for flow in ("default/a", "default/b"):
        policy.push(make_request(flow=flow))
    assert policy.pop(make_slot(), 0) is None
    assert policy.pop(make_slot("default/other"), 0) is None
    popped = policy.pop(make_slot("default/b", "default/other"), 0)
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
    assert policy.export() == []
    assert policy.queued() == policy.queued("default/f") == 0
    assert policy.work_ahead_us(make_request(), ["default/f"]) == 0
    assert list(policy.schedule(0)) == []
    policy.set_weights(Weights({"default/f": 3}))
    policy.done(make_request(), 5)


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
        lambda: policy.pop(make_slot("default/f"), 0),
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


@each(ALL)
def test_a_request_that_is_pushed_again_keeps_its_place(make: Make) -> None:
    policy = make()
    first, second = make_request(arrival_us=1), make_request(arrival_us=2)
    policy.push(first)
    assert policy.pop(make_slot("default/f"), 2) is first
    policy.push(second)
    policy.push(first)
    assert policy.pop(make_slot("default/f"), 3) is first


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
    assert ahead == [7, 7, 7, 7]


def _pops_until(policy: QueuePolicy, victim: QueuedRequest, arrivals: Callable[[int], QueuedRequest]) -> int | None:
    """How many pops it takes to get the victim while two requests arrive for each; None: its timeout passed first."""
    policy.push(victim)
    for now_us in range(victim.timeout_us + 1):
        policy.push(arrivals(now_us))
        policy.push(arrivals(now_us))
        if victim in policy.drop_expired(now_us):
            break
        if policy.pop(make_slot("default/f"), now_us) is victim:
            return now_us + 1
    return None


@each(ALL)
def test_a_starvation_free_policy_pops_a_request_whatever_comes_after_it_and_others_do_not(make: Make) -> None:
    def pressing(now_us: int) -> QueuedRequest:
        return make_request(arrival_us=now_us + 1, objective_us=now_us + 5, predicted_exec_us=5)

    patient = make_request(objective_us=500, timeout_us=500, predicted_exec_us=0)
    late = make_request(objective_us=-1, timeout_us=500, predicted_exec_us=5)
    pops = [_pops_until(make(), victim, pressing) for victim in (patient, late)]
    if make().guarantees.starvation_free:
        assert pops == [1, 1]
    else:
        assert None in pops


@each(ALL)
def test_shares_are_followed_where_declared_and_ignored_where_not(make: Make) -> None:
    policy = make()
    policy.set_weights(Weights({"default/a": 9, "default/b": 1}))
    for now_us in range(100):
        for flow in ("default/a", "default/b"):
            policy.push(make_request(flow=flow, arrival_us=now_us))
    served: Counter[str] = Counter()
    for _ in range(100):
        request = policy.pop(make_slot("default/a", "default/b"), 0)
        assert request is not None
        served[request.flow] += 1
        policy.done(request, 10)
    # Both flows stay backlogged: shares of 9 to 1 would serve 90 of one.
    assert policy.guarantees.weight_respecting is False
    assert served == {"default/a": 50, "default/b": 50}


@each(ALL)
def test_every_policy_says_its_order_and_takes_work_when_there_is_some(make: Make) -> None:
    assert make().guarantees.order
    assert make().guarantees.work_conserving


@each(BARE)
def test_a_policy_pops_by_its_rank_and_equal_ranks_in_the_order_of_push(make: Make) -> None:
    policy = make()
    requests = [
        make_request(flow=flow, arrival_us=arrival_us, objective_us=objective_us, predicted_exec_us=exec_us)
        for arrival_us in (2, 1)
        for objective_us in (50, 40)
        for exec_us in (5, 15)
        for flow in ("default/b", "default/a")
    ]
    for request in requests:
        policy.push(request)
    want = sorted(requests, key=ORDERS[policy.name])
    assert list(policy.schedule(0)) == want
    assert [policy.pop(make_slot("default/a", "default/b"), 0) for _ in requests] == want


def test_every_policy_of_the_registry_has_its_order_said_a_second_time() -> None:
    assert set(ORDERS) == set(POLICIES)
    assert all(isinstance(make_queueing(name), ServeLate) for name in POLICIES)
