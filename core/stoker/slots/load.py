"""The fast facts of one flow on one agent: what its load stream tells of it, and gateways choose by."""

from typing import Any

from stoker.model.replica import ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.slots.forecast import predicted_wait_us
from stoker.slots.table import FlowState
from stoker.wire.agent import VariantLoad


def load_of(flow: FlowState[Any], policy: QueuePolicy, predictions: Predictions, now_us: int) -> VariantLoad:
    """The load of a flow now; without a definition (its function was deleted) its counts only."""
    definition = flow.definition
    load = VariantLoad(
        warm=flow.count(ReplicaState.WARM),
        starting=flow.count(ReplicaState.STARTING),
        draining=flow.count(ReplicaState.DRAINING),
        free=flow.free(),
        queued=policy.queued(flow.key),
        running=flow.running,
        product=flow.product or "",
    )
    if definition is not None:
        exec_time = predictions.exec_us(definition, flow.variant, flow.product)
        start = predictions.start_us(definition, flow.variant)
        load.exec_ms, load.samples = exec_time.us / 1000, exec_time.samples
        load.start_ms, load.start_samples = start.us / 1000, start.samples
        one_more = QueuedRequest(
            id="",
            flow=flow.key,
            variant=flow.variant,
            arrival_us=now_us,
            objective_us=now_us + definition.spec.slo.latency_us,
            timeout_us=now_us + definition.spec.timeout_us,
            predicted_exec_us=exec_time.us,
        )
        wait_us = predicted_wait_us(one_more, flow, definition, policy=policy, predictions=predictions, now_us=now_us)
        load.wait_ms = wait_us / 1000
    return load
