"""Simulated clients that were refused come back when they were told to, with the places that they got."""

from itertools import pairwise

import pytest
from sim_worlds import endings, image, sim_function, workload

from stoker.model.function import OnMiss
from stoker.testing.builders import MS, S, make_function, make_gpu
from stoker_sim.engine.returns import Returning, Returns
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import Outcomes
from stoker_sim.workload import ANY, Workload

pytestmark = pytest.mark.unit

SETUP = Setup(devices=(make_gpu(),), form=Form.REPLICAS, queueing="least-slack", knowledge=Knowledge.LEARNED)
CROWD = 20


def crowd() -> Workload:
    """Many at once for one slot that can do five of them in time."""
    definition = make_function(latency_us=250 * MS, on_predicted_miss=(OnMiss.REFUSE,), min_replicas=1, max_replicas=1)
    first = [(S + at * 100 * MS, 0, 50 * MS) for at in range(5)]
    rest = [(3 * S + at, 0, 50 * MS) for at in range(CROWD)]
    function = sim_function(definition, exec_us={ANY: 50 * MS}, cold_us=100 * MS)
    return workload(function, first + rest, horizon_us=4 * S)


def play(**how: object) -> tuple[Outcomes, Returns]:
    returns = Returns(Returning(**how))  # type: ignore[arg-type]
    return simulate(crowd(), SETUP, returns), returns


def test_those_with_places_are_served_one_after_the_other() -> None:
    outcomes, returns = play()
    at_first = endings(outcomes)[: CROWD + 5]
    refused = [index for index, end in enumerate(at_first) if end == "refused PredictedMiss"]
    assert returns.shown, "the others were refused by the agent's word, without a place"
    assert refused == sorted(returns.first_of.values()), "each comes back once, beyond the horizon too"
    assert sorted(returns.first_of) == list(range(CROWD + 5, CROWD + 5 + len(refused)))
    assert {endings(outcomes)[index] for index in returns.shown} == {"served"}
    starts = sorted(outcomes.arrival_us[list(returns.shown)].tolist())
    assert all(later - earlier >= 100 * MS for earlier, later in pairwise(starts))


def test_a_run_without_returns_is_as_before() -> None:
    plain = simulate(crowd(), SETUP)
    asked, _ = play(tries=0)
    assert image(plain) == image(asked)


def test_equal_runs_are_equal_to_the_byte() -> None:
    assert image(play(tries=3)[0]) == image(play(tries=3)[0])


def test_an_oracle_brings_one_client_back_earlier_and_without_its_place() -> None:
    _, returns = play()
    index = min(returns.told)
    outcomes, again = play(earlier={index: 3 * S + 1 * MS + CROWD})
    (came,) = [new for new, first in again.first_of.items() if first == index]
    assert outcomes.arrival_us[came] == 3 * S + 1 * MS + CROWD
    assert came not in again.shown
