"""Whether the agent takes a request: does the function exist here, is a replica alive, will it be on time?

Decides on headers and the live state and changes nothing. A refusal is a value (stoker.wire.agent.Refusal).
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from stoker.control.capacity import needs_of
from stoker.decider import Decider
from stoker.model.function import Function, Variant
from stoker.model.request import QueuedRequest
from stoker.names import flow_of
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker.slots.forecast import look
from stoker.wire.agent import (
    H_COLD,
    H_FUNCTION,
    H_LATE_OK,
    H_OBJECTIVE_MS,
    H_PROFILE,
    H_REQUEST_ID,
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


class _Target(Struct, frozen=True):
    """What a pair of Stoker-Function and Stoker-Variant means."""

    function: Function
    variant: Variant
    flow: str
    memory_mib: int
    """Of one replica, by the first of its GPU options."""


class Ask(Struct, frozen=True):
    """A request that names a function with a live replica."""

    function: Function
    flow: FlowState
    request: QueuedRequest
    late_ok: bool
    profiled: bool


class Admission:
    """See the module. `policy` is asked for each time: it may have been exchanged since."""

    def __init__(
        self, table: ReplicaTable, predictions: Predictions, policy: Callable[[], QueuePolicy], decider: Decider
    ) -> None:
        self._table = table
        self._decider = decider
        self._predictions = predictions
        self._policy = policy
        self._targets: dict[tuple[bytes, bytes], _Target] = {}
        self.accepting = True

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        targets: dict[tuple[bytes, bytes], _Target] = {}
        for key, function in functions.items():
            for variant in function.variants:
                memory_mib = needs_of(function, variant)[0].memory_mib
                target = _Target(function, variant, flow_of(key, variant, function.primary), memory_mib)
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
        exec_us = self._predictions.exec_us(target.function, target.variant, flow.product).us
        request = QueuedRequest(
            id=request_id,
            flow=target.flow,
            variant=target.variant,
            arrival_us=now_us,
            objective_us=now_us + objective_us,
            timeout_us=now_us + timeout_us,
            predicted_exec_us=exec_us,
            priority=target.function.spec.priority,
            cold=headers.get(_COLD) == b"1",
            percentile=target.function.spec.slo.percentile,
            memory_mib=target.memory_mib,
        )
        late_ok = headers.get(_LATE_OK) == b"1"
        return Ask(target.function, flow, request, late_ok, headers.get(_PROFILE) != b"0")

    def judge(self, ask: Ask, now_us: int) -> Refusal | None:
        """None: taken. Refused while the agent drains, and where a miss of the objective is predicted."""
        flow, policy, sight = ask.flow, self._policy(), None
        if self.accepting and not ask.late_ok:
            sight = look(flow, ask.function, policy=policy, predictions=self._predictions, now_us=now_us)
        return self._decider.judge(
            ask.function, ask.request, sight, product=flow.product, policy=policy, accepting=self.accepting
        )

    def _unknown(self, headers: Mapping[bytes, bytes], request_id: str) -> Refusal:
        name = headers.get(_FUNCTION, b"").decode("latin-1")
        if (headers.get(_FUNCTION, b""), b"") in self._targets:
            variant = headers.get(_VARIANT, b"").decode("latin-1")
            return refuse(Reason.NO_REPLICA, f"{name} has no variant {variant!r}", request_id)
        return refuse(Reason.FUNCTION_NOT_FOUND, f"no function {name!r} is known to this agent", request_id)


def _remaining_us(value: bytes) -> int:
    """Milliseconds (a decimal fraction is fine) as microseconds. ValueError, OverflowError for anything else."""
    us = int(value) * 1000 if value.isdigit() else int(float(value) * 1000)
    return max(-_MAX_US, min(us, _MAX_US))
