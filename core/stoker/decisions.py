"""Decision records: what happened to a request and why, and how to say it in plain words.

The gateway keeps a bounded ring of these; `stoker explain` prints one. Nothing here decides anything.
"""

from msgspec import Struct

from stoker.model.function import Variant
from stoker.reasons import DeviceReason, Outcome, Reason


class Step(Struct, frozen=True):
    """One thing that happened, `at_us` after the request arrived at the gateway; `what` is one plain clause."""

    at_us: int
    what: str


class RequestRecord(Struct, kw_only=True, rename="camel"):
    """The life of one request. Durations in microseconds; None where the request did not get that far."""

    id: str
    function: str
    arrived_at: str
    """Wall clock, RFC 3339, for people only."""
    method: str = ""
    path: str = ""
    objective_us: int = 0
    """The latency objective that ordered it (coldLatency for a cold request)."""
    latency_us: int = 0
    """slo.latency of its class: what attainment is counted by."""
    timeout_us: int = 0
    variant: Variant | None = None
    device: str = ""
    device_reason: DeviceReason | None = None
    """Why it went to `variant`; None: it went nowhere."""
    ticket: str = ""
    """What came of the ticket that it showed (stoker.tickets.TicketOutcome); empty: it showed none."""
    promise: str = ""
    """What its agent promised of it (stoker.wire.agent.H_PROMISED); empty: nothing, or it did not get that far."""
    cold: bool = False
    diverted: bool = False
    dispatched: bool = False
    """A replica was given it."""
    outcome: Outcome | None = None
    """None: it has not ended."""
    reason: Reason | None = None
    status: int = 0
    detail: str = ""
    queue_us: int | None = None
    start_us: int | None = None
    """Held for a warm replica (the cold part)."""
    exec_us: int | None = None
    cost_micro: int | None = None
    """What its run was charged, in micro-units of the currency; None: nothing has a price, or it was not known with the
    head of its answer."""
    total_us: int | None = None
    on_time: bool | None = None
    predicted_finish_us: int | None = None
    retry_after_ms: int | None = None
    ticket_window_ms: int | None = None
    """A ticket came with its refusal: a place is kept after `retry_after_ms`, for so long; None: there was none."""
    estimated: bool = False
    steps: list[Step] = []
