"""`lean-slack`, one rule at a time. Its bound is tested with MQFQ's, its guarantees and costs with everybody's."""

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueueParams, SlotView
from stoker.policies.queueing.lean_slack import LeanSlack
from stoker.policies.queueing.residence import Residence
from stoker.testing.builders import MS, S, make_request, make_slot

pytestmark = pytest.mark.unit

FAR_US = 1000 * S


def lean(slots: int = 1, **tuning: int) -> LeanSlack:
    return LeanSlack(QueueParams(slots=slots, tuning=tuning))


def queue(
    policy: LeanSlack, flow: str, *, exec_us: int = 10 * MS, slack_us: int = S, start_us: int = 0, now_us: int = 0
) -> QueuedRequest:
    request = make_request(
        flow=flow,
        arrival_us=now_us,
        objective_us=now_us + exec_us + slack_us,
        timeout_us=FAR_US,
        predicted_exec_us=exec_us,
        start_us=start_us,
    )
    policy.push(request)
    return request


def drain(policy: LeanSlack, slot: SlotView, now_us: int = 0) -> list[str]:
    served = []
    while (request := policy.pop(slot, now_us)) is not None:
        served.append(request.flow)
        policy.done(request, MS)
    return served


def tight(*resident: str, **tuning: int) -> LeanSlack:
    """A policy that has seen something go, and that these are resident on the other device, which is idle."""
    policy = lean(slots=2, **tuning)
    for seen in ({"a/gone"}, set(resident)):
        other = queue(policy, "z/other")
        assert policy.pop(SlotView("sim-1", {"z/other"} | seen, seen), 0) is other
        policy.done(other, MS)
    return policy


# The order.


def test_what_takes_least_goes_first() -> None:
    policy = lean()
    queue(policy, "a/long", exec_us=30 * MS)
    queue(policy, "b/short", exec_us=10 * MS)
    assert drain(policy, make_slot("a/long", "b/short")) == ["b/short", "a/long"]


def test_what_has_little_slack_passes_what_takes_a_little_less() -> None:
    policy = lean()
    queue(policy, "b/short", exec_us=10 * MS, slack_us=S)
    queue(policy, "a/urgent", exec_us=30 * MS, slack_us=100 * MS)
    assert drain(policy, make_slot("a/urgent", "b/short")) == ["a/urgent", "b/short"]


def test_what_waits_grows_old() -> None:
    policy = lean()
    queue(policy, "a/long", exec_us=30 * MS)
    slot = make_slot("a/long", "b/short")
    served = []
    for number in range(10):
        now_us = number * 100 * MS
        queue(policy, "b/short", exec_us=10 * MS, now_us=now_us)
        request = policy.pop(slot, now_us)
        assert request is not None
        served.append(request.flow)
        policy.done(request, MS)
    assert served[:4] == ["b/short"] * 4
    assert "a/long" in served


def test_the_requests_of_one_flow_run_in_the_same_order() -> None:
    policy = lean()
    long = queue(policy, "a/f", exec_us=30 * MS)
    short = queue(policy, "a/f", exec_us=10 * MS)
    assert [policy.pop(make_slot("a/f"), 0), policy.pop(make_slot("a/f"), 0)] == [short, long]


def test_what_is_resident_goes_before_what_would_have_to_start() -> None:
    policy = lean()
    queue(policy, "a/absent", start_us=S)
    queue(policy, "b/resident", exec_us=100 * MS, start_us=S)
    assert drain(policy, make_slot("a/absent", "b/resident", warm={"b/resident"})) == ["b/resident", "a/absent"]


def test_while_memory_is_not_tight_a_start_counts_little_for_what_is_called_often() -> None:
    slot = make_slot("a/absent", "b/resident", warm={"b/resident"})
    first = {}
    for calls in (1, 8):
        policy = lean()
        for _ in range(calls):
            queue(policy, "a/absent", start_us=S)
        queue(policy, "b/resident", exec_us=200 * MS)
        request = policy.pop(slot, 0)
        assert request is not None
        first[calls] = request.flow
    assert first == {1: "b/resident", 8: "a/absent"}


def test_once_memory_is_tight_a_start_counts_in_full() -> None:
    policy = tight()
    for _ in range(8):
        queue(policy, "a/absent", start_us=S)
    queue(policy, "b/resident", exec_us=200 * MS)
    request = policy.pop(make_slot("a/absent", "b/resident", warm={"b/resident"}), 0)
    assert request is not None
    assert request.flow == "b/resident"


# What is resident elsewhere.


def test_a_flow_is_not_loaded_twice_while_it_will_be_on_time_where_it_is() -> None:
    policy = tight("a/f")
    requests = [queue(policy, "a/f", exec_us=100 * MS, slack_us=500 * MS, start_us=S) for _ in range(2)]
    here = make_slot("a/f", warm=())
    assert policy.pop(here, 0) is None
    # The second of the two has 400 ms left when the first has ended.
    assert policy.next_ready_us(0) == 400 * MS + 1
    assert policy.pop(here, 400 * MS) is None
    assert policy.pop(here, 400 * MS + 1) in requests


def test_a_queue_that_is_too_long_for_one_copy_gets_another() -> None:
    policy = tight("a/f")
    for _ in range(7):
        queue(policy, "a/f", exec_us=100 * MS, slack_us=500 * MS, start_us=S)
    assert policy.pop(make_slot("a/f", warm=()), 0) is not None


def test_an_urgent_request_among_patient_ones_counts_too() -> None:
    policy = tight("a/f")
    busy = queue(policy, "b/busy", exec_us=300 * MS)
    assert policy.pop(SlotView("sim-1", {"a/f", "b/busy"}, {"a/f", "b/busy"}), 0) is busy
    queue(policy, "a/f", exec_us=100 * MS, slack_us=50 * MS, start_us=10 * MS)
    queue(policy, "a/f", exec_us=10 * MS, slack_us=S, start_us=10 * MS)
    assert policy.pop(make_slot("a/f", warm=()), 0) is not None


def test_caution_lengthens_the_predictions_of_what_waits() -> None:
    for caution, held in ((100, True), (600, False)):
        policy = tight("a/f", holdPercent=caution)
        for _ in range(2):
            queue(policy, "a/f", exec_us=100 * MS, slack_us=500 * MS, start_us=S)
        assert (policy.pop(make_slot("a/f", warm=()), 0) is None) is held


def test_a_copy_that_is_busy_for_too_long_does_not_count() -> None:
    for busy_us, held in ((300 * MS, True), (700 * MS, False)):
        policy = tight("a/f", "b/busy")
        busy = queue(policy, "b/busy", exec_us=busy_us)
        assert policy.pop(SlotView("sim-1", {"a/f", "b/busy"}, {"a/f", "b/busy"}), 0) is busy
        queue(policy, "a/f", exec_us=100 * MS, slack_us=500 * MS, start_us=S)
        assert (policy.pop(make_slot("a/f", warm=()), 0) is None) is held


def test_the_slot_serves_another_flow_meanwhile() -> None:
    policy = tight("a/f")
    queue(policy, "a/f", exec_us=10 * MS, start_us=S)
    other = queue(policy, "b/g", exec_us=300 * MS, start_us=S)
    assert policy.pop(make_slot("a/f", "b/g", warm=()), 0) is other
    assert policy.pop(make_slot("a/f", "b/g", warm=()), 0) is None


def test_a_flow_that_is_resident_nowhere_is_loaded_at_once() -> None:
    policy = tight("b/g")
    request = queue(policy, "a/f", start_us=S)
    assert policy.pop(make_slot("a/f", warm=()), 0) is request


def test_nothing_is_held_back_while_memory_is_not_tight() -> None:
    policy = lean(slots=2)
    running = queue(policy, "a/f", start_us=S)
    assert policy.pop(SlotView("sim-1", {"a/f"}, set()), 0) is running
    request = queue(policy, "a/f", start_us=S)
    assert policy.pop(make_slot("a/f", warm=()), 0) is request


def test_nothing_is_held_back_where_everything_is_resident() -> None:
    policy = tight("a/f")
    request = queue(policy, "a/f")
    assert policy.pop(make_slot("a/f"), 0) is request


# The window.


def test_a_namespace_beyond_the_window_waits_for_one_that_is_behind() -> None:
    policy = lean(windowUs=50 * MS)
    served = []
    queue(policy, "b/long", exec_us=S, slack_us=100 * S)
    for _ in range(8):
        queue(policy, "a/short", slack_us=100 * S)
        request = policy.pop(make_slot("a/short", "b/long"), 0)
        assert request is not None
        served.append(request.flow)
        policy.done(request, 10 * MS)
    assert served == ["a/short"] * 6 + ["b/long", "a/short"]


def test_the_window_is_what_all_slots_give_in_that_time() -> None:
    assert lean(slots=4, windowUs=50 * MS).overrun_us == 200 * MS


def test_what_virtual_time_has_overtaken_goes_first() -> None:
    policy = lean(windowUs=0)
    queue(policy, "b/away", exec_us=S, slack_us=100 * S)
    for _ in range(3):
        queue(policy, "a/short", slack_us=100 * S)
        request = policy.pop(make_slot("a/short"), 0)
        assert request is not None
        policy.done(request, 10 * S)
    queue(policy, "a/short", slack_us=100 * S)
    request = policy.pop(make_slot("a/short", "b/away"), 0)
    assert request is not None
    assert request.flow == "b/away"


def test_work_ahead_is_what_goes_before_it_in_the_order() -> None:
    policy = lean()
    queue(policy, "a/short", exec_us=10 * MS)
    queue(policy, "b/long", exec_us=500 * MS)
    asked = make_request(flow="c/f", objective_us=S + 100 * MS, predicted_exec_us=100 * MS)
    assert policy.work_ahead_us(asked, {"a/short", "b/long"}) == 10 * MS
    assert policy.work_ahead_us(asked, {"b/long"}) == 0


# What it knows of residence.


def test_memory_is_tight_once_something_is_gone_that_does_not_run() -> None:
    residence = Residence()
    residence.see("sim-0", {"a/f", "b/g"})
    residence.dispatch("sim-0", "r1", "b/g", 10, loads=False)
    residence.see("sim-0", {"a/f"})  # all copies of b/g are busy
    assert not residence.is_tight
    residence.end("r1")
    residence.see("sim-0", {"b/g"})
    assert residence.is_tight


def test_memory_is_tight_once_something_is_loaded_again() -> None:
    residence = Residence()
    for device in ("sim-0", "sim-1"):
        residence.dispatch(device, f"r-{device}", "a/f", 10, loads=True)
    assert not residence.is_tight
    residence.dispatch("sim-0", "r2", "a/f", 20, loads=True)
    assert residence.is_tight


def test_a_device_that_is_late_is_taken_to_be_free_at_any_moment() -> None:
    residence = Residence()
    residence.see("sim-1", {"a/f"})
    residence.dispatch("sim-1", "r1", "b/g", 10, loads=False)
    assert [residence.elsewhere_us("a/f", "sim-0", now_us) for now_us in (0, 50)] == [10, 50]
    assert residence.elsewhere_us("a/f", "sim-1", 0) is None
    assert residence.elsewhere_us("c/h", "sim-0", 0) is None
