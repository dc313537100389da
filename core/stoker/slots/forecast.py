"""How long one more request of a flow would wait: the live state of an agent's slots, put to stoker.prediction.

Reads the replica table and the policy and changes neither. What it reads of the table is a value (Sight), so that an
event log can hold it and ask again.
"""

from typing import Any

from msgspec import Struct

from stoker.model.function import Function
from stoker.model.replica import ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions, predict_wait_us
from stoker.slots.table import FlowState, Run


class Sight(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the wait of one more request depends on, the queue aside."""

    free: bool = False
    """A slot is free for it and nobody is before it; nothing else is looked at then."""
    flows: frozenset[str] = frozenset()
    """Those that it waits with, its own included."""
    promised_us: int = 0
    """Predicted work of its flow that was admitted and is not queued yet."""
    remaining_us: tuple[int, ...] = ()
    """Predicted time to the end of each run that it may have to wait for."""
    servers: int = 0
    """Slots that it may get; 0: none of its replicas is warm."""
    starting: int = 0
    """Concurrency of its replicas that start."""
    start_us: int = 0
    """Predicted time until the first of them is warm, or one that is started now."""


_FREE = Sight(free=True)


def predicted_wait_us(
    request: QueuedRequest,
    flow: FlowState[Any],
    function: Function,
    *,
    policy: QueuePolicy,
    predictions: Predictions,
    now_us: int,
) -> int:
    """Predicted time until the request, which is not queued, would be dispatched."""
    return wait_us(request, look(flow, function, policy=policy, predictions=predictions, now_us=now_us), policy)


def look(
    flow: FlowState[Any], function: Function, *, policy: QueuePolicy, predictions: Predictions, now_us: int
) -> Sight:
    """What one more request of the flow would find."""
    if flow.has_free_slot() and not flow.promised_us and not policy.queued(flow.key):
        return _FREE
    flows = {flow.key}
    remaining_us: list[int] = []
    servers = 0
    for device in flow.devices:
        mine = [r for r in device.residents if r.flow is flow and r.state is ReplicaState.WARM]
        if device.slots is None or mine[0].exclusive or all(replica.free() == 0 for replica in mine):
            # Its own concurrency is what it waits for.
            servers += sum(replica.concurrency for replica in mine)
            running: list[Run] = [run for replica in mine for run in replica.running]
        else:
            # A slot of the device is what it waits for, together with everybody who lives there.
            servers += device.slots
            running = [run for replica in device.residents for run in replica.running]
            flows.update(r.flow.key for r in device.residents if r.state is ReplicaState.WARM)
        remaining_us += [_remaining_us(run, now_us) for run in running]
    if servers:
        return Sight(
            flows=frozenset(flows), promised_us=flow.promised_us, remaining_us=tuple(remaining_us), servers=servers
        )
    replicas = [replica for replica in flow.replicas.values() if replica.state is ReplicaState.STARTING]
    start_us = predictions.start_us(function, flow.variant).us
    return Sight(
        flows=frozenset(flows),
        promised_us=flow.promised_us,
        starting=sum(replica.concurrency for replica in replicas),
        start_us=min((max(0, replica.started_us + start_us - now_us) for replica in replicas), default=start_us),
    )


def wait_us(request: QueuedRequest, sight: Sight, policy: QueuePolicy) -> int:
    """Predicted time until the request, which is not queued, would be dispatched."""
    if sight.free:
        return 0
    ahead_us = policy.work_ahead_us(request, sight.flows) + sight.promised_us
    if sight.servers:
        return predict_wait_us(sight.remaining_us, ahead_us, sight.servers)
    return sight.start_us + predict_wait_us((), ahead_us, sight.starting)


def _remaining_us(run: Run, now_us: int) -> int:
    """Predicted time to the end of a run. One that has overrun is expected to do so by as much again.

    A replica that hangs must not look as if it came free at any moment.
    """
    return abs(run.dispatched_us + run.request.predicted_exec_us - now_us)
