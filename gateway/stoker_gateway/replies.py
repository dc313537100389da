"""What the platform itself answers to a client, and what that means for the books.

Sends one whole answer and fills in outcome, reason and status; the caller only returns what it gets.
"""

from collections.abc import Callable

from stoker.admission import Forecast, retry_after_us
from stoker.reasons import RETRYABLE, Outcome, Reason
from stoker.wire.agent import Refusal, refuse
from stoker_gateway.answers import problem_answer
from stoker_gateway.inbound import CLOSE, KEEP, Reply
from stoker_gateway.visit import Visit

_OUTCOME = {
    Reason.TIMEOUT: Outcome.EXPIRED,
    Reason.REPLICA_FAILED: Outcome.FAILED,
    Reason.BAD_REPLICA_ANSWER: Outcome.FAILED,
    Reason.REPLICA_HUNG: Outcome.FAILED,
}


class Replies:
    """See the module. `forecast` says what is known of the variant that a visit wants, for Retry-After."""

    def __init__(self, clock_us: Callable[[], int], forecast: Callable[[Visit], Forecast | None]) -> None:
        self.clock_us = clock_us
        self.closing = False
        """The gateway drains: connections end with the answer under way."""
        self._forecast = forecast

    def may_keep(self, visit: Visit) -> bool:
        """Whether the client's connection may carry another request after this answer."""
        message = visit.inbound.message
        return (
            not self.closing
            and not message.should_close
            and message.version == (1, 1)
            and visit.inbound.payload.is_eof()
            and visit.inbound.payload.exception() is None
            and not visit.body_broken
        )

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
        retry_us = retry_after_us(self._forecast(visit)) if reason in RETRYABLE else None
        refusal = refuse(
            reason,
            detail,
            visit.id.decode(),
            predicted_finish_us=predicted_finish_us,
            retry_after_us=retry_us,
            estimated=estimated,
        )
        return self._send(visit, _OUTCOME.get(reason, Outcome.REFUSED), reason, refusal, close=close)

    def pass_on(self, visit: Visit, reason: Reason, refusal: Refusal) -> Reply:
        """Answer with what an agent said."""
        retry_us = None if refusal.retry_after_ms is None else refusal.retry_after_ms * 1000
        if reason in RETRYABLE and retry_us is None:
            retry_us = retry_after_us(self._forecast(visit))
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

    def _send(self, visit: Visit, outcome: Outcome, reason: Reason, refusal: Refusal, *, close: bool = False) -> Reply:
        keep = not close and self.may_keep(visit)
        visit.outcome, visit.reason, visit.status = outcome, reason, refusal.status
        visit.detail, visit.refusal = refusal.detail, refusal
        visit.head_sent = True
        visit.inbound.write(problem_answer(visit, outcome, refusal, close=not keep))
        return KEEP if keep else CLOSE
