"""What the agent of a cluster node shows of itself beside what its parts count: set once a second. Decides nothing."""

from collections.abc import Callable, Iterable

from stoker import metrics as m
from stoker_node.kubernetes.grants import Grants
from stoker_node.kubernetes.ledger import Ledger
from stoker_node.kubernetes.pod_sync import PodSync


class Figures:
    """`show()` sets everything as it is now."""

    def __init__(
        self,
        sink: m.MetricsSink,
        *,
        pods: PodSync,
        grants: Grants,
        ledger: Ledger,
        problems: Iterable[tuple[m.MetricSpec, Callable[[], str | None]]],
    ) -> None:
        """`problems`: gauges that are 1 while there is none."""
        self._sink = sink
        self._pods = pods
        self._grants = grants
        self._ledger = ledger
        self._problems = tuple(problems)
        self._writes = 0

    def show(self) -> None:
        for spec, problem in self._problems:
            self._sink.set(spec, 0 if problem() else 1)
        self._sink.set(m.REPLICAS_UNFIT, sum(bool(one.unfit) for one in self._pods.tracked()))
        self._sink.set(m.GRANTS_WAITING, self._grants.waiting)
        writes = self._ledger.writes
        self._sink.inc(m.FUNCTION_NODE_WRITES, amount=writes - self._writes)
        self._writes = writes
