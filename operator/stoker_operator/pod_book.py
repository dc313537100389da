"""The replicas' pods as the watch shows them, joined with what agents report of them. Kept current, read often."""

from collections.abc import Callable

from stoker.wire.cluster import PodReplica
from stoker_operator.agent_board import AgentBoard
from stoker_operator.kinds import Pod
from stoker_operator.pod_view import PodReader, ReplicaPod


class PodBook:
    """`see` every change of a pod of ours; `touch` when agents reported."""

    def __init__(self, agents: AgentBoard, changed: Callable[[str], None]) -> None:
        """`changed` is called with the function's key after a change of one of its pods."""
        self._agents = agents
        self._changed = changed
        self._reader = PodReader()
        self._pods: dict[str, Pod] = {}
        self._views: dict[str, ReplicaPod] | None = None
        self._revisions: dict[str, set[str]] = {}
        self._warm_us: dict[str, int] = {}

    def see(self, before: Pod | None, after: Pod | None) -> None:
        """A pod, before and after a change."""
        pod = after or before
        assert pod is not None
        replica = self._reader.replica_of(pod)
        if after is None:
            self._reader.forget(pod)
            self._warm_us.pop(pod.metadata.uid, None)
        if replica is None:
            return
        if after is not None:
            self._pods[replica.id] = after
        else:
            known = self._pods.get(replica.id)
            if known is not None and known.metadata.uid == pod.metadata.uid:
                del self._pods[replica.id]
        self._views = None
        self._changed(replica.function)

    def touch(self) -> None:
        """An agent said something."""
        self._views = None

    def views(self) -> dict[str, ReplicaPod]:
        """All of them by replica id. Made when something changed; do not write into it."""
        if self._views is None:
            views: dict[str, ReplicaPod] = {}
            self._revisions = {}
            for identity, pod in self._pods.items():
                replica = self._reader.replica_of(pod)
                assert replica is not None
                self._revisions.setdefault(replica.function, set()).add(replica.revision)
                views[identity] = self._view(pod, replica)
            self._views = views
        return self._views

    def _view(self, pod: Pod, replica: PodReplica) -> ReplicaPod:
        uid = pod.metadata.uid
        heard = self._agents.report(uid)
        if heard is not None and heard.node != pod.spec.node_name:
            heard = None  # an agent speaks for the pods of its own node only
        if heard is not None and heard.report.ready_ms is not None:
            self._warm_us.setdefault(uid, heard.at_us - heard.report.ready_ms * 1_000)
        return ReplicaPod(pod=pod, replica=replica, heard=heard, warm_since_us=self._warm_us.get(uid))

    def revisions_in_use(self, key: str) -> frozenset[str]:
        """Revisions of a function that have pods."""
        self.views()
        return frozenset(self._revisions.get(key, ()))
