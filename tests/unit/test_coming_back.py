"""What an agent tells those whom it refuses, and how it counts those who will come back."""

from typing import Any

import pytest

from stoker.model.function import Priority, Variant
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.lanes import pooled
from stoker.reasons import Reason
from stoker.slots.arrangement import Arrangement
from stoker.slots.coming_back import NOTHING, ComingBack
from stoker.slots.contention import WINDOW_US
from stoker.slots.places import HORIZON_US, Places, Redemption
from stoker.wire.agent import WANT_PLACE, Refusal, refuse

pytestmark = pytest.mark.unit

MS = 1_000
F, G, ALONE = "ns/f", "ns/g", "ns/alone"


class Agent:
    """Two flows that share a device of two slots, one that has a slot of its own, and one that is not warm."""

    def __init__(self) -> None:
        arrangement: Arrangement[Any] = Arrangement()
        arrangement.lanes = pooled({F: (("gpu-0",), 2), G: (("gpu-0",), 2), ALONE: (("gpu-1",), 1)})
        arrangement._flows_of = {"gpu-0": [F, G], "gpu-1": [ALONE]}
        self.places = Places("a-")
        self.desk = ComingBack(self.places, arrangement)

    def refused(self, flow: str = F, said: str = WANT_PLACE, at_us: int = 0, **more: Any) -> Refusal:
        reason, share_us = more.pop("reason", Reason.PREDICTED_MISS), more.pop("share_us", 0)
        redemption = self.desk.redeem(said, flow, at_us)
        refusal = refuse(reason, "it would be late", retry_after_us=more.pop("retry_us", 50 * MS))
        return self.desk.refused(refusal, request(flow, at_us, **more), said, redemption, share_us)


def request(
    flow: str = F, at_us: int = 0, exec_us: int = 20 * MS, priority: Priority = Priority.STANDARD
) -> QueuedRequest:
    return QueuedRequest(
        id="r",
        flow=flow,
        variant=Variant.GPU,
        arrival_us=at_us,
        objective_us=at_us + 200 * MS,
        timeout_us=at_us + 60_000 * MS,
        predicted_exec_us=exec_us,
        priority=priority,
    )


def test_places_of_flows_that_share_slots_are_spread_over_both() -> None:
    agent = Agent()
    told = [agent.refused(flow).retry_after_ms for flow in (F, G, F, ALONE, ALONE)]
    assert told == [50, 70, 90, 50, 90], "one execution of 20 ms on half of two slots, and on half of one"


def test_a_window_is_told_that_ends_no_later_than_the_agents() -> None:
    refusal = Agent().refused(at_us=10_499)
    assert (refusal.ticket, refusal.retry_after_ms, refusal.ticket_window_ms) == ("a-1", 50, 1_000)
    late = refuse(Reason.PREDICTED_MISS, "late", retry_after_us=50_001)
    told = Agent().desk.refused(late, request(), WANT_PLACE, None, 0)
    assert told.retry_after_ms == 51
    assert told.ticket_window_ms == 1_000


def test_who_wants_no_place_gets_none_and_who_is_refused_for_else_neither() -> None:
    agent = Agent()
    assert agent.refused(said="").ticket == ""
    assert agent.refused(reason=Reason.DRAINING).ticket == ""
    assert not len(agent.places)


def test_a_flow_that_is_bound_to_a_share_gets_half_of_its_share() -> None:
    agent = Agent()
    # A fifth of a slot, of which half is a place of 20 ms each 200 ms.
    told = [agent.refused(reason=Reason.OVER_SHARE, share_us=WINDOW_US // 5).retry_after_ms for _ in range(3)]
    assert told == [50, 250, 450]


def test_those_without_a_place_are_told_instants_that_differ() -> None:
    agent = Agent()
    agent.refused()
    assert [agent.refused(said="").retry_after_ms for _ in range(3)] == [50, 60, 70]
    assert [agent.refused(said="", share_us=WINDOW_US // 5).retry_after_ms for _ in range(2)] == [170, 270]


def test_a_gateway_hears_when_there_is_room_whatever_instant_its_client_is_told() -> None:
    agent = Agent()
    refusals = [agent.refused(said=said) for said in (WANT_PLACE, WANT_PLACE, "", "")]
    assert [refusal.room_us for refusal in refusals] == [50 * MS] * 4
    assert len({refusal.retry_after_ms for refusal in refusals[1:]}) == 3


def test_nobody_is_told_to_come_back_later_than_places_reach() -> None:
    week_us = 7 * 24 * 3_600 * 1_000 * MS
    for said in ("", WANT_PLACE):
        told = Agent().refused(said=said, retry_us=week_us)
        assert (told.retry_after_ms, told.ticket) == (HORIZON_US // 1_000, "")


def test_reserved_work_is_before_all_who_share_the_slots_and_counts_in_its_own_flows_queue() -> None:
    agent = Agent()
    agent.refused(F)
    before = agent.desk.before(request(G), 0)
    assert (before.ahead_us > 0, before.own_us) == (True, 0)
    own = agent.desk.before(request(F), 0)
    assert own.own_us == own.ahead_us == before.ahead_us
    assert agent.desk.before(request(ALONE), 0) == NOTHING
    assert agent.desk.before(request(F, exec_us=160 * MS), 0) == NOTHING, "it would have begun before"
    assert agent.desk.before(request(G, priority=Priority.CRITICAL), 0).ahead_us == 0


def test_who_comes_early_keeps_its_place_unless_it_is_taken() -> None:
    agent = Agent()
    place = agent.refused().ticket
    told = agent.refused(said=place, at_us=20 * MS)
    assert (told.redemption, told.ticket, told.retry_after_ms) == ("early", place, 30)
    agent.desk.taken(place, agent.desk.redeem(place, F, 25 * MS))
    assert agent.desk.redeem(place, F, 50 * MS) is Redemption.USED
    assert agent.refused(at_us=30 * MS).retry_after_ms == 50, "it is for the next one, from 80 ms on"


def test_a_flow_that_is_not_warm_has_places_as_on_one_slot() -> None:
    agent = Agent()
    assert [agent.refused("ns/cold").retry_after_ms for _ in range(2)] == [50, 90]
