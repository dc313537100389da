"""Which variant a request goes to: the device choice of this gateway, then admission, for a visit and what is known.

Decides by the view of the load streams and asks the core for each answer; it sends and holds nothing. What of the
GpuPolicy acts in a gateway is kept here.
"""

from collections.abc import Callable, Mapping

from stoker import admission
from stoker.admission import Choice, Course, Hold, Refuse, Send, device_reason, missed_variants, unless_missed
from stoker.decider import Decider
from stoker.device_chooser import NOBODY
from stoker.model.function import OnMiss, Variant
from stoker.model.policy import AdmissionMode, Policy, default_policy
from stoker.model.quantity import format_duration
from stoker.policies.device_choice.interface import ChoiceParams
from stoker.reasons import DeviceReason, Reason
from stoker.wire.agent import Refusal
from stoker_gateway.load_view import LoadView
from stoker_gateway.visit import FunctionState, Visit

_SEND = {variant: Send(variant) for variant in Variant}
_WHY = {
    Reason.PREDICTED_MISS: "predicted to miss its objective",
    Reason.OVER_SHARE: "over its share",
    Reason.SHED: "gave way to a higher priority",
    Reason.COST_BOUND: "not paid for by a bound on cost",
}
"""By each of MISSES, and what a gateway finds out itself."""


class Choosing:
    """See the module."""

    def __init__(
        self,
        *,
        clock_us: Callable[[], int],
        view: LoadView,
        decider: Decider,
        seed: int,
        on_wake: Callable[[], None],
    ) -> None:
        """`seed` is for a device choice that draws. `on_wake` is called when a variant was woken that no request of its
        own wants yet.
        """
        self._clock_us = clock_us
        self._view = view
        self._decider = decider
        self._on_wake = on_wake
        self._params = ChoiceParams(seed=seed)
        self._enforces = True
        self._chooser = decider.make_device_chooser(default_policy().device_choice, self._params)
        self.prices: Mapping[str, float] = {}
        """Of devices, by product and hour."""

    def set_policy(self, policy: Policy) -> None:
        """What of the GpuPolicy acts on the requests that come from now on. Raises UnknownName for a device choice that
        there is not, and changes nothing.
        """
        if policy.device_choice != self._chooser.name:
            self._chooser.exchange(policy.device_choice, self._params)
        # Without an admission policy nobody is refused for a predicted miss, also not by the gateway while it is cold.
        self._enforces = policy.admission is AdmissionMode.ENFORCE and policy.admission_policy != "none"
        self.prices = policy.prices

    def knows_first(self, state: FunctionState) -> bool:
        """Whether every request of the function goes to its primary variant first, so that it can be woken before
        first() is asked.
        """
        return not state.chooses

    def first(self, visit: Visit, state: FunctionState) -> Choice:
        """Where a visit that was let in goes first."""
        if not state.chooses:
            visit.device_reason = DeviceReason.ONLY_VARIANT
            wanted = state.primary
        else:
            visit.course = self._course(visit, state)
            wanted = state.variant(visit.course.variant or state.primary.variant)
            visit.device_reason = device_reason(state.function, _SEND[wanted.variant], visit.course)
        return _SEND[wanted.variant] if wanted.warm else self._first_cold(visit, state, wanted.variant)

    def after_miss(
        self, visit: Visit, state: FunctionState, on: Variant, refused: Reason, said: Refusal | None = None
    ) -> Choice:
        """Where it goes when an agent has refused it `on` a variant, for one of MISSES, with these words; or when a
        bound on cost has (CostBound).
        """
        now_us = self._clock_us()
        visit.note(now_us, f"{_WHY[refused]} on the {on} variant{_predicted(said)}")
        step = visit.miss_step
        choice, visit.miss_step = self._decider.after_miss(
            state.function,
            self._view.forecasts(state.key),
            visit.objective_at_us - now_us,
            step,
            wakes=visit.wakes,
            course=visit.course,
        )
        if not self._enforces:
            choice = unless_missed(choice, Send(on, late_ok=True))
        self._goes(visit, state, choice, step, refused)
        if type(choice) is Send:
            how = "late ones are served too" if choice.late_ok else "it is predicted on time there"
            visit.note(now_us, f"sent to the {choice.variant} variant: {how}")
        return choice

    def would_refuse(self, visit: Visit, state: FunctionState) -> bool:
        """Whether a miss that an agent predicts now would end in a refusal. Only to ask for a place or not: nothing is
        decided by it.
        """
        if not self._enforces:
            return False
        following = state.function.spec.on_predicted_miss[visit.miss_step :]
        if not (state.chooses and OnMiss.DIVERT in following):
            # The forecasts change nothing then, and making them takes longer than all the rest of a refusal.
            before = following[: following.index(OnMiss.REFUSE)] if OnMiss.REFUSE in following else following
            return OnMiss.SERVE_LATE not in before
        left_us = visit.objective_at_us - self._clock_us()
        choice, _ = admission.after_miss(
            state.function,
            self._view.forecasts(state.key),
            left_us,
            visit.miss_step,
            wakes=visit.wakes,
            course=visit.course,
        )
        return type(choice) is Refuse

    def _course(self, visit: Visit, state: FunctionState) -> Course:
        now_us, chooser = self._clock_us(), self._chooser
        forecasts = self._view.forecasts(state.key)
        course = chooser.course(
            state.function,
            forecasts,
            visit.objective_at_us - now_us,
            wakes=visit.wakes,
            crowd=self._view.crowd() if chooser.sees_load else NOBODY,
        )
        variant = course.variant or state.primary.variant
        state.first = variant
        if visit.wakes:
            state.variant(variant).last_wake_us = now_us
            if course.wakes_cpu:
                state.cpu.last_wake_us = now_us
                self._on_wake()
        known = ", ".join(
            f"{format_duration(forecasts[each].finish_us)} on the {each} variant"
            for each in Variant
            if each in forecasts
        )
        woke = ", and woke the cpu variant, which is not warm" if course.wakes_cpu else ""
        visit.note(
            now_us, f"{chooser.name} sent it to the {variant} variant (predicted: {known or 'nothing yet'}){woke}"
        )
        return course

    def _first_cold(self, visit: Visit, state: FunctionState, variant: Variant) -> Choice:
        now_us = self._clock_us()
        cold_us = state.function.spec.slo.cold_latency_us
        visit.objective_us = visit.timeout_at_us - visit.arrived_us if cold_us is None else cold_us
        visit.objective_at_us = min(visit.timeout_at_us, visit.arrived_us + visit.objective_us)
        forecasts = self._view.forecasts(state.key)
        choice, visit.miss_step = self._decider.choose(
            state.function,
            forecasts,
            visit.objective_at_us - now_us,
            wakes=visit.wakes,
            course=visit.course,
        )
        if not self._enforces:
            choice = unless_missed(choice, Hold(variant, late_ok=True))
        forecast = forecasts.get(variant)
        denied = forecast is not None and bool(forecast.denied)
        why = f": {forecast.denied}" if forecast is not None and denied else ""
        visit.note(now_us, f"no warm replica of the {variant} variant{why}")
        self._goes(visit, state, choice, 0, Reason.COST_BOUND if denied else Reason.PREDICTED_MISS)
        return choice

    def _goes(
        self,
        visit: Visit,
        state: FunctionState,
        choice: Choice,
        from_step: int,
        refused: Reason = Reason.PREDICTED_MISS,
    ) -> None:
        """Remember why it goes there. One that would have gone to the CPU variant had that been warm wakes it for those
        that follow.
        """
        if not isinstance(choice, Refuse):
            visit.device_reason = device_reason(state.function, choice, visit.course, refused)
        if not visit.wakes:
            return
        missed = missed_variants(state.function, choice, from_step, visit.miss_step, visit.course)
        for variant in missed:
            state.variant(variant).last_wake_us = self._clock_us()
            visit.note(self._clock_us(), f"woke the {variant} variant, which is not predicted on time now")
        if missed:
            self._on_wake()


def _predicted(said: Refusal | None) -> str:
    """When the agent expected its end, in words behind a sentence."""
    if said is None or said.predicted_finish_ms is None:
        return ""
    return f", to end in {format_duration(said.predicted_finish_ms * 1000)}: {said.detail}"
