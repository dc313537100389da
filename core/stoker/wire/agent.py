"""What a gateway and an agent say to each other. HTTP/1.1 on kept connections, the same embedded and in clusters.

One request takes one exchange when its complete body is at most INLINE_BYTES, else two:

1. `POST /v1/admit`, no body, the request's `Stoker-*` headers: 200 is a grant, valid on this connection
   for GRANT_TTL_S; 429/503 is a refusal (application/problem+json, `Refusal`). Skipped for inline bodies.
2. `METHOD /v1/run/PATH?QUERY` with the client's headers, the same `Stoker-*` headers and the body
   (Content-Length or chunked). A refusal of an inline request is answered here, with the same form.

Just before the agent dispatches to a replica it writes `HTTP/1.1 102 Processing`. Until then the gateway may
go elsewhere; after it the work may have been done. The final answer carries `Stoker-Dispatched: 0` (the agent
itself answers: refusal, expiry) or `1` (the replica answers, or failed after dispatch).

`GET /v1/load` is an endless stream of JSON lines, one LoadFrame each. Objective and timeout travel as remaining
milliseconds, so clocks need not agree.
"""

from msgspec import Struct

from stoker.model.function import Variant
from stoker.reasons import HTTP_STATUS, TITLES, Reason

INLINE_BYTES = 64 * 1024
"""Complete bodies up to this size go inline, and the gateway keeps a copy for the next candidate."""
DISPATCH_BYTES = 256 * 1024
"""A body that is not complete is dispatched when this much of it has arrived."""
BODY_RATE_BYTES = 64 * 1024
BODY_RATE_WINDOW_S = 5
"""After dispatch a body must progress by BODY_RATE_BYTES per second over this window, or it is 408."""
GRANT_TTL_S = 5
CLOSED_MAX_US = 20_000
"""For no longer than this does a gateway go by what a refusal said of requests that come after it (closed_us)."""
LOAD_MIN_INTERVAL_S = 0.1
LOAD_HEARTBEAT_S = 1.0
LOAD_STALE_S = 3.0

ADMIT_PATH = "/v1/admit"
RUN_PREFIX = "/v1/run"
LOAD_PATH = "/v1/load"

# Gateway to agent (never believed from a client; stripped at the public listener).
H_FUNCTION = "stoker-function"
H_REQUEST_ID = "stoker-request-id"
H_VARIANT = "stoker-variant"
H_OBJECTIVE_MS = "stoker-objective-ms"
"""Remaining milliseconds to the objective; may be negative."""
H_TIMEOUT_MS = "stoker-timeout-ms"
H_COLD = "stoker-cold"
H_LATE_OK = "stoker-late-ok"
"""`1`: take it even if it is predicted to miss its objective (ServeLate, or no prediction wanted)."""
H_BODY_BYTES = "stoker-body-bytes"
"""Body size, or -1 while unknown (chunked)."""
H_PROFILE = "stoker-profile"
"""`0`: a health or metadata path; it does not enter the profile of the function."""
H_TICKET = "stoker-ticket"
"""Three things under one name. Gateway to agent: the id of a place that the request redeems, or WANT_PLACE: reserve one
if it is refused. Agent to gateway, with a grant or 102: what came of the id (stoker.slots.places.Redemption). Between
client and gateway: a place, sealed (stoker.tickets)."""
WANT_PLACE = "?"

# Agent to gateway, and from there to the client except Stoker-Dispatched.
H_DISPATCHED = "stoker-dispatched"
H_DEVICE = "stoker-device"
H_SERVER_TIMING = "server-timing"
H_COST_MICRO = "stoker-cost-micro"
"""Micro-units that the run was charged for (stoker.cost.meter). Only where the device has a price and the whole answer
was there before its first byte went out: what a stream costs is known after its head."""
H_PROMISED = "stoker-promised"
"""`predicted=35.200, latest=52.000`: at its admission it was promised to be on time. In milliseconds from then, when it
was predicted to end, and the same with the margin of its percentile (stoker.calibration). `, estimated` behind it: the
queueing policy has no schedule, so the wait is an estimate, and requests that come later may break it.
"""

# Gateway to client only.
H_OUTCOME = "stoker-outcome"
H_DEVICE_REASON = "stoker-device-reason"
"""Why it went to that variant (stoker.reasons.DeviceReason), or `none`."""
H_COLD_START = "stoker-cold-start"
H_RETRY_AFTER_MS = "stoker-retry-after-ms"
H_TICKET_WINDOW_MS = "stoker-ticket-window-ms"
"""A ticket is void so long after the instant that Stoker-Retry-After-Ms names."""
# Client to gateway.
H_DEADLINE_MS = "stoker-deadline-ms"
H_CLASS = "stoker-class"


class Refusal(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Body of an answer that the platform itself gives (application/problem+json, RFC 9457)."""

    status: int
    reason: str
    detail: str
    title: str = ""
    predicted_finish_ms: int | None = None
    """Predicted time from now to the end of the request, had it been taken."""
    retry_after_ms: int | None = None
    estimated: bool = False
    """True where the prediction is a mean without a calibrated margin."""
    request_id: str = ""
    ticket: str = ""
    """A place reserved from `retry_after_ms` on: the agent's id of it; to a client, sealed (stoker.tickets)."""
    ticket_window_ms: int | None = None
    """The place is void so long after that."""
    redemption: str = ""
    """Agent to gateway: what came of the place that the request named (stoker.slots.places.Redemption)."""
    closed_us: int = 0
    """Agent to gateway: for so long it will refuse every request of this function and variant whose objective is no
    longer, and due no earlier, than this one's; 0: nothing is said of others (stoker.closed_book)."""
    room_us: int = 0
    """Agent to gateway: by its forecast there is room so much later, whichever later instant this one was told."""


def refuse(
    reason: Reason,
    detail: str,
    request_id: str = "",
    *,
    predicted_finish_us: int | None = None,
    retry_after_us: int | None = None,
    estimated: bool = False,
) -> Refusal:
    """A refusal as a value; times become whole milliseconds, rounded up."""
    status = HTTP_STATUS[reason]
    return Refusal(
        status=status,
        reason=reason,
        title=TITLES[status],
        detail=detail,
        predicted_finish_ms=None if predicted_finish_us is None else -(-predicted_finish_us // 1000),
        retry_after_ms=None if retry_after_us is None else -(-retry_after_us // 1000),
        estimated=estimated,
        request_id=request_id,
    )


class VariantLoad(Struct, kw_only=True, rename="camel"):
    """Fast facts of one (function, variant) on one agent."""

    warm: int = 0
    starting: int = 0
    draining: int = 0
    free: int = 0
    """Requests that its warm replicas could take at once now."""
    queued: int = 0
    running: int = 0
    exec_ms: float = 0.0
    """Predicted execution time: a mean, or the prior where samples is 0."""
    start_ms: float = 0.0
    """Predicted start-up, cold to warm: a mean, or the prior where start_samples is 0."""
    samples: int = 0
    start_samples: int = 0
    wait_ms: float = 0.0
    """Predicted wait of one more request with the function's objective."""
    product: str = ""
    """The one product that its replicas are on; empty: there are several, or none."""

    @property
    def step_us(self) -> int:
        """How long after one another its warm replicas come free, if all are busy."""
        return int(self.exec_ms * 1000) // max(1, self.warm)


class LoadFrame(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One line of the load stream. The first is full; later ones name changed entries only."""

    seq: int
    full: bool = False
    accepting: bool = True
    """False while the agent drains: no new requests."""
    functions: dict[str, dict[Variant, VariantLoad]] = {}
    removed: tuple[str, ...] = ()
    """Functions that the agent no longer has anything of."""
