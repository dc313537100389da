"""Functions at rest: no replica, nothing wanted, and nothing in memory that a plan could act on or bring up to date.

A plan passes over them. It is made anew every few seconds and at every change, and of many functions most are at rest:
to find that out costs a twentieth of what folding in, sizing and charging them does (measured: 100 functions). What
their usage has decayed to is told by its instant, whenever somebody asks. It decides nothing.
"""

from msgspec.structs import replace

from stoker.control import keeping, prewarming
from stoker.control.draft import Draft
from stoker.control.planning import Credit, FunctionMemory, Pair
from stoker.model.demand import VariantDemand
from stoker.model.function import Function


def stirred(draft: Draft) -> set[str]:
    """Keys of all functions of which something is there or happened, their gateways' demand aside."""
    observed = draft.observed
    found = {pair[0] for pair in draft.fleet.pairs()}
    found.update(failure.function for failure in observed.failures)
    found.update(claim.function for claim in observed.memory.claims)
    found.update(observed.queued)
    return found


def is_at_rest(draft: Draft, function: Function) -> bool:
    """Whether this plan leaves a function that is not stirred as it is. Its memory is brought up to date if so."""
    memory = draft.memory[function.key]
    if (
        function.spec.scaling.min_replicas
        or not _is_settled(memory, function)
        or prewarming.sees_ahead(function, draft.params)
        or draft.purse.caps_of(function.key)
    ):
        return False
    clocks = draft.clocks
    for variant, credit in memory.credit.items():
        if credit.clock != clocks.get(variant, 0.0):
            credits_now = {one: Credit(clock=clocks.get(one, 0.0)) for one in memory.credit}
            draft.memory[function.key] = replace(memory, credit=credits_now)
            break
    demand = draft.observed.demand.get(function.key)
    return demand is None or all(_is_over(draft, function, (function.key, v), d) for v, d in demand.items())


def _is_settled(memory: FunctionMemory, function: Function) -> bool:
    """Whether all that is remembered says nothing but that it had replicas once, or none."""
    if (
        memory.uid != function.uid
        or memory.target != function.revision
        or not _is_ready(memory.last_ready, function)
        or memory.trying_since_us is not None
        or memory.failed is not None
        or memory.back_off
        or memory.waiting_since_us
        or memory.unfit_on
        or memory.sizing
        or memory.arrivals.last_us is not None
        or len(memory.credit) != len(function.variants)
    ):
        return False
    # Loops, since any() costs as much as all that it would look at here, of each function in each plan.
    for credit in memory.credit.values():
        if credit.served or credit.frequency or credit.since_us:
            return False
    for usage in memory.usage.values():  # noqa: SIM110  as above
        if usage.held:
            return False
    return True


def _is_ready(last_ready: Function | None, function: Function) -> bool:
    """Whether the function was ready as it is, or never. In a replay it is equal and no more."""
    return last_ready is None or last_ready is function or last_ready == function


def _is_over(draft: Draft, function: Function, pair: Pair, demand: VariantDemand) -> bool:
    """Whether a gateway's demand wants nothing any more: nobody waits or runs, and the last wake has been answered."""
    if demand.in_system or demand.held:
        return False
    woken_us = draft.last_wake_us(pair)
    if woken_us is None or pair[1] not in function.variants:
        return True
    return draft.now_us >= woken_us + max(draft.params.wake_us, keeping.stays_us(draft, function, pair))
