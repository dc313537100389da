"""What each policy of the registry declares is tested, bare and in ServeLate; what it does not declare has a witness:
a schedule of arrivals under which it really does not hold.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
from queueing_policies import ALL, Make, each

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView, Weights
from stoker.testing.builders import S, make_request, make_slot

pytestmark = pytest.mark.unit

PATIENCE = 150
"""Pops after which a victim counts as starved: beyond 25 deficits of 4 functions, and beyond each penalty used here."""

CROWD = ("default/a", "default/b", "default/c")


class Attack:
    """A victim that waits, and what arrives before each pop of the only slot."""

    def __init__(
        self,
        victim: QueuedRequest,
        arrivals: Callable[[int], Iterable[QueuedRequest]],
        *,
        warm: Iterable[str] | None = None,
        victim_missed: bool = False,
    ) -> None:
        self.victim = victim
        self.arrivals = arrivals
        self.slot = make_slot(victim.flow, *CROWD, warm=None if warm is None else frozenset(warm))
        self.victim_missed = victim_missed

    def starves(self, policy: QueuePolicy) -> bool:
        if self.victim_missed:
            miss = make_request(flow=self.victim.flow, objective_us=5, predicted_exec_us=5)
            policy.push(miss)
            assert policy.pop(self.slot, 0) is miss
            policy.done(miss, 10)
        policy.push(self.victim)
        for now_us in range(PATIENCE):
            for request in self.arrivals(now_us):
                policy.push(request)
            policy.drop_expired(now_us)
            popped = policy.pop(self.slot, now_us)
            if popped is self.victim:
                return False
            if popped is not None:
                policy.done(popped, popped.predicted_exec_us)
        return True


def victim(flow: str = "team/v", *, objective_us: int = 10 * S, exec_us: int = 1, start_us: int = 0) -> QueuedRequest:
    return make_request(flow=flow, objective_us=objective_us, predicted_exec_us=exec_us, start_us=start_us)


def crowd(now_us: int, *, exec_us: int = 10, count: int = 2, slack_us: int = 0) -> list[QueuedRequest]:
    """Newcomers of three functions, by default with no slack to lose."""
    return [
        make_request(
            flow=CROWD[(count * now_us + number) % 3],
            arrival_us=now_us + 1,
            objective_us=now_us + exec_us + slack_us,
            predicted_exec_us=exec_us,
            timeout_us=now_us + 60 * S,
        )
        for number in range(count)
    ]


ATTACKS: tuple[Callable[[], Attack], ...] = (
    lambda: Attack(victim("default/a"), crowd),
    lambda: Attack(victim(), crowd),
    lambda: Attack(victim(objective_us=-1), crowd),
    lambda: Attack(victim(exec_us=50), crowd),
    lambda: Attack(victim(start_us=50), crowd, warm=CROWD),
    lambda: Attack(victim(exec_us=50, start_us=50), crowd, warm=CROWD),
    lambda: Attack(victim(), lambda now_us: crowd(now_us, slack_us=10 * S), victim_missed=True),
    # Whoever draws lots meets the victim sooner or later: only a growing crowd keeps it from a bound.
    lambda: Attack(victim(), lambda now_us: crowd(now_us, count=12)),
)


@each(ALL)
def test_a_starvation_free_policy_serves_everybody_whatever_comes_after_and_others_do_not(make: Make) -> None:
    starved = [attack().starves(make()) for attack in ATTACKS]
    assert any(starved) is not make().guarantees.starvation_free


def served(make: Make, requests: Sequence[QueuedRequest], weights: Weights) -> Counter[str]:
    """Requests of each flow among the first 100 of one slot, each of which takes 10 s."""
    policy = make()
    policy.set_weights(weights)
    for request in requests:
        policy.push(request)
    flows = {request.flow for request in requests}
    count: Counter[str] = Counter()
    for _ in range(100):
        popped = policy.pop(make_slot(*flows), 0)
        assert popped is not None
        count[popped.flow] += 1
        policy.done(popped, 10 * S)
    return count


def backlog(*flows: str, objective_us: int = 14 * S) -> list[QueuedRequest]:
    """A hundred requests of each flow: with no slack that is worth holding back, unless they are late."""
    return [
        make_request(flow=flow, arrival_us=-100 + number, objective_us=objective_us, predicted_exec_us=10 * S)
        for number in range(100)
        for flow in flows
    ]


@each(ALL)
def test_shares_are_followed_where_declared_and_ignored_where_not(make: Make) -> None:
    flows = ("default/a", "default/b")
    one, other = Weights({flows[0]: 9}), Weights({flows[1]: 9})
    if make().guarantees.weight_respecting:
        assert abs(served(make, backlog(*flows), one)[flows[0]] - 90) <= 3
        assert abs(served(make, backlog(*flows), other)[flows[0]] - 10) <= 3
    else:
        on_time, late = backlog(*flows), backlog(*flows, objective_us=0)
        ignored = [served(make, requests, one) == served(make, requests, other) for requests in (on_time, late)]
        assert any(ignored)


@each([policy for policy in ALL if policy[1]().guarantees.weight_respecting])
def test_a_namespace_gains_nothing_by_splitting_a_function(make: Make) -> None:
    split = tuple(f"many/f{number}" for number in range(10))
    count = served(make, backlog(*split, "one/f"), Weights())
    assert abs(count["one/f"] - 50) <= 3
    assert max(count[flow] for flow in split) - min(count[flow] for flow in split) <= 2
    count = served(make, backlog(*split, "one/f"), Weights({"one/f": 50}, {"one": 4}))
    assert abs(count["one/f"] - 80) <= 3


def where_it_holds_back(policy: QueuePolicy, flow: str) -> SlotView:
    """A slot on which a policy that is not work-conserving does not run a flow that can wait."""
    if policy.name != "lean-slack":
        return make_slot(flow)
    for resident in ("default/gone", flow):  # one is driven out, so memory is tight, and the flow is resident there
        other = make_request(flow="default/other")
        policy.push(other)
        assert policy.pop(make_slot(other.flow, resident, device_id="sim-1", warm={resident}), 0) is other
    return make_slot(flow, warm=())


@each(ALL)
def test_a_work_conserving_policy_never_holds_back_and_others_say_for_how_long(make: Make) -> None:
    policy = make()
    request = make_request(objective_us=S, predicted_exec_us=100_000, timeout_us=2 * S)
    if policy.guarantees.work_conserving:
        policy.push(request)
        assert policy.next_ready_us(0) is None
        assert policy.pop(make_slot(request.flow), 0) is request
        return
    slot = where_it_holds_back(policy, request.flow)
    policy.push(request)
    assert policy.pop(slot, 0) is None
    ready_us = policy.next_ready_us(0)
    assert ready_us is not None
    assert policy.pop(slot, ready_us - 1) is None
    assert policy.next_ready_us(ready_us - 1) == ready_us
    assert policy.pop(slot, ready_us) is request


@each(ALL)
def test_what_a_policy_holds_back_is_still_on_time_when_it_gives_it(make: Make) -> None:
    policy = make()
    requests = [make_request(objective_us=S + number, predicted_exec_us=100_000) for number in range(3)]
    for request in requests:
        policy.push(request)
    now_us: int | None = 0
    while now_us is not None:
        while (popped := policy.pop(SlotView("sim-0", {"default/f"}), now_us)) is not None:
            assert now_us <= popped.latest_start_us
        now_us = policy.next_ready_us(now_us)
    assert policy.queued() == 0


@each(ALL)
def test_every_policy_says_its_order(make: Make) -> None:
    assert make().guarantees.order
