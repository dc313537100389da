"""Whether the agent takes a request: does the function exist here, is a replica alive, will it be on time?

Decides on headers and the live state; what it promises is written into the request, and what gives way to it is handed
to the queue. A refusal is a value (stoker.wire.agent.Refusal).
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from stoker.control.capacity import needs_of
from stoker.decider import Decider
from stoker.metrics import ADMISSIONS, MetricsSink
from stoker.model.function import Function, Priority, Variant
from stoker.model.policy import Policy as GpuPolicy
from stoker.model.request import QueuedRequest
from stoker.names import flow_of
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker.slots.coming_back import NOTHING, ComingBack
from stoker.slots.forecast import Lookout
from stoker.slots.places import Redemption
from stoker.slots.verdict import Verdict, bind
from stoker.wire.agent import (
    H_COLD,
    H_FUNCTION,
    H_LATE_OK,
    H_OBJECTIVE_MS,
    H_PROFILE,
    H_REQUEST_ID,
    H_TICKET,
    H_TIMEOUT_MS,
    H_VARIANT,
    Refusal,
    refuse,
)
from stoker_node.replica_table import FlowState, ReplicaTable

_MAX_US = 10**12

_FUNCTION = H_FUNCTION.encode()
_REQUEST_ID = H_REQUEST_ID.encode()
_VARIANT = H_VARIANT.encode()
_OBJECTIVE_MS = H_OBJECTIVE_MS.encode()
_TIMEOUT_MS = H_TIMEOUT_MS.encode()
_COLD = H_COLD.encode()
_LATE_OK = H_LATE_OK.encode()
_PROFILE = H_PROFILE.encode()
_TICKET = H_TICKET.encode()


class _Target(Struct, frozen=True):
    """What a pair of Stoker-Function and Stoker-Variant means."""

    function: Function
    variant: Variant
    flow: str
    memory_mib: int
    """Of one replica, by the first of its GPU options."""
    priority: Priority
    """Within the bound of its namespace."""


class Ask(Struct):
    """A request that names a function with a live replica."""

    function: Function
    flow: FlowState
    request: QueuedRequest
    takes_late: bool
    """It is to be taken even if it is predicted to miss."""
    profiled: bool
    in_flight: int
    """What its execution time was predicted for."""
    said: str = ""
    """What it says in Stoker-Ticket: a place that it redeems, or that it wants one."""
    redemption: Redemption | None = None
    """What came of that place, once it was judged; None: it names none."""
    estimated: bool = False
    """It was taken by an estimate: no schedule guards what was promised."""

    def keep(self, granted: "Ask") -> None:
        """It is the request that was granted before: what was decided then holds."""
        own, was = self.request, granted.request
        own.arrival_us, own.late_ok = was.arrival_us, own.late_ok or was.late_ok
        own.promise_us, own.finish_us, own.behind = was.promise_us, was.finish_us, was.behind
        self.estimated = granted.estimated


class Queue(Protocol):
    """The queue of the agent (stoker_node.dispatch)."""

    policy: QueuePolicy
    """The one of the moment: it may be exchanged."""

    def shed(self, request_ids: Iterable[str]) -> None:
        """These queued requests give way."""


class Admission:
    """See the module."""

    def __init__(
        self,
        table: ReplicaTable,
        predictions: Predictions,
        queue: Queue,
        *,
        lookout: Lookout,
        sink: MetricsSink,
        decider: Decider,
        name: str,
    ) -> None:
        """`name` begins the ids of the places that it gives: another one for each agent and each start of it."""
        self._lookout = lookout
        self._coming_back = ComingBack(decider.make_places(name), lookout.arrangement)
        self._sink = sink
        self._table = table
        self._decider = decider
        self._predictions = predictions
        self._queue = queue
        self._targets: dict[tuple[bytes, bytes], _Target] = {}
        self.accepting = True

    def set_functions(self, functions: Mapping[str, Function], applied: GpuPolicy) -> None:
        """The functions that requests may name, and the GpuPolicy that bounds their priorities."""
        targets: dict[tuple[bytes, bytes], _Target] = {}
        for key, function in functions.items():
            for variant in function.variants:
                memory_mib = needs_of(function, variant)[0].memory_mib
                flow, priority = flow_of(key, variant, function.primary), applied.bounded(function)
                target = _Target(function, variant, flow, memory_mib, priority)
                targets[key.encode(), variant.value.encode()] = target
            targets[key.encode(), b""] = targets[key.encode(), function.primary.value.encode()]
        self._targets = targets

    def ask(self, headers: Mapping[bytes, bytes], now_us: int) -> Ask | Refusal:
        """What the `Stoker-*` headers (names in lower case) ask for; a refusal where there is no replica to ask."""
        request_id = headers.get(_REQUEST_ID, b"").decode("latin-1")
        target = self._targets.get((headers.get(_FUNCTION, b""), headers.get(_VARIANT, b"")))
        if target is None:
            return self._unknown(headers, request_id)
        try:
            objective_us = _remaining_us(headers[_OBJECTIVE_MS])
            timeout_us = _remaining_us(headers[_TIMEOUT_MS])
        except (KeyError, ValueError, OverflowError):
            detail = f"{H_OBJECTIVE_MS} and {H_TIMEOUT_MS} must be given in milliseconds"
            return refuse(Reason.MALFORMED_REQUEST, detail, request_id)
        if timeout_us <= 0:
            return refuse(Reason.TIMEOUT, "its timeout had passed when it came to the agent", request_id)
        flow = self._table.flows.get(target.flow)
        if flow is None or not flow.live():
            return refuse(
                Reason.NO_REPLICA, f"no {target.variant} replica of {target.function.key} is alive", request_id
            )
        in_flight = flow.in_flight()
        takes_late = headers.get(_LATE_OK) == b"1"
        exec_us = self._predictions.exec_us(target.function, target.variant, flow.product, in_flight).us
        request = QueuedRequest(
            id=request_id,
            flow=target.flow,
            variant=target.variant,
            arrival_us=now_us,
            objective_us=now_us + objective_us,
            timeout_us=now_us + timeout_us,
            predicted_exec_us=exec_us,
            priority=target.priority,
            cold=headers.get(_COLD) == b"1",
            percentile=target.function.spec.slo.percentile,
            memory_mib=target.memory_mib,
            late_ok=takes_late or target.function.serves_late,
        )
        said = headers.get(_TICKET, b"").decode("latin-1")
        return Ask(target.function, flow, request, takes_late, headers.get(_PROFILE) != b"0", in_flight, said)

    def judge(self, ask: Ask, now_us: int) -> Refusal | None:
        """None: taken, and what was promised stands in its request. Refused while the agent drains, and where a miss of
        an objective is predicted.
        """
        flow, request, policy, sight = ask.flow, ask.request, self._queue.policy, None
        coming_back, reserved, takes_late = self._coming_back, NOTHING, ask.takes_late
        if self.accepting:
            ask.redemption = coming_back.redeem(ask.said, flow.key, now_us)
            if ask.redemption is Redemption.HONOURED:
                takes_late = request.late_ok = True
            else:
                reserved = coming_back.before(request, now_us)
            sight = self._lookout.sight(
                request, flow, ask.function, policy=policy, takes_late=takes_late, now_us=now_us, reserved=reserved
            )
        verdict = self._decider.judge(
            ask.function,
            request,
            sight,
            product=flow.product,
            in_flight=ask.in_flight,
            policy=policy,
            accepting=self.accepting,
        )
        self._sink.inc(ADMISSIONS, *flow.labels, _kind(verdict))
        if verdict.refusal is not None:
            share_us = 0 if sight is None else sight.share_us
            return coming_back.refused(verdict.refusal, request, ask.said, ask.redemption, share_us)
        coming_back.taken(ask.said, ask.redemption)
        bind(request, verdict)
        ask.estimated = verdict.estimated
        self._lookout.contention.take(flow.key, request.predicted_exec_us, now_us)
        if verdict.explores:
            flow.explored_us = now_us
        if verdict.shed:
            self._queue.shed(verdict.shed)
        return None

    def _unknown(self, headers: Mapping[bytes, bytes], request_id: str) -> Refusal:
        name = headers.get(_FUNCTION, b"").decode("latin-1")
        if (headers.get(_FUNCTION, b""), b"") in self._targets:
            variant = headers.get(_VARIANT, b"").decode("latin-1")
            return refuse(Reason.NO_REPLICA, f"{name} has no variant {variant!r}", request_id)
        return refuse(Reason.FUNCTION_NOT_FOUND, f"no function {name!r} is known to this agent", request_id)


def _kind(verdict: Verdict) -> str:
    """What became of a request, as the metric says it."""
    if verdict.refusal is not None:
        return verdict.refusal.reason
    if verdict.finish_us is None:
        return "Unasked"
    if verdict.explores:
        return "Explored"
    if verdict.promise_us:
        return "Estimated" if verdict.estimated else "Promised"
    if verdict.unheeded is not None:
        return f"Observed{verdict.unheeded}"
    return "Late" if verdict.late else "Observed"


def _remaining_us(value: bytes) -> int:
    """Milliseconds (a decimal fraction is fine) as microseconds. ValueError, OverflowError for anything else."""
    us = int(value) * 1000 if value.isdigit() else int(float(value) * 1000)
    return max(-_MAX_US, min(us, _MAX_US))
