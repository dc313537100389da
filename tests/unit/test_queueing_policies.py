"""What is particular to one policy, each in a sentence. That each gives what its model chooses is a property test."""

from collections import Counter
from statistics import mean

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing import flow_memory
from stoker.policies.queueing.batch import Batch
from stoker.policies.queueing.cfs_affinity import PENALTY, CfsAffinity
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.interface import QueueParams, QueuePolicy, SlotView, Weights
from stoker.policies.queueing.lazy_slack import DUE_US, SMALL_US, LazySlack
from stoker.policies.queueing.paella_srpt import THRESHOLD, UNIT, PaellaSrpt
from stoker.policies.queueing.random_order import RandomOrder
from stoker.policies.queueing.rrc import Rrc
from stoker.policies.queueing.serve_late import ServeLate
from stoker.policies.queueing.sjf import Sjf
from stoker.testing.builders import MS, make_request, make_slot

pytestmark = pytest.mark.unit


def push(policy: QueuePolicy, *requests: QueuedRequest) -> None:
    for request in requests:
        policy.push(request)


def serve(policy: QueuePolicy, slot: SlotView, now_us: int = 0, actual_us: int | None = None) -> str:
    """The flow of what the slot gets and ends at once."""
    request = policy.pop(slot, now_us)
    assert request is not None
    policy.done(request, request.predicted_exec_us if actual_us is None else actual_us)
    return request.flow


# random


def test_random_serves_each_eligible_request_equally_often_few_or_many_being_eligible() -> None:
    policy = RandomOrder(QueueParams(seed=5))
    requests = [make_request(flow=f"default/f{number % 50}") for number in range(100)]
    push(policy, *requests)
    for flows in (["default/f3"], [f"default/f{number}" for number in range(40)]):
        eligible = [request.id for request in requests if request.flow in flows]
        drawn: Counter[str] = Counter()
        for _ in range(60 * len(eligible)):
            request = policy.pop(make_slot(*flows), 0)
            assert request is not None
            drawn[request.id] += 1
            policy.push(request)
        assert set(drawn) == set(eligible)
        # 60 expected of each; beyond 4.5 deviations of the binomial with any seed but a rare one.
        assert all(25 <= count <= 95 for count in drawn.values())


def test_random_pops_the_same_for_the_same_seed_and_something_else_for_another() -> None:
    def order(seed: int) -> list[str]:
        policy = RandomOrder(QueueParams(seed=seed))
        push(policy, *(make_request(f"{number}") for number in range(20)))
        return [request.id for request in policy.schedule(0)]

    assert order(1) == order(1)
    assert order(1) != order(2)


# sjf


def test_sjf_counts_the_start_up_of_what_is_not_resident_on_the_device_of_the_slot() -> None:
    policy = Sjf()
    short = make_request(flow="default/short", predicted_exec_us=5, start_us=100)
    long = make_request(flow="default/long", predicted_exec_us=50, start_us=100)
    push(policy, short, long)
    both = ("default/short", "default/long")
    assert list(policy.schedule(0)) == [short, long]
    assert policy.pop(make_slot(*both, warm=["default/long"]), 0) is long
    push(policy, long)
    assert policy.pop(make_slot(*both, warm=["default/short"]), 0) is short


# batch


def test_a_batch_is_all_that_had_come_when_its_oldest_was_the_oldest_of_all() -> None:
    policy = Batch()
    slot = make_slot("default/a", "default/b")
    push(policy, *(make_request(flow=f"default/{name}", arrival_us=at) for at, name in enumerate("abaab")))
    served = [serve(policy, slot, 10)]
    push(policy, make_request(flow="default/a", arrival_us=11))
    served += [serve(policy, slot, 12) for _ in range(5)]
    assert [flow[-1] for flow in served] == list("aaabba")


def test_each_slot_goes_on_with_the_batch_that_it_ran() -> None:
    policy = Batch()
    push(policy, *(make_request(flow=f"default/{name}", arrival_us=at) for at, name in enumerate("aabb")))
    flows = ("default/a", "default/b")
    slots = [make_slot(*flows, device_id=device) for device in ("sim-0", "sim-1")]
    first = policy.pop(slots[0], 5)
    second = policy.pop(make_slot("default/b", device_id="sim-1"), 5)
    assert first is not None
    assert second is not None
    policy.done(second, 5)
    policy.done(first, 5)
    assert serve(policy, slots[1], 6) == "default/b"
    assert serve(policy, slots[0], 6) == "default/a"


def test_a_newcomer_joins_the_batch_of_its_function() -> None:
    policy = Batch()
    push(
        policy,
        *(make_request(flow=f"default/{name}", arrival_us=at, predicted_exec_us=10) for at, name in enumerate("abc")),
    )
    flows = ["default/a", "default/b", "default/c"]
    assert policy.work_ahead_us(make_request(flow="default/a", arrival_us=9), flows) == 10
    assert policy.work_ahead_us(make_request(flow="default/b", arrival_us=9), flows) == 20
    assert policy.work_ahead_us(make_request(flow="default/d", arrival_us=9), flows) == 30


# cfs-affinity


def test_a_function_that_is_not_resident_waits_ten_of_its_weights_longer() -> None:
    policy = CfsAffinity()
    slot = make_slot("one/away", "two/here", warm=["two/here"])
    push(policy, make_request(flow="one/away", predicted_exec_us=10))
    push(policy, *(make_request(flow="two/here", predicted_exec_us=10) for _ in range(20)))
    assert [serve(policy, slot) for _ in range(12)].index("one/away") == PENALTY


def test_a_function_that_asks_again_at_once_does_not_starve_the_others_as_it_does_in_the_source() -> None:
    policy = CfsAffinity()
    slot = make_slot("one/busy", "two/steady")
    push(policy, make_request(flow="one/busy"), *(make_request(flow="two/steady") for _ in range(10)))
    served = []
    for _ in range(10):
        served.append(serve(policy, slot))
        if served[-1] == "one/busy":
            push(policy, make_request(flow="one/busy"))
    assert Counter(served) == {"one/busy": 5, "two/steady": 5}


def test_idleness_banks_no_credit() -> None:
    policy = CfsAffinity()
    slot = make_slot("one/steady", "two/idler")
    push(policy, make_request(flow="two/idler"), *(make_request(flow="one/steady") for _ in range(40)))
    assert "two/idler" in [serve(policy, slot) for _ in range(20)]
    push(policy, *(make_request(flow="two/idler") for _ in range(20)))
    assert Counter(serve(policy, slot) for _ in range(10)) == {"one/steady": 5, "two/idler": 5}


def test_fair_is_by_time_and_by_the_shares_of_both_levels() -> None:
    policy = CfsAffinity()
    policy.set_weights(Weights({"one/b": 3}, {"two": 2}))
    lengths = {"one/a": 10, "one/b": 10, "two/c": 5}
    push(policy, *(make_request(flow=flow, predicted_exec_us=us) for flow, us in lengths.items() for _ in range(200)))
    count = Counter(serve(policy, make_slot(*lengths)) for _ in range(200))
    time_us = {flow: count[flow] * us for flow, us in lengths.items()}
    assert time_us["two/c"] == pytest.approx(2 * (time_us["one/a"] + time_us["one/b"]), abs=20)
    assert time_us["one/b"] == pytest.approx(3 * time_us["one/a"], abs=40)


def test_the_work_ahead_is_what_fair_shares_would_serve_meanwhile() -> None:
    policy = CfsAffinity()
    flows = ["one/a", "one/b", "two/c"]
    push(policy, *(make_request(flow=flow, predicted_exec_us=10) for flow in flows for _ in range(10)))
    assert policy.work_ahead_us(make_request(flow="one/new", predicted_exec_us=10), flows) == 10 + 10 + 30
    assert policy.work_ahead_us(make_request(flow="one/a", predicted_exec_us=10), flows) == 100 + 100 + 100
    assert policy.work_ahead_us(make_request(flow="three/f", predicted_exec_us=10), flows) == 10 + 10
    policy.set_weights(Weights({}, {"three": 2}))
    assert policy.work_ahead_us(make_request(flow="three/f", predicted_exec_us=10), flows) == 5 + 5


# paella-srpt


def test_paella_serves_the_shortest_until_a_function_has_been_passed_over_too_often() -> None:
    policy = PaellaSrpt()
    slot = make_slot("default/short", "default/long")
    push(policy, make_request(flow="default/long", predicted_exec_us=50))
    push(policy, *(make_request(flow="default/short", predicted_exec_us=5) for _ in range(60)))
    served = [serve(policy, slot) for _ in range(60)]
    # Each dispatch gives the long one half a unit.
    assert served.index("default/long") == 2 * THRESHOLD // UNIT


def test_paella_expects_shorter_functions_and_its_own_queue_before_a_newcomer() -> None:
    policy = PaellaSrpt()
    lengths = {"default/short": 5, "default/mine": 20, "default/long": 50}
    push(policy, *(make_request(flow=flow, predicted_exec_us=us) for flow, us in lengths.items() for _ in range(2)))
    assert policy.work_ahead_us(make_request(flow="default/mine", predicted_exec_us=20), [*lengths]) == 2 * 5 + 2 * 20


# rrc


def miss(policy: QueuePolicy, flow: str, times: int = 1, percentile: float = 99.0) -> None:
    for _ in range(times):
        push(policy, make_request(flow=flow, objective_us=5, predicted_exec_us=5, percentile=percentile))
        serve(policy, make_slot(flow), 1)


def test_a_function_that_missed_needs_as_many_on_time_as_its_percentile_says() -> None:
    policy = Rrc()
    assert policy.required(make_request()) == 0
    miss(policy, "default/f")
    assert policy.required(make_request(percentile=99.0)) == 99
    assert policy.required(make_request(percentile=50.0)) == 1
    assert policy.required(make_request(percentile=99.9)) == 999
    for _ in range(9):
        push(policy, make_request())
        serve(policy, make_slot("default/f"), 1)
    assert policy.required(make_request()) == 90


def test_a_function_far_from_its_objective_runs_when_nobody_else_is_there() -> None:
    policy = Rrc()
    miss(policy, "default/far")
    far, near = make_request(flow="default/far", arrival_us=1), make_request(flow="default/near", arrival_us=2)
    push(policy, far, near)
    slot = make_slot("default/far", "default/near")
    assert [policy.pop(slot, 3), policy.pop(slot, 3)] == [near, far]


def test_the_threshold_rises_while_the_first_group_is_on_time_and_falls_when_it_is_not() -> None:
    policy = Rrc()
    miss(policy, "default/far", percentile=90.0)
    far = make_request(flow="default/far", percentile=90.0)
    for _ in range(policy.required(far)):
        push(policy, far)
        push(policy, make_request("on-time", flow="default/near", arrival_us=1))
        assert serve(policy, make_slot("default/far", "default/near"), 2) == "default/near"
        assert policy.cancel(far.id) is far
    near = make_request(flow="default/near", arrival_us=1)
    push(policy, far, near)
    slot = make_slot("default/far", "default/near", "default/new")
    assert [policy.pop(slot, 2), policy.pop(slot, 2)] == [far, near]
    policy.done(near, 10**9)
    push(policy, far, make_request("newcomer", flow="default/new", arrival_us=1))
    assert serve(policy, slot, 2) == "default/new"


def test_what_expires_or_turns_late_is_a_miss_and_a_failed_dispatch_is_nothing() -> None:
    policy = Rrc()
    wrapped = ServeLate(policy)
    push(wrapped, make_request(flow="default/late", objective_us=5, predicted_exec_us=5))
    assert wrapped.pop(make_slot(), 1) is None
    assert policy.required(make_request(flow="default/late")) == 99
    push(policy, make_request(flow="default/expired", timeout_us=7))
    assert len(policy.drop_expired(7)) == 1
    assert policy.required(make_request(flow="default/expired")) == 99
    push(policy, make_request(flow="default/failed"))
    serve(policy, make_slot("default/failed"), actual_us=0)
    assert policy.required(make_request(flow="default/failed")) == 0


# lazy-slack


def lazy(slack_us: int, flow: str = "default/f", *, arrival_us: int = 0, start_us: int = 0) -> QueuedRequest:
    """A request of 100 ms with this slack when it comes, where it is resident."""
    objective_us = arrival_us + slack_us + 140 * MS
    return make_request(
        flow=flow, arrival_us=arrival_us, objective_us=objective_us, predicted_exec_us=100 * MS, start_us=start_us
    )


def test_a_small_slack_runs_at_once_and_a_large_one_when_it_is_nearly_gone() -> None:
    policy = LazySlack()
    small, large = lazy(SMALL_US), lazy(SMALL_US + 1, "default/g")
    push(policy, small, large)
    slot = make_slot("default/f", "default/g")
    assert [policy.pop(slot, 0), policy.pop(slot, 0)] == [small, None]
    due_us = SMALL_US + 1 - DUE_US
    assert policy.next_ready_us(0) == due_us
    assert policy.pop(slot, due_us - 1) is None
    assert policy.pop(slot, due_us) is large


def test_where_it_is_not_resident_a_request_becomes_due_earlier_by_its_start_up() -> None:
    policy = LazySlack()
    request = lazy(90 * MS, start_us=50 * MS)
    push(policy, request)
    here, away = make_slot("default/f", warm=["default/f"]), make_slot("default/f", warm=[])
    early_us, late_us = 40 * MS - DUE_US, 90 * MS - DUE_US
    assert (policy.next_ready_us(0), policy.next_ready_us(early_us), policy.next_ready_us(late_us)) == (
        early_us,
        late_us,
        None,
    )
    assert policy.pop(away, early_us - 1) is None
    assert policy.pop(here, early_us) is None
    assert policy.pop(away, early_us) is request
    push(policy, request)
    assert policy.pop(here, late_us) is request


def test_lazy_slack_in_serve_late_starts_what_it_held_back_before_it_is_late() -> None:
    policy = ServeLate(LazySlack())
    push(policy, lazy(500 * MS), lazy(700 * MS))
    slot = make_slot("default/f")
    starts = []
    now_us = 0
    while policy.queued():
        if policy.pop(slot, now_us) is not None:
            starts.append(now_us)
        else:
            now_us = policy.next_ready_us(now_us) or now_us
    assert starts == [500 * MS - DUE_US, 700 * MS - DUE_US]
    assert mean(starts) < 700 * MS


# What they remember.


def test_the_flow_that_was_written_least_recently_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_memory, "MOST", 2)
    memory: FlowMemory[int] = FlowMemory()
    for flow, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        memory.put(flow, value)
    assert [memory.get(flow, 0) for flow in "abc"] == [3, 0, 4]
    assert len(memory) == 2
