"""What a function wants ahead of its requests: asks its pre-warm policy, and folds what the policy learns from.

The same in both modes: it sees wakes, demand and two clocks. The keep-alive policy HybridHistogram reads the same
history (stoker.control.keeping).
"""

from stoker.control.planning import PlanParams
from stoker.model.function import Function, KeepAlivePolicy, PreWarm, PreWarmPolicy
from stoker.policies.prewarm import histogram
from stoker.policies.prewarm.interface import ArrivalHistory, Forecast, Outlook
from stoker.policies.prewarm.registry import PREWARM

_MARGIN_US = 1_000_000
"""A plan may come this late."""
_NO_HISTORY = ArrivalHistory()
_BY_HISTORY = (KeepAlivePolicy.HYBRID_HISTOGRAM, KeepAlivePolicy.HAZARD_RATE)


def learn(
    function: Function, params: PlanParams, history: ArrivalHistory, woken_us: int | None, now_us: int, *, busy: bool
) -> ArrivalHistory:
    """The history with what is known now; empty for a function that learns nothing."""
    if _keeps_by_history(function, params) or PREWARM[_policy_of(function, params)].learns:
        return histogram.learn(history, woken_us, now_us, busy=busy)
    return history if history == _NO_HISTORY else _NO_HISTORY


def forecast(  # noqa: PLR0917  as above
    function: Function,
    params: PlanParams,
    history: ArrivalHistory,
    now_us: int,
    wall_us: int,
    start_us: int,
    share: float = 1.0,
) -> Forecast:
    """What is wanted now. `start_us`: how long a replica usually takes to be warm; `share`: the part of a device that
    it keeps from others.
    """
    pre_warm = function.spec.scaling.pre_warm or PreWarm(policy=params.pre_warm)
    # A start-up is known by its mean: a quarter more makes most of them early enough.
    lead_us = start_us + start_us // 4 + _MARGIN_US
    return PREWARM[pre_warm.policy].forecast(
        Outlook(
            pre_warm=pre_warm,
            history=history,
            now_us=now_us,
            wall_us=wall_us,
            lead_us=lead_us,
            start_us=start_us,
            share=share,
            wait_weight=params.wait_weight,
            keep_max_us=params.keep_alive_max_us,
        )
    )


def brings_back(function: Function, params: PlanParams) -> bool:
    """Whether the policy makes a replica warm again before the next request that its history lets expect."""
    return PREWARM[_policy_of(function, params)].learns


def sees_ahead(function: Function, params: PlanParams) -> bool:
    """Whether there is anything to learn or forecast; for most functions there is not, and they cost nothing."""
    return _policy_of(function, params) is not PreWarmPolicy.NONE or _keeps_by_history(function, params)


def _policy_of(function: Function, params: PlanParams) -> PreWarmPolicy:
    pre_warm = function.spec.scaling.pre_warm
    return params.pre_warm if pre_warm is None else pre_warm.policy


def _keeps_by_history(function: Function, params: PlanParams) -> bool:
    return (function.spec.scaling.keep_alive or params.keep_alive) in _BY_HISTORY
