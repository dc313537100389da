"""Tickets at this gateway: places that agents gave are sealed for clients, and what clients show is read.

A ticket that is not good costs its request nothing but the words in its record. Who is tried when is the concern of
stoker_gateway.serving; the agent alone knows whether a place is still there.
"""

import time
from collections.abc import Callable

from stoker.metrics import TICKETS_GIVEN, TICKETS_SHOWN, MetricsSink
from stoker.tickets import Ticket, TicketKeys, TicketOutcome, seal, unseal
from stoker_gateway.visit import FunctionState, Visit

_WORDS = {
    TicketOutcome.HONOURED: "its ticket was honoured",
    TicketOutcome.EARLY: "its ticket is for later, and stays good unless it is served now",
    TicketOutcome.LATE: "its ticket is void: it came after its window",
    TicketOutcome.USED: "its ticket is void: it was used before",
    TicketOutcome.UNKNOWN: "its ticket is void: its agent does not know the place any more",
    TicketOutcome.FORGED: "its ticket is none that this platform gave",
    TicketOutcome.FOREIGN: "its ticket is void here: it is for another function",
    TicketOutcome.AGENT_GONE: "its ticket is void: its agent cannot be reached, or has no warm replica any more",
}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Ticketing:
    """See the module. Without keys nobody gets a ticket, and every one that is shown counts as forged."""

    def __init__(
        self, metrics: MetricsSink, clock_us: Callable[[], int], wall_ms: Callable[[], int] = _wall_ms
    ) -> None:
        """`wall_ms` is the clock that gateways share: milliseconds since the epoch."""
        self.keys: TicketKeys | None = None
        self._metrics = metrics
        self._clock_us = clock_us
        self._wall_ms = wall_ms

    def shown(self, visit: Visit, state: FunctionState) -> Ticket | None:
        """The ticket that the visit came with, where it is worth asking its agent."""
        text = visit.screened.ticket
        if not text:
            return None
        found = TicketOutcome.FORGED if self.keys is None else unseal(self.keys, text, state.key)
        if isinstance(found, Ticket) and found.is_late(self._wall_ms()):
            found = TicketOutcome.LATE
        if isinstance(found, Ticket):
            return found
        self.came(visit, state, found)
        return None

    def came(self, visit: Visit, state: FunctionState, outcome: TicketOutcome) -> None:
        """What came of the ticket that the visit showed."""
        visit.ticket_outcome = outcome.value
        visit.note(self._clock_us(), _WORDS[outcome])
        self._metrics.inc(TICKETS_SHOWN, *state.labels, outcome.value)

    def answered(self, visit: Visit, state: FunctionState) -> None:
        """The same, after its agent was tried: what that said of the place, or that it said nothing."""
        try:
            outcome = TicketOutcome(visit.redemption.decode("latin-1"))
        except ValueError:
            outcome = TicketOutcome.AGENT_GONE
        self.came(visit, state, outcome)

    def seal(self, visit: Visit) -> str:
        """The ticket for the place that an agent gave with its refusal; empty: it gave none, or there is no key."""
        said, state = visit.said, visit.state
        if said is None or not said.ticket or said.retry_after_ms is None or state is None or self.keys is None:
            return ""
        ticket = Ticket(
            agent=visit.said_by,
            place=said.ticket,
            variant=visit.said_on,
            at_ms=self._wall_ms() + said.retry_after_ms,
            window_ms=said.ticket_window_ms or 0,
        )
        self._metrics.inc(TICKETS_GIVEN, *state.labels)
        return seal(self.keys, ticket, state.key)
