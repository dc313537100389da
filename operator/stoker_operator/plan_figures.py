"""What each plan shows as metrics: functions and replicas by state, what is waited for, and for how long.

Pure counting from one plan to the next; the series of a function go with it. Knows no API server and decides nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from stoker.metrics import FLEET_REPLICAS, FUNCTIONS, PENDING_SECONDS, WAKE_SECONDS, MetricsSink
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.model.status import FunctionStatus
from stoker_operator.pod_view import ReplicaPod

LONGEST_STEP_US = 5_000_000
"""Plans are at most seconds apart; a longer gap is a process that was suspended, and nobody knows what was then."""
_STATES = (ReplicaState.STARTING, ReplicaState.WARM, ReplicaState.DRAINING)


class PlanFigures:
    """`ordered` each start, `seen` the replicas, `planned` the outcome; once per plan, in this order or another."""

    def __init__(self, sink: MetricsSink) -> None:
        self._sink = sink
        self._ordered_us: dict[str, int] = {}
        self._pending: dict[str, str] = {}
        """By function: what it waited for at the last plan."""
        self._known: frozenset[str] = frozenset()
        self._shown_ready: set[tuple[str, str]] = set()
        self._at_us: int | None = None

    def ordered(self, replica_id: str, now_us: int) -> None:
        """A plan orders a replica. What is ordered again goes on waiting since the first time."""
        self._ordered_us.setdefault(replica_id, now_us)

    def seen(self, views: Mapping[str, ReplicaPod], making: Iterable[str], now_us: int) -> None:
        """The replicas as they are now; `making` are those that have no pod yet."""
        if not self._ordered_us:
            return
        known = views.keys() | set(making)
        for identity, since_us in list(self._ordered_us.items()):
            view = views.get(identity)
            if view is not None and view.state is ReplicaState.WARM:
                self._sink.observe(WAKE_SECONDS, (now_us - since_us) / 1e6, view.replica.variant.value)
            elif identity in known and (view is None or view.state is ReplicaState.STARTING):
                continue
            del self._ordered_us[identity]

    def planned(self, statuses: Mapping[str, FunctionStatus], now_us: int) -> None:
        """The outcome of a plan. The time since the last one counts for what was waited for then."""
        step_us = 0 if self._at_us is None else min(now_us - self._at_us, LONGEST_STEP_US)
        self._at_us = now_us
        for key, reason in self._pending.items():
            namespace, _, name = key.partition("/")
            self._sink.inc(PENDING_SECONDS, namespace, name, reason, amount=step_us / 1e6)
        self._pending = {}
        ready: Counter[tuple[str, str]] = Counter()
        replicas: Counter[tuple[Variant, ReplicaState]] = Counter()
        for key, status in statuses.items():
            condition = status.condition("Ready")
            ready["true" if condition.status else "false", condition.reason.value] += 1
            if (waits_for := pending_reason(status)) is not None:
                self._pending[key] = waits_for
            for variant, counts in status.replicas.items():
                for state in _STATES:
                    replicas[variant, state] += getattr(counts, state.value)
        self._show_ready(ready)
        for variant in Variant:
            for state in _STATES:
                self._sink.set(FLEET_REPLICAS, replicas[variant, state], variant.value, state.value)
        for key in self._known - statuses.keys():
            namespace, _, name = key.partition("/")
            self._sink.forget_function(namespace, name)
        self._known = frozenset(statuses)

    def _show_ready(self, ready: Counter[tuple[str, str]]) -> None:
        for labels in self._shown_ready - ready.keys():
            self._sink.set(FUNCTIONS, 0, *labels)
        for labels, count in ready.items():
            self._sink.set(FUNCTIONS, count, *labels)
        self._shown_ready |= ready.keys()


def pending_reason(status: FunctionStatus) -> str | None:
    """What a function waits for: a replica that is on its way, or one that cannot be had; None at rest."""
    progress, ready = status.condition("Reconciling"), status.condition("Ready")
    if progress.status:
        return progress.reason.value
    return None if ready.status else ready.reason.value
