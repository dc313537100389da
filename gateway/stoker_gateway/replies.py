"""What the platform itself answers to a client, and what that means for the books.

Sends one whole answer and fills in outcome, reason and status; the caller only returns what it gets. When a client may
come back is what an agent said, with the place that it gave; or else what the forecasts say of the queue here, a little
later for each that is refused.
"""

from collections.abc import Callable, Collection

from stoker.admission import MIN_RETRY_AFTER_US, Forecast, retry_after_us
from stoker.reasons import MISSES, RETRYABLE, Outcome, Reason
from stoker.wire.agent import Refusal, refuse
from stoker_gateway.answers import problem_answer
from stoker_gateway.inbound import CLOSE, KEEP, Reply
from stoker_gateway.ticketing import Ticketing
from stoker_gateway.visit import Visit

SPREAD_US = 1_000_000
"""Those who are refused at one time are told instants of so much more, at the end, than what is forecast. Ours."""
_OUTCOME = {
    Reason.TIMEOUT: Outcome.EXPIRED,
    Reason.REPLICA_FAILED: Outcome.FAILED,
    Reason.BAD_REPLICA_ANSWER: Outcome.FAILED,
    Reason.REPLICA_HUNG: Outcome.FAILED,
}


class Replies:
    """See the module. `forecast` says what is known of the variant that a visit wants, for Retry-After."""

    def __init__(
        self, clock_us: Callable[[], int], forecast: Callable[[Visit], Forecast | None], ticketing: Ticketing
    ) -> None:
        self.clock_us = clock_us
        self._ticketing = ticketing
        self.closing = False
        """The gateway drains: connections end with the answer under way."""
        self._forecast = forecast

    def may_keep(self, visit: Visit) -> bool:
        """Whether the client's connection may carry another request after this answer."""
        return not self.closing and visit.inbound.may_be_followed and not visit.body_broken

    def refuse(
        self,
        visit: Visit,
        reason: Reason,
        detail: str,
        *,
        predicted_finish_us: int | None = None,
        estimated: bool = False,
        close: bool = False,
    ) -> Reply:
        """Answer with a reason of the gateway's own."""
        said = visit.said
        if said is not None and said.retry_after_ms is not None and said.reason in _alike(reason):
            retry_us: int | None = said.retry_after_ms * 1000
        else:
            said, retry_us = None, self._retry_us(visit, reason)
        refusal = refuse(
            reason,
            detail,
            visit.id.decode(),
            predicted_finish_us=predicted_finish_us,
            retry_after_us=retry_us,
            estimated=estimated,
        )
        if said is not None and (ticket := self._ticketing.seal(visit)):
            refusal.ticket, refusal.ticket_window_ms = ticket, said.ticket_window_ms
        return self._send(visit, _OUTCOME.get(reason, Outcome.REFUSED), reason, refusal, close=close)

    def pass_on(self, visit: Visit, reason: Reason, refusal: Refusal) -> Reply:
        """Answer with what an agent said."""
        retry_us = None if refusal.retry_after_ms is None else refusal.retry_after_ms * 1000
        if retry_us is None:
            retry_us = self._retry_us(visit, reason)
        finish_us = None if refusal.predicted_finish_ms is None else refusal.predicted_finish_ms * 1000
        own = refuse(
            reason,
            refusal.detail,
            visit.id.decode(),
            predicted_finish_us=finish_us,
            retry_after_us=retry_us,
            estimated=refusal.estimated,
        )
        return self._send(visit, _OUTCOME.get(reason, Outcome.REFUSED), reason, own)

    def unknown(self, visit: Visit, exc: Exception) -> Reply:
        """The connection was lost after dispatch: the work may have been done."""
        detail = f"The connection to the agent was lost after dispatch, so the work may have been done ({exc})."
        refusal = refuse(Reason.REPLICA_FAILED, detail, visit.id.decode())
        return self._send(visit, Outcome.UNKNOWN, Reason.REPLICA_FAILED, refusal)

    def cut(self, visit: Visit, reason: Reason, detail: str) -> Reply:
        """The platform ended it: an answer if none has begun, else the end of the connection."""
        close = not visit.inbound.payload.is_eof()
        if not visit.head_sent and visit.dispatched and reason is Reason.DRAINING:
            return self._send(visit, Outcome.UNKNOWN, reason, refuse(reason, detail, visit.id.decode()), close=close)
        if not visit.head_sent:
            return self.refuse(visit, reason, detail, close=close)
        visit.inbound.abort()
        visit.outcome = _OUTCOME.get(reason, Outcome.FAILED)
        visit.reason, visit.detail = reason, detail
        return CLOSE

    def gone(self, visit: Visit) -> None:
        """The client left; nobody can be answered."""
        visit.reason = Reason.CLIENT_GONE
        visit.outcome = Outcome.UNKNOWN if visit.dispatched else Outcome.REFUSED
        visit.detail = "The client closed its connection " + (
            "while its answer was under way." if visit.head_sent else "before its answer."
        )

    def _retry_us(self, visit: Visit, reason: Reason) -> int | None:
        """In how long the client may come back, where no agent said it; None where that would change nothing."""
        if reason not in RETRYABLE:
            return None
        forecast, state = self._forecast(visit), visit.state
        after_us = retry_after_us(forecast)
        if forecast is None or forecast.unplaceable or state is None:
            return after_us
        # So often a request leaves the queue, all agents together.
        step_us = forecast.exec_us // max(1, forecast.warm)
        last_us = after_us + SPREAD_US
        if reason is Reason.QUEUE_FULL and forecast.warm:
            # There is room again when one has left; who would wait for all of it to drain came much too late.
            after_us = max(MIN_RETRY_AFTER_US, step_us)
        now_us = self.clock_us()
        return state.turns.next_us(now_us + after_us, now_us + last_us, step_us) - now_us

    def _send(self, visit: Visit, outcome: Outcome, reason: Reason, refusal: Refusal, *, close: bool = False) -> Reply:
        keep = not close and self.may_keep(visit)
        visit.outcome, visit.reason, visit.status = outcome, reason, refusal.status
        visit.detail, visit.refusal = refusal.detail, refusal
        visit.head_sent = True
        visit.inbound.write(problem_answer(visit, outcome, refusal, close=not keep))
        return KEEP if keep else CLOSE


def _alike(reason: Reason) -> Collection[str]:
    """Of refusals that an agent gave: those that say the same for when to come back."""
    return MISSES if reason in MISSES else (reason,)


def why_cut(visit: Visit, why_waiting: Callable[[str], str]) -> str:
    """Why the platform ended a visit, in words; `why_waiting` says what a function, by key, waits for."""
    if visit.cut is Reason.DRAINING:
        return "The gateway is shutting down and could not wait any longer."
    if visit.dispatched:
        return "The function did not answer within the timeout."
    held = visit.variant_state is not None and not visit.variant_state.warm
    why = why_waiting(visit.state.key) if held and visit.state is not None else ""
    return f"The timeout passed before it was dispatched{f': {why}' if why else '.'}"
