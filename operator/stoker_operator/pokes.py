"""Pokes pods that the scheduler could not place, once something has changed that only our extender knows.

kube-scheduler looks again at a pod that an extender refused when something happens to nodes or pods, and else after
minutes. What an agent reports (a device is healthy again, somebody left it) is no such thing; a changed annotation of
the pod itself is.
"""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

import structlog

from stoker.metrics import WRITES, MetricsSink
from stoker.wire.cluster import GROUP
from stoker_operator.kinds import PODS, Pod
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.kube.errors import KubeError, NotFound
from stoker_runtime.kube.objects import Resource

log = structlog.get_logger(__name__)

A_POKED = f"{GROUP}/poked"
"""Annotation: a number that is another one each time that the scheduler is asked to look again."""
INTERVAL_S = 1.0
"""Between two rounds."""
ANYWAY_ROUNDS = 30
"""So often a pod that waits is poked although nothing was seen to change: the extender may have been without an agent's
word for a moment of which nobody else knows."""
LATE_ROUNDS = 4
"""The extender has its own streams and caches: it hears of the same change a moment earlier or later."""
UNSEEN_ROUNDS = 2
PODS_PER_ROUND = 50
"""Each poke is a write and one more try of the scheduler."""


class PokeApi(Protocol):
    """What this needs of a KubeClient."""

    async def patch(self, resource: Resource[Pod], name: str, body: dict[str, object], namespace: str = "") -> Pod: ...


class Pokes:
    """`await round(...)` every INTERVAL_S. Costs nothing while no pod waits or nothing changes."""

    def __init__(self, kube: PokeApi, metrics: MetricsSink) -> None:
        self._kube = kube
        self._metrics = metrics
        self._poked: dict[str, int] = {}
        self._rounds = 0
        self._changes: deque[int] = deque(maxlen=1 + LATE_ROUNDS)
        self._reasons: deque[int] = deque(maxlen=1 + UNSEEN_ROUNDS)

    async def round(self, views: Iterable[ReplicaPod], changes: int) -> None:
        """`changes` counts what may have made a node good. A pod is poked once for all since it was refused."""
        self._changes.append(changes)
        # Each change is a reason at once, and once more when the extender has heard of it for sure.
        self._rounds += 1
        reasons = changes + self._changes[0] + self._rounds // ANYWAY_ROUNDS
        self._reasons.append(reasons)
        waiting = [view for view in views if is_refused(view)]
        # One that is seen for the first time may have been refused just before the last changes.
        self._poked = {view.uid: self._poked.get(view.uid, self._reasons[0]) for view in waiting}
        due = [view for view in waiting if self._poked[view.uid] < reasons]
        for view in due[:PODS_PER_ROUND]:
            meta = view.pod.metadata
            body: dict[str, object] = {"metadata": {"uid": meta.uid, "annotations": {A_POKED: str(reasons)}}}
            self._poked[view.uid] = reasons
            try:
                await self._kube.patch(PODS, meta.name, body, meta.namespace)
            except NotFound:
                continue
            except KubeError as error:
                log.warning("pod_not_poked", pod=f"{meta.namespace}/{meta.name}", error=str(error))
                continue
            self._metrics.inc(WRITES, PODS.plural, "patch")


def is_refused(view: ReplicaPod) -> bool:
    """Whether the scheduler has looked at it and found no node."""
    condition = view.pod.status.condition("PodScheduled")
    waits = not view.node and not view.ending and not view.ended
    return waits and condition is not None and condition.status == "False" and condition.reason == "Unschedulable"
