"""In which order devices are offered to a queueing policy, and what comes of an offer. Pure; changes the policy only.

A device never idles while a request that it could run is queued: whoever drives a policy offers the devices of a flow
when one of its requests comes, and a device when something on it ends, each again and again until nothing is popped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from stoker.cost.prices import listed
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.slots.table import AnyReplica, DeviceSlots, FlowState

_DEAREST = float("inf")
P = TypeVar("P", bound=AnyReplica)


def least_loaded_first(devices: Iterable[DeviceSlots[P]]) -> Sequence[DeviceSlots[P]]:
    """The devices of a flow in the order in which a new request of it is offered; equally loaded ones as given."""
    return sorted(devices, key=_load)


def cheapest_first(
    flow: FlowState[P],
    request: QueuedRequest,
    *,
    prices: Mapping[str, float],
    predictions: Predictions,
    now_us: int,
) -> Sequence[DeviceSlots[P]]:
    """The devices of its flow in the order in which a new request is offered: of those that have a slot free and would
    end it on time the one that runs it for the least money first (`prices` by product and hour), then the others, the
    least loaded first. By load alone where a product has no price: it cannot be said then which device is cheaper.
    """
    ranked = least_loaded_first(flow.devices)
    function = flow.definition
    if function is None or flow.product is not None:
        return ranked
    costs: dict[str, float] = {}
    for one in ranked:
        product = one.device.product
        price = listed(product, prices)
        if price is None:
            return ranked
        exec_us = predictions.exec_us(function, flow.variant, product, one.running + 1).us
        if one.has_slot() and now_us + exec_us <= request.objective_us:
            costs[one.device.id] = price * exec_us
    return sorted(ranked, key=lambda one: costs.get(one.device.id, _DEAREST))


def pop_for(policy: QueuePolicy, device: DeviceSlots[P], now_us: int) -> tuple[QueuedRequest, P | None] | None:
    """The request that runs next on the device, taken out of the policy, and the replica for it.

    None: there is no free slot or nothing for it. No replica: it must not run any more, because its timeout has passed
    or because it can no longer be on time and may not be served late (the policy has been told that it is done).
    """
    if not device.ready or not device.has_slot():
        return None
    request = policy.pop(device.view, now_us)
    if request is None:
        return None
    if request.timeout_us <= now_us or (not request.late_ok and request.latest_start_us < now_us):
        policy.done(request, 0)
        return request, None
    replica = device.choose(request.flow)
    assert replica is not None, f"{policy.name} popped {request.flow}, which is not eligible on the slot"
    return request, replica


def _load(device: DeviceSlots[P]) -> float:
    return device.running / (device.slots or max(1, device.device.millicores // 1000))
