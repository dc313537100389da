"""How long one more request of a flow would wait here: the agent's live state, put to stoker.prediction.

Reads the replica table and the policy and changes neither.
"""

from stoker.model.function import Function
from stoker.model.replica import ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions, predict_wait_us
from stoker_node.call import Call
from stoker_node.replica_table import FlowState


def predicted_wait_us(
    request: QueuedRequest,
    flow: FlowState,
    function: Function,
    *,
    policy: QueuePolicy,
    predictions: Predictions,
    now_us: int,
) -> int:
    """Predicted time until the request, which is not queued, would be dispatched."""
    if flow.has_free_slot() and not flow.promised_us and not policy.queued(flow.key):
        return 0
    flows = {flow.key}
    remaining_us: list[int] = []
    servers = 0
    for device in flow.devices:
        mine = [r for r in device.residents if r.flow is flow and r.state is ReplicaState.WARM]
        if device.slots is None or mine[0].exclusive or all(replica.free() == 0 for replica in mine):
            # Its own concurrency is what it waits for.
            servers += sum(replica.concurrency for replica in mine)
            running = [call for replica in mine for call in replica.running]
        else:
            # A slot of the device is what it waits for, together with everybody who lives there.
            servers += device.slots
            running = [call for replica in device.residents for call in replica.running]
            flows.update(r.flow.key for r in device.residents if r.state is ReplicaState.WARM)
        remaining_us += [_remaining_us(call, now_us) for call in running]
    ahead_us = policy.work_ahead_us(request, flows) + flow.promised_us
    if servers:
        return predict_wait_us(remaining_us, ahead_us, servers)
    starting = [replica for replica in flow.replicas.values() if replica.state is ReplicaState.STARTING]
    start_us = predictions.start_us(function, flow.variant).us
    left_us = min((max(0, replica.started_us + start_us - now_us) for replica in starting), default=start_us)
    return left_us + predict_wait_us((), ahead_us, sum(replica.concurrency for replica in starting))


def _remaining_us(call: Call, now_us: int) -> int:
    """Predicted time to the end of a run. One that has overrun is expected to do so by as much again.

    A replica that hangs must not look as if it came free at any moment.
    """
    return abs(call.dispatched_us + call.request.predicted_exec_us - now_us)
