"""The way of one admitted request: choose a variant, hold while it is cold, try agents, choose again.

Every loop here waits for something that bounds it: a load frame (hold), the walk of onPredictedMiss (each step once),
or the count of losses. The timeout ends all of them from outside.
"""

from collections.abc import Callable

from stoker.admission import Choice, Forecast, Hold, Refuse, Send, misses_cpu
from stoker.decider import Decider
from stoker.model.function import Variant
from stoker.model.quantity import format_duration
from stoker.reasons import Reason
from stoker.wire.agent import INLINE_BYTES
from stoker_gateway.config import GatewaySettings
from stoker_gateway.exchange import MAX_LOSSES, Bounced, Exchange
from stoker_gateway.hold import HoldRoom
from stoker_gateway.inbound import Reply
from stoker_gateway.load_view import LoadView
from stoker_gateway.replies import Replies
from stoker_gateway.visit import FunctionState, Visit

MAX_CANDIDATES = 3
"""The first agent and up to two more."""

_SEND = {variant: Send(variant) for variant in Variant}


class Serving:
    """See the module."""

    def __init__(
        self,
        *,
        clock_us: Callable[[], int],
        view: LoadView,
        room: HoldRoom,
        replies: Replies,
        settings: GatewaySettings,
        on_wake: Callable[[], None],
        decider: Decider,
    ) -> None:
        """`on_wake` is called when a variant was woken that no request of its own wants yet."""
        self._clock_us = clock_us
        self._view = view
        self._room = room
        self._replies = replies
        self._on_wake = on_wake
        self._decider = decider
        self._grace_us = round(settings.control_plane_grace_s * 1_000_000)
        self._exchange = Exchange(replies, settings.agent_connect_s)

    async def serve(self, visit: Visit, state: FunctionState) -> Reply:
        """Answer a visit that was let in. Cancelled from outside at its timeout and when its client leaves."""
        primary = state.primary
        choice: Choice = _SEND[primary.variant] if primary.warm else self._choose_cold(visit, state)
        while True:
            if type(choice) is Hold:
                reply = await self._hold(visit, state, choice)
                if reply is not None:
                    return reply
                # A released request keeps its place: its admission was decided when it was held.
                choice = Send(choice.variant, late_ok=True)
            if type(choice) is Refuse:
                return self._refuse(visit, choice)
            assert type(choice) is Send
            result = await self._send(visit, state, choice)
            if isinstance(result, Reply):
                return result
            choice = self._after(visit, state, choice, result)

    def _choose_cold(self, visit: Visit, state: FunctionState) -> Choice:
        now_us = self._clock_us()
        cold_us = state.function.spec.slo.cold_latency_us
        self._aim(visit, visit.timeout_at_us - visit.arrived_us if cold_us is None else cold_us, visit.arrived_us)
        choice, visit.miss_step = self._decider.choose(
            state.function, self._view.forecasts(state.key), visit.objective_at_us - now_us, wakes=visit.wakes
        )
        visit.note(now_us, f"no warm replica of the {state.primary.variant} variant")
        self._want_cpu(visit, state, choice, 0)
        return choice

    def _want_cpu(self, visit: Visit, state: FunctionState, choice: Choice, from_step: int) -> None:
        """A request that would have been diverted had the CPU variant been warm wakes it for those that follow."""
        if visit.wakes and misses_cpu(state.function, choice, from_step, visit.miss_step):
            state.variant(Variant.CPU).last_wake_us = self._clock_us()
            self._on_wake()
            visit.note(self._clock_us(), "woke the cpu variant, which is not predicted on time now")

    def _aim(self, visit: Visit, objective_us: int, from_us: int) -> None:
        """Set the objective that orders the request; never after its timeout."""
        visit.objective_us = objective_us
        visit.objective_at_us = min(visit.timeout_at_us, from_us + objective_us)

    async def _hold(self, visit: Visit, state: FunctionState, choice: Hold) -> Reply | None:
        """Wait for a warm replica; a Reply if there is no point in it."""
        now_us = self._clock_us()
        variant = state.variant(choice.variant)
        visit.move(variant)
        visit.diverted = choice.variant is not state.function.primary
        if visit.wakes:
            variant.last_wake_us = now_us
        if state.deleted:
            return self._replies.refuse(visit, Reason.FUNCTION_NOT_FOUND, f"The function {state.key} was deleted.")
        if self._view.unusable_for_us() > self._grace_us:
            return self._replies.refuse(
                visit, Reason.CONTROL_PLANE_UNAVAILABLE, "No agent can be reached; the platform is trying to connect."
            )
        if self._room.full(state.function.namespace, visit.body_bytes):
            return self._replies.refuse(
                visit,
                Reason.HOLD_FULL,
                "The gateway holds as many requests for cold functions as it may, in all or of one namespace.",
            )
        if not visit.cold:
            visit.cold = True
            cold_us = state.function.spec.slo.cold_latency_us
            visit.objective_us = visit.timeout_at_us - visit.arrived_us if cold_us is None else cold_us
        visit.note(now_us, f"held for a {choice.variant} replica")
        try:
            found = await self._room.wait(visit, state, variant)
        finally:
            visit.start_us += self._clock_us() - now_us
        released_us = self._clock_us()
        if not found:
            return self._replies.refuse(visit, Reason.FUNCTION_NOT_FOUND, f"The function {state.key} was deleted.")
        visit.objective_at_us = min(visit.timeout_at_us, released_us + visit.latency_us)
        visit.note(released_us, "released to an agent")
        return None

    async def _send(self, visit: Visit, state: FunctionState, choice: Send) -> Reply | Bounced:
        """Try the agents that have the variant warm, until one takes it."""
        variant = state.variant(choice.variant)
        if variant is not visit.variant_state:
            visit.move(variant)
            visit.diverted = choice.variant is not state.function.primary
            if visit.wakes:
                variant.last_wake_us = self._clock_us()
        if visit.body is None and not visit.screened.expects_continue and not visit.body_started:
            await collect_body(visit)
        last: Bounced = Bounced(Reason.NO_REPLICA, sent=False)
        for link in self._view.candidates(state.key, choice.variant)[:MAX_CANDIDATES]:
            link.sent[state.key, choice.variant] += 1
            result = await self._exchange.try_at(link, visit, variant, late_ok=choice.late_ok)
            if isinstance(result, Reply):
                return result
            last = result
            if result.reason is None and result.sent:
                visit.losses += 1
            if visit.body_started or visit.losses >= MAX_LOSSES:
                break
        return last

    def _after(self, visit: Visit, state: FunctionState, choice: Send, bounced: Bounced) -> Choice:
        """What to do with a request that no agent took."""
        now_us = self._clock_us()
        reason = bounced.reason
        if reason is None and visit.losses >= MAX_LOSSES:
            return Refuse(Reason.CONTROL_PLANE_UNAVAILABLE, detail="Its agents were lost before it was dispatched.")
        if visit.body_started:
            return Refuse(
                reason or Reason.CONTROL_PLANE_UNAVAILABLE,
                detail="It was not dispatched, but its body was streamed already and cannot be sent again; repeat it.",
            )
        if reason is not Reason.PREDICTED_MISS:
            visit.note(now_us, "the agent was lost" if reason is None else f"the agent answered {reason}")
            if not visit.wakes:
                return Refuse(Reason.SCALED_TO_ZERO)
            lost = bounced.sent and (reason is None or reason is Reason.REPLICA_FAILED)
            if lost and state.variant(choice.variant).warm:
                # Another replica or connection may do at once; `losses` bounds how often.
                return Send(choice.variant, late_ok=True)
            return Hold(choice.variant, choice.late_ok)
        visit.note(now_us, f"predicted to miss its objective on the {choice.variant} variant")
        forecasts = self._view.forecasts(state.key)
        step = visit.miss_step
        next_choice, visit.miss_step = self._decider.after_miss(
            state.function, forecasts, visit.objective_at_us - now_us, step, wakes=visit.wakes
        )
        self._want_cpu(visit, state, next_choice, step)
        if type(next_choice) is Send:
            how = "late ones are served too" if next_choice.late_ok else "it is predicted on time there"
            visit.note(now_us, f"sent to the {next_choice.variant} variant: {how}")
        if type(next_choice) is Refuse and bounced.refusal is not None and next_choice.reason is reason:
            said = bounced.refusal
            finish_us = None if said.predicted_finish_ms is None else said.predicted_finish_ms * 1000
            return Refuse(reason, finish_us, said.estimated, said.detail)
        return next_choice

    def _refuse(self, visit: Visit, choice: Refuse) -> Reply:
        detail = choice.detail
        if not detail and choice.reason is Reason.SCALED_TO_ZERO:
            detail = "The function is scaled to zero, and its noWakePaths do not wake it."
        elif not detail:
            finish = "" if choice.predicted_finish_us is None else f" in {format_duration(choice.predicted_finish_us)}"
            objective = format_duration(visit.objective_us)
            detail = f"It is predicted to end{finish}, after its objective of {objective}, and onPredictedMiss refuses."
        return self._replies.refuse(
            visit,
            choice.reason,
            detail,
            predicted_finish_us=choice.predicted_finish_us,
            estimated=choice.estimated,
        )


async def collect_body(visit: Visit) -> None:
    """Read a body that is small enough to keep. A chunked one that turns out too large is kept as `prefix`."""
    length = visit.screened.length
    if length > INLINE_BYTES:
        return
    payload = visit.inbound.payload
    data = visit.prefix
    if len(data) > INLINE_BYTES:
        return
    while True:
        data += await payload.readany()
        if payload.at_eof():
            visit.body = data
            return
        if len(data) > INLINE_BYTES:
            visit.prefix = data
            return


def forecast_of(view: LoadView, visit: Visit) -> Forecast | None:
    """What is known of the variant that the visit wants, else of its primary one."""
    state = visit.state
    if state is None:
        return None
    variant = visit.variant_state or state.primary
    return view.forecasts(state.key).get(variant.variant)
