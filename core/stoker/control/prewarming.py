"""What a function wants ahead of its requests: asks its pre-warm policy, and folds what the policy learns from.

The same in both modes: it sees wakes, demand and two clocks. The keep-alive policy HybridHistogram reads the same
history: where it shows when the next request comes, that replaces keepAlive.ttl.
"""

from stoker.control.planning import PlanParams
from stoker.model.function import Function, KeepAlivePolicy, PreWarm, PreWarmPolicy
from stoker.policies.prewarm import histogram
from stoker.policies.prewarm.interface import ArrivalHistory, Forecast, Outlook
from stoker.policies.prewarm.registry import PREWARM

_MARGIN_US = 1_000_000
"""A plan may come this late."""
_NO_HISTORY = ArrivalHistory()


def learn(
    function: Function, params: PlanParams, history: ArrivalHistory, woken_us: int | None, now_us: int, *, busy: bool
) -> ArrivalHistory:
    """The history with what is known now; empty for a function that learns nothing."""
    scaling = function.spec.scaling
    policy = params.pre_warm if scaling.pre_warm is None else scaling.pre_warm.policy
    if scaling.keep_alive is KeepAlivePolicy.HYBRID_HISTOGRAM or PREWARM[policy].learns:
        return histogram.learn(history, woken_us, now_us, busy=busy)
    return history if history == _NO_HISTORY else _NO_HISTORY


def forecast(  # noqa: PLR0917  as above
    function: Function, params: PlanParams, history: ArrivalHistory, now_us: int, wall_us: int, start_us: int
) -> Forecast:
    """What is wanted now. `start_us`: how long a replica usually takes to be warm."""
    scaling = function.spec.scaling
    pre_warm = scaling.pre_warm or PreWarm(policy=params.pre_warm)
    policy = PREWARM[pre_warm.policy]
    # A start-up is known by its mean: a quarter more makes most of them early enough.
    lead_us = start_us + start_us // 4 + _MARGIN_US
    found = policy.forecast(
        Outlook(
            pre_warm=pre_warm,
            history=history,
            now_us=now_us,
            wall_us=wall_us,
            lead_us=lead_us,
            keep_max_us=params.keep_alive_max_us,
        )
    )
    keep_us = scaling.keep_alive_ttl_us
    if scaling.keep_alive is KeepAlivePolicy.HYBRID_HISTOGRAM:
        windows = histogram.expected(history)
        if windows is not None:
            # What the histogram brings back before the next request need not wait for it.
            keep_us = 0 if policy.learns and windows.head_us > 0 else windows.tail_us
    if params.keep_alive_max_us is not None:
        keep_us = min(keep_us, params.keep_alive_max_us)
    if keep_us == scaling.keep_alive_ttl_us:
        return found
    return Forecast(firm=found.firm, weak=found.weak, until_us=found.until_us, keep_us=keep_us)


def sees_ahead(function: Function, params: PlanParams) -> bool:
    """Whether there is anything to forecast for the function; for most there is not, and they cost nothing."""
    scaling = function.spec.scaling
    policy = params.pre_warm if scaling.pre_warm is None else scaling.pre_warm.policy
    return (
        policy is not PreWarmPolicy.NONE
        or scaling.keep_alive is KeepAlivePolicy.HYBRID_HISTOGRAM
        or params.keep_alive_max_us is not None
    )
