"""The way of one admitted request: choose a variant, hold while it is cold, try agents, choose again.

Every loop here waits for something that bounds it: a load frame (hold), the walk of onPredictedMiss (each step once),
or the count of losses. The timeout ends all of them from outside.
"""

from collections.abc import Callable, Sequence

from stoker.admission import Choice, Forecast, Hold, Refuse, Send, device_reason
from stoker.model.function import Variant
from stoker.model.quantity import format_duration
from stoker.reasons import MISSES, Reason
from stoker.tickets import Ticket
from stoker.wire.agent import INLINE_BYTES, WANT_PLACE
from stoker_gateway.agent_link import AgentLink
from stoker_gateway.choosing import Choosing
from stoker_gateway.closed_doors import ClosedDoors
from stoker_gateway.config import GatewaySettings
from stoker_gateway.exchange import MAX_LOSSES, Bounced, Exchange
from stoker_gateway.hold import HoldRoom
from stoker_gateway.inbound import Reply
from stoker_gateway.load_view import LoadView
from stoker_gateway.pace import BodyPace, TooSlow
from stoker_gateway.replies import Replies
from stoker_gateway.retries import Retries
from stoker_gateway.ticketing import Ticketing
from stoker_gateway.visit import FunctionState, Visit

MAX_CANDIDATES = 3
"""The first agent and up to two more."""
_WANT_PLACE = WANT_PLACE.encode()
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
        choosing: Choosing,
        ticketing: Ticketing,
        retries: Retries,
        doors: ClosedDoors,
    ) -> None:
        self._clock_us = clock_us
        self._view = view
        self._room = room
        self._replies = replies
        self._choosing = choosing
        self._grace_us = round(settings.control_plane_grace_s * 1_000_000)
        self._ticketing = ticketing
        self._retries = retries
        self._doors = doors
        self._exchange = Exchange(replies, settings.agent_connect_s, retries)

    def at_once(self, visit: Visit, state: FunctionState) -> Reply | None:
        """Refuse a visit that agents were not asked about and would refuse, where it has nowhere else to go; None: it
        is to be served. It is counted for its variant as if it had been sent there: leave() ends that.
        """
        primary = state.primary
        if state.chooses or not primary.warm or not self._choosing.would_refuse(visit, state):
            return None
        choice = _SEND[primary.variant]
        bounced = self._doors.open_of(visit, state, choice.variant, self._candidates(visit, state, choice))
        if not isinstance(bounced, Bounced):
            return None
        visit.move(primary)
        visit.device_reason = device_reason(state.function, choice)
        refused = self._after(visit, state, choice, bounced)
        assert type(refused) is Refuse, "would_refuse() said so"
        return self._refuse(visit, refused)

    async def serve(self, visit: Visit, state: FunctionState) -> Reply:
        """Answer a visit that was let in. Cancelled from outside at its timeout and when its client leaves."""
        try:
            return await self._walk(visit, state)
        except TooSlow as exc:
            return self._replies.refuse(visit, Reason.BODY_TOO_SLOW, str(exc), close=True)

    async def _walk(self, visit: Visit, state: FunctionState) -> Reply:
        before: Bounced | None = None
        """What the last try came to, where another one is more than each request may have."""
        if visit.screened.ticket and (ticket := self._ticketing.shown(visit, state)) is not None:
            redeemed = await self._redeem(visit, state, ticket)
            if isinstance(redeemed, Reply):
                return redeemed
            before = redeemed
        choice = self._choosing.first(visit, state)
        while True:
            if type(choice) is Hold:
                before = None
                held = await self._hold(visit, state, choice)
                if isinstance(held, Reply):
                    return held
                choice = held
                continue
            if type(choice) is Refuse:
                return self._refuse(visit, choice)
            assert type(choice) is Send
            result = await self._send(visit, state, choice, before)
            if isinstance(result, Reply):
                return result
            before = result if result.lost else None
            choice = self._after(visit, state, choice, result)

    async def _hold(self, visit: Visit, state: FunctionState, choice: Hold) -> Reply | Choice:
        """Wait for a warm replica, and where to go then; a Reply if there is no point in it."""
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
        if not found and not state.deleted:
            return self._choosing.after_miss(visit, state, choice.variant, Reason.COST_BOUND)
        if not found:
            return self._replies.refuse(visit, Reason.FUNCTION_NOT_FOUND, f"The function {state.key} was deleted.")
        visit.objective_at_us = min(visit.timeout_at_us, released_us + visit.latency_us)
        visit.note(released_us, "released to an agent")
        # A released request keeps its place: its admission was decided when it was held.
        return Send(choice.variant, late_ok=True)

    async def _redeem(self, visit: Visit, state: FunctionState, ticket: Ticket) -> Reply | Bounced | None:
        """Try the agent that gave the place, with it. Bounced, or None where nobody was tried: the visit is treated as
        any other from here on.
        """
        link = self._view.named(ticket.agent, state.key, ticket.variant)
        if link is None:
            self._ticketing.answered(visit, state)
            return None
        choice = Send(ticket.variant)
        visit.device_reason = device_reason(state.function, choice)
        await self._turn_to(visit, state, choice)
        visit.place = ticket.place.encode()
        link.sent[state.key, ticket.variant] += 1
        try:
            result = await self._exchange.try_at(link, visit, state.variant(ticket.variant), late_ok=False)
        finally:
            visit.place = b""
            self._ticketing.answered(visit, state)
        if isinstance(result, Reply):
            return result
        if result.reason is None and result.sent:
            visit.losses += 1
        if visit.body_started:
            refused = self._after(visit, state, choice, result)
            assert type(refused) is Refuse, "what cannot be sent again is sent nowhere"
            return self._refuse(visit, refused)
        return result

    async def _turn_to(self, visit: Visit, state: FunctionState, choice: Send) -> None:
        """Count the visit for the variant that it goes to, and read its body as far as it is kept."""
        variant = state.variant(choice.variant)
        if variant is not visit.variant_state:
            visit.move(variant)
            visit.diverted = choice.variant is not state.function.primary
            if visit.wakes:
                variant.last_wake_us = self._clock_us()
        if visit.body is None and not visit.screened.expects_continue and not visit.body_started:
            await collect_body(visit)

    async def _send(self, visit: Visit, state: FunctionState, choice: Send, before: Bounced | None) -> Reply | Bounced:
        """Try the agents that have the variant warm, until one takes it. Each try that follows another one, also one
        `before` this, is one of the retry budget.
        """
        await self._turn_to(visit, state, choice)
        variant = state.variant(choice.variant)
        last: Bounced = Bounced(Reason.NO_REPLICA, sent=False)
        links: Sequence[AgentLink] = self._candidates(visit, state, choice)
        if not choice.late_ok:
            taking = self._doors.open_of(visit, state, choice.variant, links)
            if isinstance(taking, Bounced):
                return taking
            links = taking
        candidates = links[:MAX_CANDIDATES]
        for link in candidates:
            if before is not None and not self._retries.may(visit):
                return Bounced(before.reason, before.refusal, before.sent, spent=True)
            is_last = link is candidates[-1] and not choice.late_ok
            visit.place = _WANT_PLACE if is_last and self._wants_place(visit, state, choice, link) else b""
            link.sent[state.key, choice.variant] += 1
            result = await self._exchange.try_at(link, visit, variant, late_ok=choice.late_ok)
            if isinstance(result, Reply):
                return result
            last = before = result
            if result.reason is None and result.sent:
                visit.losses += 1
            if visit.body_started or visit.losses >= MAX_LOSSES:
                break
        return last

    def _candidates(self, visit: Visit, state: FunctionState, choice: Send) -> list[AgentLink]:
        prices = self._choosing.prices
        left_us = visit.objective_at_us - self._clock_us() if prices else 0
        return self._view.candidates(state.key, choice.variant, prices, left_us)

    def _wants_place(self, visit: Visit, state: FunctionState, choice: Send, link: AgentLink) -> bool:
        """Whether the agent is to give a place if it refuses: where it may, since it has no free slot by its last word,
        the visit has no place yet, and would be refused then.
        """
        load = link.functions.get(state.key, {}).get(choice.variant)
        if load is None or load.free > link.sent[state.key, choice.variant]:
            return False
        has_place = visit.said is not None and visit.said.ticket
        return not has_place and self._choosing.would_refuse(visit, state)

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
        if reason not in MISSES:
            visit.note(now_us, "the agent was lost" if reason is None else f"the agent answered {reason}")
            if not visit.wakes:
                return Refuse(Reason.SCALED_TO_ZERO)
            if bounced.lost and bounced.spent:
                detail = "It was lost before its answer, and the function's retry budget permits no further try now."
                return Refuse(reason or Reason.CONTROL_PLANE_UNAVAILABLE, detail=detail)
            if bounced.lost and state.variant(choice.variant).warm:
                # Another replica or connection may do at once; `losses` bounds how often.
                return Send(choice.variant, late_ok=True)
            if self._view.denied(state.key, choice.variant, visit.timeout_at_us):
                return self._choosing.after_miss(visit, state, choice.variant, Reason.COST_BOUND)
            return Hold(choice.variant, choice.late_ok)
        next_choice = self._choosing.after_miss(visit, state, choice.variant, reason, bounced.refusal)
        if type(next_choice) is Refuse and bounced.refusal is not None and next_choice.reason in MISSES:
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
            cold = visit.objective_us > visit.latency_us
            may = f"the {objective} that a cold one may take" if cold else f"its objective of {objective}"
            detail = f"It is predicted to end{finish}, after {may}, and onPredictedMiss refuses."
        return self._replies.refuse(
            visit,
            choice.reason,
            detail,
            predicted_finish_us=choice.predicted_finish_us,
            estimated=choice.estimated,
        )


async def collect_body(visit: Visit) -> None:
    """Read a body that is small enough to keep. A chunked one that turns out too large is kept as `prefix`. TooSlow."""
    length = visit.screened.length
    if length > INLINE_BYTES:
        return
    payload = visit.inbound.payload
    data, pace = visit.prefix, BodyPace()
    if len(data) > INLINE_BYTES:
        return
    while True:
        data += await pace.read(payload)
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
