"""Admission at a gateway: which variant a request goes to, whether it is held, or why it is refused. Pure.

A request has a course: the variant that it is sent to first, which is the primary one unless a device-choice policy
says otherwise (stoker.device_chooser). Only when that one is predicted to miss its objective is `onPredictedMiss`
walked, in order: Divert takes the other variant if that is predicted on time (its own start-up counted), ServeLate
takes the first one anyway, Refuse refuses. A list that ends without an answer refuses. The prediction of a warm variant
is the agent's own and comes as its refusal; that of a cold one is made here from the load stream.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from stoker.cost.costs import Bound
from stoker.model.function import Function, OnMiss, QueueBounds, Variant
from stoker.reasons import DeviceReason, Reason

MIN_RETRY_AFTER_US = 50_000
"""Nobody is told to come back sooner: it would only add load."""
NEVER_RETRY_AFTER_US = 60_000_000
"""When to come back where no device could ever serve: only a change of the function or of the devices helps. Nor is a
queue forecast for longer.
"""
_LONGEST_US = 24 * 3_600_000_000
"""No timeout is longer."""


class Forecast(Struct, frozen=True, kw_only=True):
    """What is known of one variant over all agents that can be reached."""

    warm: int = 0
    starting: int = 0
    wait_us: int = 0
    """Predicted wait of one more request."""
    exec_us: int = 0
    start_us: int = 0
    """Predicted start-up, cold to warm."""
    measured: bool = True
    """It has run before: `exec_us` is not the prior."""
    busy: bool = False
    """Requests wait or run there, by the last word of an agent."""
    estimated: bool = True
    """The prediction is a mean or a prior, without a calibrated margin."""
    unplaceable: str = ""
    """Why no device could ever hold a replica, in words; empty: one could."""
    denied: str = ""
    """Why a bound on cost pays for no replica now, in words; empty: one may be had."""
    denied_us: int | None = 0
    """For how long; None: time alone changes nothing."""

    @property
    def finish_us(self) -> int:
        """Predicted time from now to the end of one more request. While none is warm, `wait_us` may count the rest
        of a start that is under way, so the larger of the two is taken, not their sum.
        """
        if self.warm:
            return self.exec_us + self.wait_us
        denied_us = _LONGEST_US if self.denied_us is None else self.denied_us
        return self.exec_us + max(self.start_us, self.wait_us) + denied_us


class Send(Struct, frozen=True, tag=True, omit_defaults=True):
    """To an agent with a warm replica of the variant."""

    variant: Variant
    late_ok: bool = False
    """It is taken even if it is predicted to miss."""


class Hold(Struct, frozen=True, tag=True, omit_defaults=True):
    """Wait in the gateway until a replica of the variant is warm."""

    variant: Variant
    late_ok: bool = False


class Refuse(Struct, frozen=True, tag=True, omit_defaults=True):
    """Answer now."""

    reason: Reason
    predicted_finish_us: int | None = None
    estimated: bool = False
    detail: str = ""


_LEFT_FOR = {Reason.OVER_SHARE: DeviceReason.OVER_SHARE, Reason.COST_BOUND: DeviceReason.COST_BOUND}
"""Why a request was not taken on the variant that it left, where that is no predicted miss."""

Choice = Send | Hold | Refuse
Forecasts = Mapping[Variant, Forecast]
"""A variant that is missing is one of which nothing is known yet."""


class Course(Struct, frozen=True, omit_defaults=True):
    """Where a request is sent first."""

    variant: Variant | None = None
    """None: the function's primary one."""
    crosses: bool = True
    """Divert may take it to the other variant."""
    wakes_cpu: bool = False
    """It begins on the GPU because the CPU variant is not warm yet, or was never measured: that one is to be woken."""


PRIMARY = Course()
"""The course of a request of which no policy has said anything."""


class Crowd(Struct, frozen=True, kw_only=True):
    """How many requests of a function, and bytes of theirs, one gateway has let in that are not dispatched yet."""

    requests: int
    body_bytes: int
    gateways: int = 1
    """So many gateways are ready; each lets in its share."""


def queue_full(bounds: QueueBounds, crowd: Crowd, body_bytes: int) -> bool:
    """Whether one more request would exceed this gateway's share, rounded up, of the function's queue."""
    if crowd.requests >= -(-bounds.max_requests // crowd.gateways):
        return True
    # A body that the whole queue could take is not refused because it is larger than a share of it.
    share_bytes = -(-bounds.max_bytes // crowd.gateways) if crowd.requests else bounds.max_bytes
    return crowd.body_bytes + body_bytes > share_bytes


def may_choose(function: Function) -> bool:
    """Whether requests of the function may go to either variant: it has both, and permits Divert."""
    return (
        function.primary is not Variant.CPU
        and Variant.CPU in function.variants
        and OnMiss.DIVERT in function.spec.on_predicted_miss
    )


def choose(
    function: Function, forecasts: Forecasts, remaining_us: int, *, wakes: bool, course: Course = PRIMARY
) -> tuple[Choice, int]:
    """The first choice for a request, and where after_miss() goes on from.

    `remaining_us` is the time left to its objective: slo.coldLatency's if the first variant has no warm replica.
    """
    first = course.variant or function.primary
    forecast = forecasts.get(first)
    if forecast is not None and forecast.warm:
        return Send(first), 0
    if not wakes:
        return Refuse(Reason.SCALED_TO_ZERO), len(function.spec.on_predicted_miss)
    if forecast is None or (not forecast.unplaceable and forecast.finish_us <= remaining_us):
        return Hold(first), 0
    return after_miss(function, forecasts, remaining_us, 0, wakes=True, course=course)


def after_miss(
    function: Function,
    forecasts: Forecasts,
    remaining_us: int,
    step: int,
    *,
    wakes: bool,
    course: Course = PRIMARY,
) -> tuple[Choice, int]:
    """The next choice in `onPredictedMiss` from `step` on, and the step after it.

    A path that wakes nothing (`wakes` False) goes to what is warm and is held for nothing.
    """
    first = course.variant or function.primary
    forecast = forecasts.get(first)
    actions = function.spec.on_predicted_miss
    for index in range(step, len(actions)):
        action = actions[index]
        if action is OnMiss.REFUSE:
            break
        if action is OnMiss.DIVERT:
            second = Variant.GPU if first is Variant.CPU else Variant.CPU
            other = forecasts.get(second)
            permitted = course.crosses and may_choose(function)
            if not permitted or other is None or other.unplaceable or not (wakes or other.warm):
                continue
            if other.finish_us <= remaining_us:
                return (Send(second) if other.warm else Hold(second)), index + 1
        elif forecast is None or not (forecast.unplaceable or forecast.denied):
            warm = forecast is not None and forecast.warm
            if not warm and not wakes:
                return Refuse(Reason.SCALED_TO_ZERO), len(actions)
            return (Send(first, late_ok=True) if warm else Hold(first, late_ok=True)), index + 1
    if forecast is not None and forecast.unplaceable:
        return Refuse(Reason.NO_FITTING_DEVICE, detail=forecast.unplaceable), len(actions)
    if forecast is not None and forecast.denied:
        return Refuse(Reason.COST_BOUND, detail=forecast.denied), len(actions)
    if forecast is None:
        return Refuse(Reason.PREDICTED_MISS), len(actions)
    return Refuse(Reason.PREDICTED_MISS, forecast.finish_us, forecast.estimated), len(actions)


def barred(bound: Bound | None, known: Forecast | None, now_us: int) -> Forecast | None:
    """What is known of a variant of which a bound on cost pays for no replica: what is warm or starts serves all the
    same, unless each request is too dear. `bound`: of the variant, on the clock of `now_us`; one that is over is none.
    """
    if bound is None or (bound.until_us is not None and bound.until_us <= now_us):
        return known
    if known is not None and (known.warm or known.starting) and not bound.warm_too:
        return known
    return replace(
        known or Forecast(measured=False),
        warm=0,
        starting=0,
        wait_us=0,
        denied=bound.detail,
        denied_us=None if bound.until_us is None else bound.until_us - now_us,
    )


def under(bounds: Mapping[Variant, Bound], known: Forecasts, now_us: int) -> Forecasts:
    """What is known of the variants of a function under these bounds on cost."""
    if not bounds:
        return known
    found = {variant: barred(bound, known.get(variant), now_us) for variant, bound in bounds.items()}
    return {**known, **{variant: forecast for variant, forecast in found.items() if forecast is not None}}


def unless_missed(choice: Choice, otherwise: Send | Hold) -> Choice:
    """What becomes of a choice where nobody is refused for a predicted miss (GpuPolicy admission.mode Observe)."""
    return otherwise if isinstance(choice, Refuse) and choice.reason is Reason.PREDICTED_MISS else choice


def missed_variants(
    function: Function, choice: Choice, start: int, end: int, course: Course = PRIMARY
) -> tuple[Variant, ...]:
    """The variants that a walk from step `start` to `end` wanted and could not have, beside a first one on the GPU,
    which is woken for every request: they are wanted warm then, or a variant that starts more slowly than its objective
    would never serve anybody.
    """
    if not may_choose(function):
        return ()
    wanted = [Variant.CPU] if course.variant is Variant.CPU else []
    if course.crosses and OnMiss.DIVERT in function.spec.on_predicted_miss[start:end]:
        wanted.append(Variant.GPU if wanted else Variant.CPU)
    taken = None if isinstance(choice, Refuse) else choice.variant
    return tuple(variant for variant in wanted if variant is not taken)


def device_reason(
    function: Function, choice: Send | Hold, course: Course = PRIMARY, refused: Reason = Reason.PREDICTED_MISS
) -> DeviceReason:
    """Why a request goes where a choice sends it. `refused`: why an agent did not take it, if one was asked."""
    if not may_choose(function):
        return DeviceReason.ONLY_VARIANT
    if choice.late_ok:
        return DeviceReason.SERVED_LATE
    if choice.variant is not (course.variant or function.primary):
        return _LEFT_FOR.get(refused, DeviceReason.PREDICTED_MISS)
    return DeviceReason.NOT_WARM_ELSEWHERE if course.wakes_cpu else DeviceReason.CHOSEN


def retry_after_us(forecast: Forecast | None) -> int:
    """When a refused client may come back: the predicted wait, or the predicted start while nothing is warm."""
    if forecast is None:
        return 1_000_000
    if forecast.unplaceable or forecast.denied_us is None:
        return NEVER_RETRY_AFTER_US
    if forecast.denied:
        return max(MIN_RETRY_AFTER_US, forecast.denied_us + forecast.start_us)
    if forecast.warm:
        return max(MIN_RETRY_AFTER_US, min(NEVER_RETRY_AFTER_US, forecast.wait_us))
    return max(MIN_RETRY_AFTER_US, forecast.start_us, min(NEVER_RETRY_AFTER_US, forecast.wait_us))
