"""Agents that would refuse a request by their own word: it is not sent to them, and refused here if none is left.

Keeps what agents say with refusals (stoker.closed_book, one for each link) and makes of it what they would say now.
Whether the request is refused then, or goes to its other variant, is decided as after an agent's own refusal.
"""

from collections.abc import Callable, Sequence

from stoker.closed_book import Closed
from stoker.metrics import REFUSED_UNASKED, MetricsSink
from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.wire.agent import Refusal, VariantLoad
from stoker_gateway.agent_link import AgentLink
from stoker_gateway.exchange import Bounced
from stoker_gateway.visit import FunctionState, Visit

_UNASKED = {
    variant: f"the gateway asked no agent of the {variant} variant: by their own word they take none now"
    for variant in Variant
}


class ClosedDoors:
    """See the module."""

    def __init__(self, metrics: MetricsSink, clock_us: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock_us = clock_us

    def open_of(
        self, visit: Visit, state: FunctionState, variant: Variant, links: Sequence[AgentLink]
    ) -> Sequence[AgentLink] | Bounced:
        """Those of the agents that may take it; Bounced, as if it had been asked, where all of them (at least one)
        would refuse it. One that shows a ticket is for its agent to judge.
        """
        if visit.screened.ticket:
            return links
        found: list[AgentLink] = []
        word: Closed | None = None
        now_us, due_us = self._clock_us(), visit.objective_at_us
        objective_us = due_us - visit.arrived_us
        for link in links:
            book, said = link.closed, None
            if book and book is not visit.renews:
                said = book.find(state.key, variant, objective_us=objective_us, due_us=due_us, now_us=now_us)
            if said is not None and said.renews(now_us):
                visit.renews, said = book, None
            if said is None:
                found.append(link)
            elif word is None:
                word = said
        if found or word is None:
            return found
        self._metrics.inc(REFUSED_UNASKED, *state.labels)
        visit.note(now_us, _UNASKED[variant])
        refusal = _said_now(word, state, links[0].functions[state.key][variant], now_us)
        if visit.said is None or not visit.said.ticket:
            visit.said, visit.said_by, visit.said_on = refusal, links[0].mark, variant
        return Bounced(Reason(refusal.reason), refusal, sent=False)


def _said_now(word: Closed, state: FunctionState, load: VariantLoad, now_us: int) -> Refusal:
    """What the agent would say, from what it said."""
    said = word.refusal
    refusal = Refusal(
        status=said.status,
        reason=said.reason,
        detail=f"{said.detail} (said {(now_us - word.heard_us) // 1000} ms before, of another request)",
        predicted_finish_ms=said.predicted_finish_ms,
        estimated=said.estimated,
    )
    at_us = word.come_back_us(state.turns, load.step_us, now_us)
    if at_us is not None:
        refusal.retry_after_ms = -(-(at_us - now_us) // 1000)
    return refusal
