"""Whether an agent takes a request: the prediction of its end, held against its objective. Pure.

A refusal is a value (stoker.wire.agent.Refusal); all of them are estimates, since predictions are means.
"""

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.reasons import Reason
from stoker.slots.forecast import Sight, wait_us
from stoker.wire.agent import Refusal, refuse

RETRY_MIN_US = 50_000
"""Nobody is told to come back sooner."""


def judge(request: QueuedRequest, sight: Sight | None, *, policy: QueuePolicy, accepting: bool) -> Refusal | None:
    """None: the request, which comes now, is taken. Refused while the agent drains (not `accepting`), and where a miss
    of the objective is predicted.

    `sight` is what it finds; None: it is taken even if it is predicted to miss.
    """
    if not accepting:
        return refuse(Reason.DRAINING, "the agent drains and takes no new requests", request.id)
    if sight is None:
        return None
    finish_us = wait_us(request, sight, policy) + request.predicted_exec_us
    late_by_us = finish_us - (request.objective_us - request.arrival_us)
    if late_by_us <= 0:
        return None
    return refuse(
        Reason.PREDICTED_MISS,
        f"it would end {late_by_us // 1000} ms after its objective",
        request.id,
        predicted_finish_us=finish_us,
        retry_after_us=max(RETRY_MIN_US, late_by_us),
        estimated=True,
    )
