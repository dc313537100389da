"""MQFQ and MQFQ-Sticky, one rule at a time; their bounds are in tests/property/test_queueing_mqfq_property."""

from collections import Counter
from collections.abc import Iterable

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing import fair_level
from stoker.policies.queueing.interface import QueuePolicy, SlotView, Weights
from stoker.policies.queueing.mqfq import LARGEST_OVERRUN_US, Mqfq
from stoker.policies.queueing.mqfq_sticky import SHORTLIST, FlowState, MqfqSticky
from stoker.policies.queueing.registry import exchange, make_queueing
from stoker.testing.builders import MS, S, make_request, make_slot

pytestmark = pytest.mark.unit

EVERYONE = make_slot("a/f", "a/g", "b/f", "b/g", "c/f", "d/f")
each = pytest.mark.parametrize("make", [Mqfq, MqfqSticky])


def queue(policy: QueuePolicy, flow: str, count: int = 1, *, exec_us: int = 10 * MS, objective_us: int = S) -> None:
    """`count` requests of a flow. T is half of the objective."""
    for number in range(count):
        policy.push(
            make_request(flow=flow, arrival_us=number, objective_us=number + objective_us, predicted_exec_us=exec_us)
        )


def pop(policy: QueuePolicy, slot: SlotView = EVERYONE, now_us: int = 0) -> QueuedRequest:
    request = policy.pop(slot, now_us)
    assert request is not None
    return request


def serve(
    policy: QueuePolicy, count: int, us: int | dict[str, int] = 10 * MS, slot: SlotView = EVERYONE, now_us: int = 0
) -> list[str]:
    """The flows of the next requests, each of which runs alone and takes `us`."""
    served = []
    for _ in range(count):
        request = pop(policy, slot, now_us)
        served.append(request.flow)
        policy.done(request, us if isinstance(us, int) else us[request.flow])
    return served


def flows(requests: Iterable[QueuedRequest]) -> list[str]:
    return [request.flow for request in requests]


# Shares.


def test_flows_get_equal_device_time_and_not_equal_numbers_of_requests() -> None:
    policy = Mqfq()
    queue(policy, "a/f", 100)
    queue(policy, "a/g", 100)
    assert Counter(serve(policy, 44, {"a/f": 10 * MS, "a/g": MS})) == {"a/f": 4, "a/g": 40}


def test_what_was_predicted_does_not_count_only_what_a_request_took() -> None:
    policy = Mqfq()
    queue(policy, "a/f", 100, exec_us=MS)
    queue(policy, "a/g", 100, exec_us=100 * MS)
    assert Counter(serve(policy, 40, 10 * MS)) == {"a/f": 20, "a/g": 20}


def test_namespaces_share_by_their_weights_and_flows_share_what_their_namespace_gets() -> None:
    policy = Mqfq()
    policy.set_weights(Weights({"a/f": 3}, {"b": 2}))
    for flow in ("a/f", "a/g", "b/f", "b/g"):
        queue(policy, flow, 100)
    assert Counter(serve(policy, 120)) == {"a/f": 30, "a/g": 10, "b/f": 40, "b/g": 40}


def test_new_weights_act_from_then_on_on_what_is_queued() -> None:
    policy = Mqfq()
    for flow in ("a/f", "a/g"):
        queue(policy, flow, 100)
    assert Counter(serve(policy, 20)) == {"a/f": 10, "a/g": 10}
    policy.set_weights(Weights({"a/f": 4}))
    assert Counter(serve(policy, 50)) == {"a/f": 40, "a/g": 10}


def test_equal_tags_go_to_whoever_was_served_longest_ago_and_a_newcomer_waits_its_turn() -> None:
    policy = Mqfq()
    for flow in ("a/f", "b/f"):
        queue(policy, flow, 5)
    assert serve(policy, 3) == ["a/f", "b/f", "a/f"]
    queue(policy, "c/f", 5)  # begins where b is, who is least ahead
    assert serve(policy, 4) == ["b/f", "c/f", "a/f", "b/f"]


def test_parallel_slots_go_to_different_flows_by_what_their_running_requests_are_predicted_to_take() -> None:
    policy = Mqfq()
    queue(policy, "a/f", 5, exec_us=30 * MS)
    queue(policy, "b/f", 5, exec_us=10 * MS)
    running = [pop(policy) for _ in range(5)]
    assert flows(running) == ["a/f", "b/f", "b/f", "b/f", "a/f"]
    for request in running:
        policy.done(request, MS)  # all of them took the same
    assert flows(pop(policy) for _ in range(2)) == ["a/f", "b/f"]


@pytest.mark.parametrize(("warm", "third"), [(None, "a/f"), ({"a/f", "b/f"}, "a/f"), ({"b/f"}, "b/f")])
def test_a_start_up_is_predicted_where_the_flow_is_not_warm(warm: set[str] | None, third: str) -> None:
    policy = Mqfq()
    for flow, start_us in (("a/f", 500 * MS), ("b/f", 0)):
        for _ in range(9):
            policy.push(make_request(flow=flow, start_us=start_us))
    slot = SlotView("sim-0", EVERYONE.eligible, warm)
    assert flows(pop(policy, slot) for _ in range(3)) == ["a/f", "b/f", third]


@each
def test_failed_and_cancelled_requests_are_charged_what_they_took(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "a/f", 9)
    queue(policy, "b/f", 9)
    policy.done(pop(policy, make_slot("a/f")), 70 * MS)  # whatever became of it
    assert Counter(serve(policy, 7, slot=make_slot("a/f", "b/f", device_id="sim-1")))["b/f"] == 7


# Coming and going.


@each
def test_a_flow_banks_no_credit_while_it_has_nothing_queued(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "b/f", 400, objective_us=0)
    serve(policy, 200)
    queue(policy, "a/f", 100, objective_us=0)
    assert Counter(serve(policy, 40)) == {"a/f": 20, "b/f": 20}


@each
def test_a_flow_banks_no_credit_while_its_last_request_runs(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "b/f", 400, objective_us=0)
    queue(policy, "a/f", objective_us=0)
    pop(policy, make_slot("a/f"))
    serve(policy, 200, slot=make_slot("b/f"))
    queue(policy, "a/f", 100, objective_us=0)
    assert policy._namespaces.members["a"].settled == policy._namespaces.virtual > 0
    assert 19 <= Counter(serve(policy, 40))["a/f"] <= 20  # what still runs counts as predicted


def test_a_flow_that_leaves_and_comes_back_while_others_wait_is_still_as_far_ahead() -> None:
    policy = Mqfq()
    queue(policy, "b/f", 100)
    queue(policy, "a/f")
    assert serve(policy, 2, {"a/f": 90 * MS, "b/f": 10 * MS}) == ["b/f", "a/f"]
    queue(policy, "a/f", 5)
    assert serve(policy, 9) == ["b/f"] * 8 + ["a/f"]


def test_once_nobody_waits_all_begin_alike() -> None:
    policy = Mqfq()
    queue(policy, "a/f")
    assert serve(policy, 1, S) == ["a/f"]
    queue(policy, "b/f", 9)
    queue(policy, "a/f", 9)
    assert Counter(serve(policy, 8)) == {"a/f": 4, "b/f": 4}


def test_what_still_runs_when_nobody_waits_is_charged_later() -> None:
    policy = Mqfq()
    queue(policy, "a/f")
    running = pop(policy)
    queue(policy, "b/f", 9)
    policy.done(running, 50 * MS)
    queue(policy, "a/f", 9)
    assert serve(policy, 6) == ["b/f"] * 5 + ["a/f"]


def test_a_failed_dispatch_gives_its_flow_back_the_tags_that_it_had() -> None:
    policy = Mqfq()
    queue(policy, "b/f", 100)
    policy.push(make_request(flow="a/f", arrival_us=-1))
    serve(policy, 1, slot=make_slot("b/f"))
    failed = pop(policy, make_slot("a/f"))  # a is least ahead, and not backlogged now: virtual time moves on to b
    serve(policy, 3, slot=make_slot("b/f"))
    policy.done(failed, 0)
    policy.push(failed)
    a, b = (policy._namespaces.members[key] for key in "ab")
    assert (a.settled, a.start, a.level and a.level.members["a/f"].start) == (0, 0, 0)
    assert a.settled < policy._namespaces.virtual <= b.settled
    queue(policy, "a/f", 9)
    queue(policy, "c/f", 9)
    assert pop(policy) is failed


@each
def test_one_that_comes_again_later_comes_as_any_other(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "b/f", 100)
    queue(policy, "a/f")
    failed = pop(policy, make_slot("a/f"))
    policy.done(failed, 0)
    serve(policy, 3, slot=make_slot("b/f"))
    policy.push(failed)
    assert policy._failed == {}
    assert policy._namespaces.members["a"].settled == policy._namespaces.virtual > 0


def test_a_request_that_is_pushed_again_without_done_is_taken_back_too() -> None:
    policy = Mqfq()
    queue(policy, "b/f", 9)
    request = make_request(flow="a/f")
    policy.push(request)
    for _ in range(3):
        popped = pop(policy, make_slot("a/f"))
        assert popped is request
        policy.push(request)
    assert policy._running == {}
    assert policy._namespaces.members["a"].predicted_us == policy._namespaces.members["a"].running == 0


def test_time_is_charged_to_the_flow_of_a_request_that_the_policy_before_popped() -> None:
    old = make_queueing("fcfs")
    queue(old, "a/f", 20, objective_us=S)
    running = pop(old, make_slot("a/f"))
    queue(old, "b/f", 20, objective_us=S)
    new = exchange(old, "mqfq")
    new.done(running, 50 * MS)
    assert Counter(serve(new, 5)) == {"b/f": 5}


def test_late_requests_are_not_charged() -> None:
    policy = make_queueing("mqfq")
    policy.push(make_request(flow="a/f", objective_us=-1))
    policy.done(pop(policy), 10 * S)
    queue(policy, "a/f", 9, objective_us=S)
    queue(policy, "b/f", 9, objective_us=S)
    assert Counter(serve(policy, 6)) == {"a/f": 3, "b/f": 3}


# T, throttled flows and eligibility.


def test_t_is_half_of_the_tightest_objective_that_is_queued_for_and_at_most_five_seconds() -> None:
    policy = Mqfq()
    assert policy.overrun_us == LARGEST_OVERRUN_US == 5 * S
    queue(policy, "a/f", 2, objective_us=60 * S)
    assert policy.overrun_us == 5 * S
    queue(policy, "b/f", objective_us=300 * MS)
    queue(policy, "b/g", objective_us=200 * MS)
    assert policy.overrun_us == 100 * MS
    serve(policy, 1, slot=make_slot("b/g"))
    assert policy.overrun_us == 150 * MS
    queue(policy, "b/g", objective_us=-5)
    assert policy.overrun_us == 0
    policy.export()
    assert policy.overrun_us == 5 * S


@each
def test_a_throttled_flow_that_is_the_only_eligible_one_is_served_and_nobody_falls_behind_by_more_than_t(
    make: type[Mqfq],
) -> None:
    policy = make()
    queue(policy, "b/f", 100, objective_us=20 * MS)  # waits for a replica, say
    queue(policy, "a/f", 300, objective_us=20 * MS)
    assert serve(policy, 100, slot=make_slot("a/f")) == ["a/f"] * 100
    queue(policy, "c/f", 100, objective_us=20 * MS)
    # T is 10 ms and a request of a another 10 ms: so far may c catch up, and then they alternate.
    assert 10 <= Counter(serve(policy, 20, slot=make_slot("a/f", "c/f")))["c/f"] <= 12


@each
def test_a_flow_that_could_not_be_served_for_long_does_not_make_up_for_it(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "b/f", 300, objective_us=20 * MS)
    queue(policy, "a/f", 300, objective_us=20 * MS)
    serve(policy, 200, slot=make_slot("a/f"))
    assert 10 <= Counter(serve(policy, 20, slot=make_slot("a/f", "b/f")))["b/f"] <= 13


@each
def test_a_flow_whose_only_replica_is_busy_keeps_the_turns_that_are_its_own(make: type[Mqfq]) -> None:
    policy = make()
    for flow in ("a/f", "b/f", "c/f"):
        queue(policy, flow, 300, objective_us=0)
    long = pop(policy, make_slot("a/f"))
    others: Counter[str] = Counter()
    for number in range(100):
        request = pop(policy, make_slot("b/f", "c/f", device_id="sim-1"), number * 10 * MS)
        others[request.flow] += 1
        policy.done(request, 10 * MS)
    policy.done(long, S)
    assert others == {"b/f": 50, "c/f": 50}
    # It had 1 s and they 0.5 s each, so these are next; then all three are.
    assert Counter(serve(policy, 100, now_us=S)) == {"b/f": 50, "c/f": 50}
    assert set(Counter(serve(policy, 30, now_us=S)).values()) == {10}


@each
def test_what_runs_counts_by_how_long_it_runs_and_not_only_by_what_was_predicted(make: type[Mqfq]) -> None:
    policy = make()
    queue(policy, "a/f", 9, exec_us=MS, objective_us=20 * MS)
    queue(policy, "b/f", 9, exec_us=10 * MS, objective_us=20 * MS)
    one = make_slot("a/f")
    assert [pop(policy, one).flow for _ in range(2)] == ["a/f", "a/f"]
    # They were predicted to take 2 ms and run 20 ms already, each: a is far beyond T, whatever it is predicted to take.
    assert [pop(policy, EVERYONE, 20 * MS).flow for _ in range(2)] == ["b/f", "b/f"]


@each
@pytest.mark.parametrize(("rival", "alone"), [("a/k", "a/g"), ("b/k", "c/g")])
def test_no_flow_starves_while_virtual_time_follows_another_device(make: type[Mqfq], rival: str, alone: str) -> None:
    policy = make()
    for flow, count in ((rival, 300), ("a/f", 200), (alone, 400)):
        queue(policy, flow, count, objective_us=20 * MS)
    shared: list[str] = []
    for _ in range(100):
        shared += serve(policy, 1, slot=make_slot("a/f", rival))
        serve(policy, 1, slot=make_slot(alone, device_id="sim-1"))
    assert 40 <= Counter(shared)["a/f"] <= 60


def test_the_bound_needs_the_largest_t_since_the_last_dispatch_and_not_only_that_of_the_interval() -> None:
    """The witness of docs/concepts/theory.md: the published form of the bound is too tight when T shrinks."""
    policy = MqfqSticky()
    queue(policy, "a/g", 900, exec_us=10 * MS, objective_us=60 * S)
    queue(policy, "a/f", 900, exec_us=10 * MS, objective_us=60 * S)
    assert set(serve(policy, 400)) == {"a/g"}  # T is 5 s
    queue(policy, "b/f", 900, exec_us=10 * MS, objective_us=20 * MS)  # now it is 10 ms
    served = Counter(serve(policy, 600))
    gap_us = (served["a/f"] - served["a/g"]) * 10 * MS
    assert gap_us > 2 * 10 * MS + 2 * (10 * MS + 10 * MS)
    assert gap_us <= 2 * 5 * S


# Estimates.


def test_the_work_ahead_is_what_others_get_until_it_is_its_turn() -> None:
    policy = Mqfq()
    policy.set_weights(Weights({"a/g": 2}, {"b": 3}))
    queue(policy, "a/f", 3)
    queue(policy, "a/g", 40)
    queue(policy, "b/f", 100, exec_us=MS)
    everyone = ["a/f", "a/g", "b/f"]
    last = make_request(flow="a/f", arrival_us=100)
    # Three of its own, six of g for each three of f, and three times the 90 ms of both for b, who has only 100 ms.
    assert policy.work_ahead_us(last, everyone) == (30 + 60 + 100) * MS
    assert policy.work_ahead_us(last, ["a/f", "a/g"]) == (30 + 60) * MS
    assert policy.work_ahead_us(last, ["a/f"]) == 30 * MS
    first = make_request(flow="a/f", arrival_us=-1)
    newcomer = make_request(flow="c/f", arrival_us=100)
    assert policy.work_ahead_us(first, everyone) == policy.work_ahead_us(newcomer, everyone) == 0
    serve(policy, 1, 20 * MS, slot=make_slot("a/g"))
    serve(policy, 1, 5 * MS, slot=make_slot("b/f"))
    # Namespace a has had 20 ms: b gets 60 ms before it, less 5 ms, and one request of 1 ms more.
    assert policy.work_ahead_us(first, everyone) == 56 * MS


# Memory and cost.


def test_only_the_largest_leads_are_remembered_while_a_flow_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_level, "_REMEMBERED", 50)
    policy = Mqfq()
    queue(policy, "stuck/f")
    for number in range(400):
        for namespace in ("stuck", f"n{number}"):
            queue(policy, f"{namespace}/g{number}")
            policy.done(pop(policy, make_slot(f"{namespace}/g{number}")), (number + 1) * MS)
    level = policy._namespaces.members["stuck"].level
    assert level is not None
    for kept in (level, policy._namespaces):
        assert len(kept.members) <= 52
        assert max(member.longest_us for member in kept.members.values()) == 400 * MS
    assert policy.cancel(policy.schedule(0)[0].id) is not None
    assert not policy._namespaces.members


class CountedTag(int):
    """A whole number that counts its comparisons, and whose sums and quotients do so too."""

    __slots__ = ()
    comparisons = 0

    def __lt__(self, other: int) -> bool:
        CountedTag.comparisons += 1
        return int.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        CountedTag.comparisons += 1
        return int.__eq__(self, other)

    __hash__ = int.__hash__

    def __add__(self, other: int) -> "CountedTag":
        return CountedTag(int.__add__(self, other))

    __radd__ = __add__

    def __rfloordiv__(self, other: int) -> "CountedTag":
        return CountedTag(int.__rfloordiv__(self, other))


def comparisons(make: type[Mqfq], namespaces: int, flows_each: int) -> int:
    """The most comparisons of tags that a pop or a done takes, with everyone backlogged and eligible."""
    policy = make()
    names = [f"n{number}/f{flow}" for number in range(namespaces) for flow in range(flows_each)]
    weights = Weights(
        dict.fromkeys(names, CountedTag(1)), {f"n{number}": CountedTag(1) for number in range(namespaces)}
    )
    policy.set_weights(weights)
    for number, name in enumerate(names):
        queue(policy, name, exec_us=MS + number)
        policy.done(make_request(flow=name), MS + 7919 * number % 10_007)
    slot = SlotView("sim-0", frozenset(names))
    most = 0
    for number in range(40):
        CountedTag.comparisons = 0
        request = pop(policy, slot)
        popped = CountedTag.comparisons
        policy.done(request, MS + number)
        most = max(most, popped, CountedTag.comparisons - popped)
        queue(policy, request.flow)
    return most


@each
@pytest.mark.parametrize("shape", [(1, 1_000), (1_000, 1), (30, 33)])
def test_ten_times_the_flows_cost_a_few_comparisons_more(make: type[Mqfq], shape: tuple[int, int]) -> None:
    namespaces, flows_each = shape
    small = comparisons(make, max(1, namespaces // 10), max(1, flows_each // 10))
    large = comparisons(make, namespaces, flows_each)
    assert 0 < small <= 120
    assert large <= small + 120


# Sticky.


def sticky(*counts: tuple[str, int], objective_us: int = 200 * MS) -> MqfqSticky:
    policy = MqfqSticky()
    for flow, count in counts:
        queue(policy, flow, count, objective_us=objective_us)
    return policy


def test_a_device_stays_with_its_flow_until_it_has_nothing_queued_or_is_further_ahead_than_t() -> None:
    policy = sticky(("a/f", 30), ("a/g", 30))
    # Ten requests of 10 ms, and the one with which it passes T; then as far beyond the other, while that has some.
    assert serve(policy, 60) == ["a/f"] * 11 + ["a/g"] * 22 + ["a/f"] * 19 + ["a/g"] * 8


def test_each_device_has_a_flow_of_its_own() -> None:
    policy = sticky(("a/f", 9), ("a/g", 8))
    one, other = (SlotView(device, EVERYONE.eligible) for device in ("sim-0", "sim-1"))
    assert flows(pop(policy, slot) for slot in (one, other, one, other)) == ["a/f", "a/g", "a/f", "a/g"]


def test_a_flow_that_was_moved_off_the_device_is_not_stayed_with_and_warm_ones_come_first() -> None:
    policy = sticky(("a/f", 9), ("a/g", 2), ("b/f", 3))
    everyone = EVERYONE.eligible
    assert pop(policy, SlotView("sim-0", everyone, {"a/f"})).flow == "a/f"
    assert pop(policy, SlotView("sim-0", everyone, {"a/g", "b/f"})).flow == "b/f"
    assert pop(policy, SlotView("sim-0", everyone, ["a/g"])).flow == "a/g"
    assert pop(policy, SlotView("sim-0", everyone, ())).flow == "a/f"


def test_of_equally_warm_flows_the_longest_queue_comes_first_and_of_equal_queues_the_one_that_runs_least() -> None:
    policy = sticky(("a/f", 3), ("a/g", 4), ("b/f", 2))
    slots = [SlotView(f"sim-{device}", EVERYONE.eligible) for device in range(5)]
    assert flows(pop(policy, slot) for slot in slots) == ["a/g", "a/f", "a/g", "b/f", "a/f"]


@pytest.mark.parametrize("eligible", [1, 30])
def test_only_the_k_flows_with_the_least_start_tags_are_on_the_shortlist(eligible: int) -> None:
    policy = MqfqSticky()
    names = [f"a/f{number:02}" for number in range(SHORTLIST + 10)]
    for number, name in enumerate(names):
        queue(policy, name, 1 + number)
    for number, name in enumerate(names):
        policy.done(make_request(flow=name), (1 + number) * MS)
    assert pop(policy, make_slot(*names[-eligible:])).flow == names[-1 if eligible == 1 else SHORTLIST - 1]


def test_flows_are_active_then_throttled_and_inactive_when_their_grace_has_passed() -> None:
    policy = sticky(("a/f", 2), ("a/g", 1), objective_us=20 * MS)

    def states(now_us: int) -> list[str]:
        return [policy.state(flow, now_us).value for flow in ("a/f", "a/g", "b/f")]

    assert states(0) == ["Active", "Active", "Inactive"]
    first = pop(policy, make_slot("a/f"))
    policy.done(first, 11 * MS)
    assert states(11 * MS) == ["Throttled", "Active", "Inactive"]
    running = pop(policy, make_slot("a/g"), now_us=20 * MS)
    assert policy.state("a/g", 10 * S) is FlowState.ACTIVE
    policy.done(running, 5 * MS)
    assert states(25 * MS + 15 * MS - 1) == ["Active", "Active", "Inactive"]
    assert states(25 * MS + 15 * MS) == ["Active", "Inactive", "Inactive"]
