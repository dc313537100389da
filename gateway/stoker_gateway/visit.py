"""One request from its arrival to the last byte of its answer, and the state of the function that it is for.

Plain state with the few rules that keep its counts true; who waits for what is decided elsewhere. All times are
microseconds on the gateway's monotonic clock.
"""

import asyncio
import os
from collections.abc import Iterator

from stoker.admission import PRIMARY, Course, Crowd, may_choose
from stoker.closed_book import ClosedBook
from stoker.hold_shares import HoldShares
from stoker.model.demand import VariantDemand
from stoker.model.function import Function, Variant
from stoker.reasons import DeviceReason, Outcome, Reason
from stoker.retry_budget import RetryBudget
from stoker.turns import Turns
from stoker.wire.agent import DISPATCH_BYTES, H_FUNCTION, H_VARIANT, INLINE_BYTES, Refusal
from stoker_gateway.inbound import Inbound
from stoker_gateway.screening import Screened
from stoker_runtime.http_client import ResponseHead

_ID_BYTES = 16


def _ids() -> Iterator[bytes]:
    """Ids that nobody can guess. The kernel is asked once for many: each call lets go of the interpreter."""
    while True:
        many = os.urandom(_ID_BYTES * 256).hex().encode()
        for begin in range(0, len(many), 2 * _ID_BYTES):
            yield many[begin : begin + 2 * _ID_BYTES]


_fresh_id = _ids().__next__


class VariantState:
    """Who wants one variant of a function."""

    __slots__ = ("arrivals", "held", "in_system", "key", "last_wake_us", "lines", "variant", "warm")

    def __init__(self, key: str, variant: Variant) -> None:
        self.key = key
        self.variant = variant
        self.warm = 0
        """Warm replicas by the last load frame."""
        self.held: dict[Visit, asyncio.Future[bool]] = {}
        self.in_system = 0
        self.arrivals = 0
        self.last_wake_us: int | None = None
        self.lines = f"{H_FUNCTION}: {key}\r\n{H_VARIANT}: {variant}\r\n".encode()
        """Header lines for an agent."""

    def woken_since(self, then_us: int) -> bool:
        """Whether somebody wanted it warm since then."""
        return self.last_wake_us is not None and self.last_wake_us >= then_us

    def demand(self) -> VariantDemand:
        """A snapshot for the control plane."""
        return VariantDemand(
            held=len(self.held),
            in_system=self.in_system,
            last_wake_us=self.last_wake_us,
            oldest_held_us=min((visit.arrived_us for visit in self.held), default=None),
            arrivals=self.arrivals,
        )


class FunctionState:
    """One function at this gateway; outlives changes of the function."""

    __slots__ = (
        "chooses",
        "cpu",
        "deleted",
        "diverted",
        "first",
        "function",
        "gpu",
        "key",
        "labels",
        "offered",
        "on_time",
        "primary",
        "retry_budget",
        "turns",
        "undispatched",
        "undispatched_bytes",
    )

    def __init__(self, function: Function) -> None:
        self.function = function
        self.chooses = may_choose(function)
        """Its requests may go to either variant."""
        self.deleted = False
        self.first = function.primary
        """The variant that a device choice sent a request to last."""
        self.key = function.key
        self.labels = (function.namespace, function.name)
        self.gpu = VariantState(self.key, Variant.GPU)
        self.cpu = VariantState(self.key, Variant.CPU)
        self.primary = self.variant(self.first)
        """The variant that requests go to first."""
        self.undispatched = 0
        """Held, body being read, or queued at an agent: what the function's `queue` bounds."""
        self.undispatched_bytes = 0
        self.offered = 0
        """Requests that count towards its objective, and those of them that were on time."""
        self.on_time = 0
        self.diverted = 0
        """Of the offered ones, those that ran on the CPU variant although it has a GPU."""
        self.retry_budget = RetryBudget()
        self.turns = Turns()
        """When those may come back that this gateway refuses itself."""

    def variant(self, variant: Variant) -> VariantState:
        """The state of one variant."""
        return self.gpu if variant is Variant.GPU else self.cpu

    def set_function(self, function: Function) -> None:
        """It was changed."""
        self.function = function
        self.chooses = may_choose(function)
        self.primary = self.variant(function.primary)

    def crowd(self, gateways: int) -> Crowd:
        """What this gateway, one of so many, has let in of the function's queue."""
        return Crowd(requests=self.undispatched, body_bytes=self.undispatched_bytes, gateways=gateways)


class Visit:
    """See the module. `variant_state` is where it is counted now; None before it was let in and after it ended."""

    __slots__ = (
        "arrived_us",
        "body",
        "body_broken",
        "body_bytes",
        "body_sent",
        "body_started",
        "closed",
        "cold",
        "continued",
        "cost_micro",
        "course",
        "cut",
        "detail",
        "device",
        "device_reason",
        "dispatched",
        "diverted",
        "exec_us",
        "first_byte_us",
        "head_sent",
        "hop_head",
        "id",
        "inbound",
        "latency_us",
        "losses",
        "miss_step",
        "objective_at_us",
        "objective_us",
        "outcome",
        "place",
        "prefix",
        "promise",
        "queue_us",
        "queued",
        "reason",
        "redemption",
        "refusal",
        "renews",
        "said",
        "said_by",
        "said_on",
        "screened",
        "shares",
        "start_us",
        "state",
        "status",
        "steps",
        "target",
        "task",
        "ticket_outcome",
        "timeout_at_us",
        "timing",
        "too_slow",
        "variant_state",
        "wakes",
    )

    def __init__(self, inbound: Inbound, screened: Screened, now_us: int) -> None:
        self.inbound = inbound
        self.screened = screened
        self.id = screened.request_id or _fresh_id()
        self.arrived_us = now_us
        self.state: FunctionState | None = None
        self.variant_state: VariantState | None = None
        self.target = inbound.message.path
        self.wakes = True
        self.task: asyncio.Task[object] | None = None
        self.cut: Reason | None = None
        """Why the platform ended it before its answer (timeout, shutdown)."""

        self.latency_us = 0
        self.objective_us = 0
        self.objective_at_us = 0
        self.timeout_at_us = 0
        self.course: Course = PRIMARY
        self.miss_step = 0
        self.losses = 0
        self.closed: ClosedBook | None = None
        """Of the agent that is tried."""
        self.renews: ClosedBook | None = None
        """Of an agent that it asks for the next word, although that would refuse it."""

        self.place = b""
        """What the next try says in Stoker-Ticket: the place that it redeems, or WANT_PLACE."""
        self.redemption = b""
        """What its agent said of that place."""
        self.ticket_outcome = ""
        """What came of the ticket that it showed; empty: it showed none."""
        self.promise = b""
        """What its agent promised of it."""
        self.said: Refusal | None = None
        """The last refusal of an agent after which it may go elsewhere, of which agent, on which variant."""
        self.said_by = b""
        self.said_on = Variant.GPU

        length = screened.length
        # What the platform may have to keep of the body before a dispatch, not all of it: longer ones stream.
        self.body_bytes = INLINE_BYTES if length < 0 else min(length, DISPATCH_BYTES)
        self.body: bytes | None = b"" if length == 0 else None
        """The whole body, kept for the next candidate; None while it is not complete or too large to keep."""
        self.prefix = b""
        """What was read of a chunked body before it turned out too large to keep; kept for the next candidate too."""
        self.body_started = False
        """Body bytes went to an agent that are kept nowhere: it cannot be sent again."""
        self.body_sent = False
        self.body_broken = False
        self.too_slow = ""
        """How slowly its body came, where that was too slow."""
        self.continued = False
        self.hop_head = b""

        self.shares: HoldShares | None = None
        """It counts in these, for its namespace."""
        self.queued = False
        """It counts in the function's queue bounds."""
        self.dispatched = False
        self.cold = False
        self.diverted = False
        self.head_sent = False
        self.status = 0
        self.outcome: Outcome | None = None
        self.reason: Reason | None = None
        self.detail = ""
        self.refusal: Refusal | None = None
        self.device = b"none"
        self.device_reason: DeviceReason | None = None
        """Why it went to the variant that it went to; None: it went nowhere."""
        self.timing = b""
        """Server-Timing as the agent gave it."""
        self.queue_us: int | None = None
        self.exec_us: int | None = None
        self.cost_micro: int | None = None
        self.start_us = 0
        self.first_byte_us: int | None = None
        self.steps: list[tuple[int, str]] | None = None

    @property
    def kept_bytes(self) -> int:
        """What of the body this gateway keeps to its end, at most: longer ones stream through a buffer."""
        return min(self.body_bytes, INLINE_BYTES)

    def note(self, now_us: int, what: str) -> None:
        """Remember one thing for `explain`. Not used on the way of a warm request that goes well."""
        if self.steps is None:
            self.steps = []
        self.steps.append((now_us - self.arrived_us, what))

    def enter(self, state: FunctionState, shares: HoldShares) -> None:
        """Count it in, also for what its namespace may have of `shares`: from now on it has to leave()."""
        self.shares = shares
        shares.add(state.function.namespace, 1, self.kept_bytes)
        state.undispatched += 1
        state.undispatched_bytes += self.body_bytes
        self.queued = True
        self.move(state.primary)

    def move(self, to: VariantState | None) -> None:
        """It wants another variant now, or none any more. Paths that wake nothing are no demand."""
        if self.wakes:
            before = self.variant_state
            if before is not None:
                before.in_system -= 1
            if to is not None:
                to.in_system += 1
                if to is not before:
                    to.arrivals += 1
                    if before is not None and not self.miss_step:
                        # A device choice sends it elsewhere. Had it left for a miss, it would still be demand here.
                        before.arrivals -= 1
        self.variant_state = to

    def reopen(self) -> None:
        """Its agent took it: what that said with refusals of the same variant counts no more."""
        if self.closed is not None and len(self.closed) and self.variant_state is not None:
            self.closed.reopen(self.variant_state.key, self.variant_state.variant)

    def told(self, head: ResponseHead) -> None:
        """Its agent sent an interim head: 102 says that it is dispatched."""
        if head.status == 102:
            self.dispatched = True
            self.leave_queue()
            self.reopen()
            if self.place:
                self.redemption = head.get(b"stoker-ticket") or self.redemption

    def leave_queue(self) -> None:
        """It was dispatched, or it ended."""
        if self.queued:
            self.queued = False
            assert self.state is not None
            self.state.undispatched -= 1
            self.state.undispatched_bytes -= self.body_bytes

    def leave(self) -> None:
        """It ended."""
        self.leave_queue()
        self.move(None)
        if self.shares is not None and self.state is not None:
            self.shares.add(self.state.function.namespace, -1, -self.kept_bytes)
            self.shares = None

    def end(self, reason: Reason) -> None:
        """The platform ends it: its task sees a cancellation, and `cut` says why."""
        if self.cut is None and self.task is not None:
            self.cut = reason
            self.task.cancel()
