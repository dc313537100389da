"""Whether a function's minReplicas cost more than it may, at the prices there are: told when it is applied. Pure."""

from collections.abc import Sequence

from stoker.control.capacity import needs_of
from stoker.cost.money import money
from stoker.cost.prices import micro, prices_of
from stoker.cost.rates import rate_of
from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.policy import Policy


def over_bound(function: Function, devices: Sequence[Device], policy: Policy) -> str | None:
    """Why its minReplicas can never all be had, in one sentence; None: they can, or nothing has a price.

    Each is counted idle, on the cheapest devices that would do, as if these were enough.
    """
    count = function.spec.scaling.min_replicas
    prices = prices_of(devices, policy.prices)
    if not count or not prices:
        return None
    rates = []
    for need in needs_of(function, function.primary):
        usable = sorted((d for d in devices if need.could_use(d)), key=lambda device: prices.get(device.id, 0))
        if len(usable) >= need.count:
            rates.append(rate_of(need, usable[: need.count], prices, 0))
    if not rates:
        return None
    least = count * min(rates)
    own, others = function.spec.slo.cost.per_hour, policy.rule(function.namespace).max_cost_per_hour
    for most, whose in ((own, "spec.slo.maxCostPerHour"), (others, "maxCostPerHour of its namespace in the GpuPolicy")):
        if most is not None and least > micro(most):
            return (
                f"{count} {'replica costs' if count == 1 else 'replicas cost'} at least {money(least)} an hour, more "
                f"than the {money(micro(most))} of {whose}: lower it, or have the bound raised"
            )
    return None
