"""`/v1/explain/NAMESPACE/FUNCTION` on the operator's internal listener: what it is doing for a function, and why.

Assembled when it is asked for, from what the leader knows. Changes nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from msgspec import Struct

from stoker.control.planning import Failure, FunctionMemory
from stoker.model.replica import ReplicaState
from stoker.model.status import FunctionStatus
from stoker.reasons import Reason
from stoker_operator.pod_view import ReplicaPod

KEPT = 10
"""Newest failures of a function."""
FUNCTIONS = 2_000


class ExplainedPod(Struct, frozen=True, kw_only=True, rename="camel"):
    """One replica."""

    pod: str
    revision: str
    state: ReplicaState
    node: str = ""
    devices: tuple[str, ...] = ()
    waits_for: Reason | None = None
    detail: str = ""


class PastFailure(Struct, frozen=True, kw_only=True, rename="camel"):
    """A replica that ended by itself, or that could not be made."""

    replica: str
    ago_ms: int
    reason: Reason
    detail: str


class Explanation(Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything about one function."""

    function: str
    status: FunctionStatus | None = None
    """None while it was not planned yet."""
    invalid: str = ""
    """Why its newest generation cannot be served."""
    gave_up: str = ""
    """Why its newest revision was given up."""
    replicas: tuple[ExplainedPod, ...] = ()
    failures: tuple[PastFailure, ...] = ()
    """Newest first; those that this leader has seen."""


class StandBy(Struct, frozen=True, rename="camel"):
    """The answer of an operator that does not lead."""

    leader: str
    detail: str = "this operator stands by; ask the one that leads"


class FailureBook:
    """The newest failures of each function."""

    def __init__(self) -> None:
        self._by_function: OrderedDict[str, deque[Failure]] = OrderedDict()

    def add(self, failures: Iterable[Failure]) -> None:
        """What happened since the last plan."""
        for failure in failures:
            self._by_function.setdefault(failure.function, deque(maxlen=KEPT)).appendleft(failure)
            self._by_function.move_to_end(failure.function)
        while len(self._by_function) > FUNCTIONS:
            self._by_function.popitem(last=False)

    def of(self, key: str, now_us: int) -> tuple[PastFailure, ...]:
        """Newest first."""
        return tuple(
            PastFailure(
                replica=each.replica_id,
                ago_ms=max(0, now_us - each.at_us) // 1000,
                reason=each.reason,
                detail=each.detail,
            )
            for each in self._by_function.get(key, ())
        )


def explain(  # noqa: PLR0917  the facts of one function
    key: str,
    status: FunctionStatus | None,
    invalid: str,
    memory: FunctionMemory | None,
    views: Iterable[ReplicaPod],
    waiting: Callable[[ReplicaPod], tuple[Reason, str] | None],
    failures: tuple[PastFailure, ...],
) -> Explanation:
    """The explanation of a function."""
    failed = memory.failed if memory is not None else None
    return Explanation(
        function=key,
        status=status,
        invalid=invalid,
        gave_up="" if failed is None else f"revision {failed.revision}: {failed.detail}",
        replicas=tuple(_pod(view, waiting) for view in views if view.replica.function == key),
        failures=failures,
    )


def _pod(view: ReplicaPod, waiting: Callable[[ReplicaPod], tuple[Reason, str] | None]) -> ExplainedPod:
    why = waiting(view) if view.state is ReplicaState.STARTING or view.ended else None
    return ExplainedPod(
        pod=view.pod.metadata.name,
        revision=view.replica.revision,
        state=ReplicaState.GONE if view.ended else view.state,
        node=view.node,
        devices=() if view.heard is None else view.heard.report.devices,
        waits_for=None if why is None else why[0],
        detail="" if why is None else why[1],
    )
