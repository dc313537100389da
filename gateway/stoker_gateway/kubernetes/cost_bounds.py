"""What requests may not have for what it costs, read from the statuses that the operator writes. Pure.

The times in a status are of the wall clock, a gateway's own are monotonic: they are brought together here.
"""

from datetime import datetime

from stoker.cost.costs import Bound
from stoker.model.function import Variant
from stoker_gateway.kubernetes.objects import GpuFunction, RefusedVariant


def refused(item: GpuFunction | None) -> tuple[RefusedVariant, ...]:
    """What the operator said of a function last."""
    cost = None if item is None or item.status is None else item.status.cost
    return () if cost is None else cost.refused or ()


def bounds_of(said: tuple[RefusedVariant, ...], now_us: int, wall_us: int) -> dict[Variant, Bound]:
    """The same on this gateway's clock. What ended already, or has a time that cannot be read, is left out."""
    found: dict[Variant, Bound] = {}
    for one in said:
        until_us = None
        if one.until is not None:
            try:
                until_us = now_us + round(datetime.fromisoformat(one.until).timestamp() * 1_000_000) - wall_us
            except ValueError:
                continue
            if until_us <= now_us:
                continue
        found[one.variant] = Bound(detail=one.message, until_us=until_us, warm_too=one.warm_too)
    return found
