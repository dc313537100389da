"""What the operator hears: demand of gateways, reports of agents, and when that is news."""

import pytest

from stoker.model.demand import VariantDemand
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.policies.prewarm.histogram import learn
from stoker.policies.prewarm.interface import ArrivalHistory
from stoker.sizing.service_time import ServiceTime
from stoker.wire.cluster import DemandFrame, ProfileReport, ReplicaFrame, ReplicaReport, VariantDemandReport
from stoker_operator.agent_board import AgentBoard
from stoker_operator.demand_board import SAME_WAKE_US, DemandBoard
from stoker_operator.news import demand_news, replica_news

pytestmark = pytest.mark.unit

GPU = Variant.GPU
S = 1_000_000


def demand(seq: int = 1, **fields: int) -> DemandFrame:
    return DemandFrame(seq=seq, gateway="gw", functions={"team/fn": {GPU: VariantDemandReport(**fields)}})


def test_what_two_gateways_hold_adds_up_and_what_runs_is_left_to_the_agents() -> None:
    board = DemandBoard()
    board.heard("a", demand(held=2, in_system=3, last_wake_ms=5_000, oldest_held_ms=400), 10 * S)
    board.heard("b", demand(held=1, in_system=1, last_wake_ms=100, oldest_held_ms=900), 10 * S)
    assert board.demand() == {
        "team/fn": {
            GPU: VariantDemand(held=3, in_system=3, last_wake_us=9_900_000, oldest_held_us=9_100_000),
        }
    }


def test_a_gateway_that_is_lost_holds_nobody_but_its_wakes_are_remembered() -> None:
    board = DemandBoard()
    board.heard("a", demand(held=2, in_system=2, last_wake_ms=0), 10 * S)
    board.lost("a")
    assert board.demand() == {"team/fn": {GPU: VariantDemand(last_wake_us=10 * S)}}
    board.keep_only(())
    assert board.demand() == {}


def test_arrivals_of_gateways_add_up_whichever_of_them_goes_and_comes() -> None:
    board = DemandBoard()

    def arrivals() -> int:
        return board.demand()["team/fn"][GPU].arrivals

    # Counters of gateways that ran long before this leader did: those count that are there.
    board.heard("a", demand(last_wake_ms=0, arrivals=7_000, in_system=2), S)
    board.heard("b", demand(last_wake_ms=0, arrivals=9_000), S)
    assert arrivals() == 2
    board.heard("a", demand(last_wake_ms=0, arrivals=7_010), 2 * S)
    board.heard("b", demand(last_wake_ms=0, arrivals=9_005), 2 * S)
    assert arrivals() == 17
    board.lost("a")
    assert arrivals() == 17
    board.heard("a", demand(last_wake_ms=0, arrivals=7_500, in_system=1), 3 * S)
    assert arrivals() == 18
    # It was restarted.
    board.heard("b", demand(last_wake_ms=0, arrivals=3), 3 * S)
    assert arrivals() == 21
    board.keep_only(())
    assert arrivals() == 0


def test_an_older_wake_does_not_replace_a_newer_one() -> None:
    board = DemandBoard()
    board.heard("a", demand(last_wake_ms=100), 10 * S)
    board.heard("b", demand(last_wake_ms=5_000), 10 * S)
    assert board.demand()["team/fn"][GPU].last_wake_us == 9_900_000


def test_one_wake_that_two_gateways_tell_of_again_and_again_is_one_arrival() -> None:
    board, history = DemandBoard(), ArrivalHistory()
    arrivals = [100 * S, 400 * S, 1_000 * S]
    for number, woken_us in enumerate(arrivals):
        for beat in range(200):
            # Told in whole milliseconds, and heard a little later each time.
            for gateway, late_us in (("a", beat * 7_919 % 90_000), ("b", beat * 104_729 % 300_000)):
                said_us = woken_us + beat * S
                board.heard(gateway, demand(last_wake_ms=(said_us - woken_us) // 1_000), said_us + late_us)
                woken = board.demand()["team/fn"][GPU].last_wake_us
                history = learn(history, woken, said_us + late_us, busy=False)
        assert sum(history.counts.values()) + history.beyond == number
    assert history.counts == {5: 1, 10: 1}


def test_wakes_that_follow_one_another_quickly_are_not_lost() -> None:
    board = DemandBoard()
    for tenth in range(31):
        board.heard("a", demand(last_wake_ms=0), 10 * S + tenth * S // 10)
    woken_us = board.demand()["team/fn"][GPU].last_wake_us
    assert woken_us is not None
    assert 13 * S - SAME_WAKE_US < woken_us <= 13 * S


def report(uid: str = "u", state: ReplicaState = ReplicaState.WARM, **fields: object) -> ReplicaReport:
    return ReplicaReport(id="team/fn-0123456789-0", pod_uid=uid, state=state, **fields)  # type: ignore[arg-type]


def frame(*replicas: ReplicaReport, **fields: object) -> ReplicaFrame:
    return ReplicaFrame(seq=1, node="n", replicas=replicas, **fields)  # type: ignore[arg-type]


def test_the_last_word_on_a_replica_stands_while_its_agent_is_away() -> None:
    board = AgentBoard()
    board.heard("n", frame(report()), 1 * S)
    board.lost("n", 2 * S)
    assert board.report("u") is not None
    assert not board.is_speaking("n")
    assert board.silent_us("n", 5 * S) == 3 * S
    board.heard("n", frame(), 6 * S)
    assert board.report("u") is None
    assert board.silent_us("n", 9 * S) == 0


def test_a_node_that_is_gone_is_not_brought_back_by_late_words() -> None:
    board = AgentBoard()
    board.heard("n", frame(report()), 1, "agent")
    board.gone("n")
    board.lost("n", 2, "agent")
    assert board.silent_us("n", 60 * S) == 0
    board.heard("n", frame(report()), 3, "agent")
    board.lost("n", 4, "agent")
    assert not board.knows("n")
    assert board.report("u") is None
    # The Node is registered anew while its agent goes on.
    board.here("n")
    board.heard("n", frame(report()), 5, "agent")
    assert board.is_speaking("n")


def test_nodes_that_went_are_forgotten_with_their_agents() -> None:
    board = AgentBoard()
    board.gone("n")
    board.gone("m")
    board.keep_only(["n"])
    board.heard("n", frame(), 1)
    board.heard("m", frame(), 1)
    assert (board.knows("n"), board.knows("m")) == (False, True)


def test_an_agent_that_never_spoke_is_not_silent_since_then() -> None:
    board = AgentBoard()
    board.lost("n", 1 * S, "agent")
    assert board.silent_us("n", 60 * S) == 0


def test_queues_of_agents_that_are_away_do_not_count() -> None:
    board = AgentBoard()
    queued = {"team/fn": {GPU: 2}}
    board.heard("n", frame(queued=queued), 1)
    board.heard("m", frame(queued=queued), 1)
    assert board.queued() == {"team/fn": {GPU: 4}}
    board.lost("m", 2)
    assert board.queued() == {"team/fn": {GPU: 2}}


def test_of_two_measured_starts_the_longer_counts() -> None:
    board = AgentBoard()
    board.heard("n", frame(start_ms={"team/fn": {GPU: 300}}), 1)
    board.heard("m", frame(start_ms={"team/fn": {GPU: 900}}), 1)
    assert board.start_us() == {"team/fn": {GPU: 900_000}}


def test_of_measured_execution_times_the_longest_median_counts() -> None:
    board = AgentBoard()
    t4 = ProfileReport(variant=GPU, product="T4", p50_ms=30.5, p99_ms=90.0, samples=9)
    h100 = ProfileReport(variant=GPU, product="H100", p50_ms=10.0, p99_ms=20.0, samples=9)
    board.heard("n", frame(profiles={"team/fn": (h100,)}), 1)
    board.heard("m", frame(profiles={"team/fn": (t4, h100)}), 1)
    assert board.exec_us() == {"team/fn": {GPU: 30_500}}


def test_execution_times_of_all_nodes_are_pooled_but_for_those_of_agents_that_do_not_tell_them() -> None:
    board = AgentBoard()
    assert board.service() == {}
    old = ProfileReport(variant=GPU, product="T4", p50_ms=30.5, p99_ms=90.0, samples=9)
    fast = ProfileReport(variant=GPU, product="H100", p50_ms=10.0, p99_ms=10.0, samples=30, mean_ms=10.0)
    slow = ProfileReport(variant=GPU, product="T4", p50_ms=40.0, p99_ms=40.0, samples=10, mean_ms=40.0)
    board.heard("n", frame(profiles={"team/fn": (old, fast)}), 1)
    board.heard("m", frame(profiles={"team/fn": (slow,)}), 1)
    assert board.service() == {"team/fn": {GPU: ServiceTime(mean_us=17_500, deviation_us=12_990, samples=40)}}


def test_a_heartbeat_is_no_news() -> None:
    idle = frame(report(idle_ms=1_000, served=5))
    assert not replica_news(idle, frame(report(idle_ms=2_000, served=5)))
    assert replica_news(None, idle)
    assert replica_news(idle, frame(report(state=ReplicaState.DRAINING)))
    assert replica_news(idle, frame(report(in_flight=1)))
    assert replica_news(idle, frame())


def test_a_hold_a_wake_and_their_end_are_news() -> None:
    before = demand(held=1, in_system=1, last_wake_ms=1_000)
    assert not demand_news(before, demand(held=1, in_system=1, last_wake_ms=2_000))
    assert demand_news(before, demand(held=1, in_system=1, last_wake_ms=10))
    assert demand_news(before, demand(held=2, in_system=2, last_wake_ms=2_000))
    assert demand_news(before, demand(held=0, in_system=1, last_wake_ms=2_000))
    # Whatever runs, agents tell themselves.
    assert not demand_news(before, demand(held=1, in_system=5, last_wake_ms=2_000))
    assert demand_news(before, DemandFrame(seq=2, gateway="gw"))
