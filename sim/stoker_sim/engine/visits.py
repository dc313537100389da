"""What the simulated gateway keeps of functions and requests: plain state, as in the live one. It decides nothing."""

from collections.abc import Mapping

from msgspec import Struct

from stoker.admission import PRIMARY, Course, may_choose
from stoker.model.demand import VariantDemand
from stoker.model.function import Function, Variant
from stoker.names import flow_of
from stoker.retry_budget import RetryBudget


class Side:
    """Who wants one variant of a function."""

    def __init__(self, function: Function, variant: Variant) -> None:
        self.variant = variant
        self.function = function.key
        self.key = flow_of(function.key, variant, function.primary)
        self.warm = 0
        self.held: dict[Visit, None] = {}
        self.in_system = 0
        self.arrivals = 0
        self.last_wake_us: int | None = None

    def demand(self) -> VariantDemand:
        oldest_us = min((visit.arrived_us for visit in self.held), default=None)
        return VariantDemand(
            held=len(self.held),
            in_system=self.in_system,
            last_wake_us=self.last_wake_us,
            oldest_held_us=oldest_us,
            arrivals=self.arrivals,
        )


class State:
    """One function at the gateway."""

    def __init__(self, function: Function, unplaceable: Mapping[Variant, str]) -> None:
        self.function = function
        self.unplaceable = unplaceable
        self.sides = {variant: Side(function, variant) for variant in function.variants}
        self.primary = self.sides[function.primary]
        self.chooses = may_choose(function)
        self.first = function.primary
        """The variant that a device choice sent a request to last."""
        self.undispatched = 0
        self.retry_budget = RetryBudget()


class Visit(Struct, eq=False):
    """One request that was let in and has no answer yet."""

    index: int
    state: State
    side: Side
    arrived_us: int
    objective_us: int
    timeout_us: int
    course: Course = PRIMARY
    held_since_us: int = 0
    miss_step: int = 0
    late_ok: bool = False
    """Of its hold: it is taken even if it is predicted to miss."""
    queued: bool = True
    """It counts in its function's queue."""
    forecast_late: bool = False
    """It was taken although a miss is predicted, or after a hold that began so."""
