"""A promise outlives what happens to its flow, its replicas and the GpuPolicy between the yes and the dispatch."""

import pytest
from msgspec.structs import replace

from stoker.model.function import Variant
from stoker.policies.queueing.lanes import Lane, Room
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import Lookout, Sight
from stoker.slots.table import Replica, ReplicaTable, Run
from stoker.slots.verdict import bind, judge
from stoker.testing.builders import make_function, make_gpu, make_request

pytestmark = pytest.mark.unit

FLOW, OTHER = "default/f", "default/g"
LANE = Lane("g0", ("g0",), 1)


def busy(us: int = 10) -> Sight:
    return Sight(rooms=((LANE, Room(1, (us,))),))


def test_what_was_queued_while_its_flow_had_no_slots_counts_once_it_has_some() -> None:
    policy = make_queueing("least-slack")
    policy.arrange({OTHER: LANE})
    for number in range(5):
        policy.push(make_request(str(number), FLOW, arrival_us=0, objective_us=100, predicted_exec_us=10))
    policy.arrange({OTHER: LANE, FLOW: LANE})
    assert policy.commitments is not None
    assert policy.commitments.ahead_us(OTHER, ((1_000,), 99)) == 50


def test_what_was_queued_counts_again_after_its_flow_had_no_slots_for_a_while() -> None:
    policy = make_queueing("least-slack")
    policy.arrange({FLOW: LANE, OTHER: LANE})
    for number in range(5):
        request = make_request(str(number), FLOW, arrival_us=0, objective_us=100, predicted_exec_us=10)
        request.promise_us = 90
        policy.push(request)
    policy.arrange({OTHER: LANE})
    assert policy.cancel("0") is not None
    policy.arrange({FLOW: LANE, OTHER: LANE})
    tight = make_request("tight", OTHER, arrival_us=0, objective_us=95, predicted_exec_us=60)
    verdict = judge(tight, busy(), policy=policy, accepting=True)
    assert verdict.refusal is not None
    assert "promised" in verdict.refusal.detail


def test_what_nothing_was_promised_of_is_not_dropped_for_being_late() -> None:
    policy = make_queueing("least-slack")
    policy.arrange({FLOW: LANE})
    observed = make_request("observed", FLOW, arrival_us=0, objective_us=100, predicted_exec_us=10)
    observed.late_ok = False
    sight = Sight(rooms=((LANE, Room(1, (10,))),), observes=True)
    verdict = judge(observed, sight, policy=policy, accepting=True)
    assert (verdict.unheeded, verdict.promise_us) == (None, 0), "on time, had the others been refused that were not"
    bind(observed, verdict)
    assert observed.late_ok


def test_nothing_is_promised_for_later_than_the_instant_at_which_it_is_dropped() -> None:
    predictions = Predictions()
    for _ in range(100):
        predictions.observe_finish("default/f", 50.0, 100, 10)
    assert predictions.margin_ppm("default/f", 50.0) < 0, "half of them end sooner than predicted"
    policy = make_queueing("least-slack")
    table: ReplicaTable[Replica[Run]] = ReplicaTable((make_gpu("g0"),))
    lookout = Lookout(predictions)
    request = make_request("r", FLOW, arrival_us=0, objective_us=100, predicted_exec_us=10, percentile=50.0)
    flow = table.flow(FLOW, FLOW, Variant.GPU)
    sight = lookout.sight(request, flow, make_function("f"), policy=policy, takes_late=False, now_us=0)
    assert sight is not None
    verdict = judge(request, replace(sight, free=True), policy=policy, accepting=True)
    assert 0 < verdict.promise_us <= request.latest_start_us
