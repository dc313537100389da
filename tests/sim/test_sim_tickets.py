"""Simulated: those who come back with a ticket are served, and those who are refused are not told too late."""

from statistics import median

import pytest
from sim_worlds import sim_function
from storm_world import BURST_S, storm

from stoker.model.function import OnMiss
from stoker.reasons import Outcome
from stoker.testing.builders import MS, S, make_function, make_gpu
from stoker_sim.engine.returns import Returning
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.outcomes import OUTCOMES
from stoker_sim.ticket_study import Phase, overstatements, phases, played, tickets
from stoker_sim.workload import ANY, SimFunction, Workload

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

SERVED = OUTCOMES.index(Outcome.SERVED)
SETUP = Setup(devices=(make_gpu(),), form=Form.REPLICAS, queueing="least-slack", knowledge=Knowledge.LEARNED)


def function(latency_us: int = 500 * MS) -> SimFunction:
    definition = make_function(
        latency_us=latency_us,
        timeout_us=30 * S,
        on_predicted_miss=(OnMiss.REFUSE,),
        min_replicas=1,
        max_replicas=1,
    )
    return sim_function(definition, exec_us={ANY: 50 * MS}, cold_us=100 * MS)


def burst(times: float, seed: int, after_s: float = 15) -> Workload:
    """0.7 of what one slot can do, then so many times that for five seconds, then 0.7 again."""
    return phases(function(), Phase(14, 3), Phase(20 * times, 5), Phase(14, after_s), seed=seed)


@pytest.mark.parametrize("times", [1.2, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("tries", [1, 5])
def test_ticketed_retries_are_served(times: float, tries: int) -> None:
    given = served = on_time = 0
    for seed in range(2):
        work = burst(times, seed)
        found = tickets(*played(work, SETUP, Returning(tries=tries)), len(work))
        given, served, on_time = given + found.given, served + found.served, on_time + found.on_time
    assert given >= 10
    assert served >= 0.95 * given
    assert on_time >= 0.95 * given


def test_the_same_clients_without_their_tickets_come_through_less_often() -> None:
    work = burst(10.0, 0)
    with_them, without = (played(work, SETUP, Returning(tries=1, tickets=bring)) for bring in (True, False))
    had_places = set(with_them[1].shown)
    assert tickets(*with_them, len(work)).served == len(had_places)
    refused_again = [index for index in without[1].first_of if without[0].outcome[index] != SERVED]
    assert len(refused_again) > len(without[1].first_of) // 2


@pytest.mark.parametrize("times", [1.5, 2.0, 3.0, 10.0])
def test_the_median_of_what_is_told_is_not_too_late(times: float) -> None:
    found = []
    for seed in range(2):
        work = burst(times, seed)
        refused = tickets(*played(work, SETUP, Returning(tries=1)), len(work)).refused
        found += overstatements(work, SETUP, Returning(tries=1), every=max(1, refused // 12), steps=4)
    assert len(found) >= 24
    assert median(one.borne for one in found) <= 1


@pytest.mark.parametrize("bring", [False, True])
def test_ten_seconds_after_a_storm_all_are_served_also_if_those_of_the_storm_come_back_when_told(bring: bool) -> None:
    at_s, served = storm(tickets=bring)
    begin_s, end_s = BURST_S
    assert served[at_s < begin_s].mean() >= 0.999
    assert served[(at_s >= begin_s) & (at_s < end_s)].mean() < 0.5, "it is a storm"
    assert served[at_s >= end_s + 10].mean() >= 0.999
