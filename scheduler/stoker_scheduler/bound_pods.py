"""Replicas' pods that have a node, read once each. A pod that has ended or that only looks like ours is none."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker_scheduler.kinds import Pod


class Bound(Struct, frozen=True):
    """One of them."""

    uid: str
    node: str
    replica: PodReplica


class BoundPods:
    """`see` every change of a pod; `changed` gets what is bound before and after, `settled` the uid of each pod that
    is bound, over or gone: nothing about it is provisional any more.
    """

    def __init__(self, changed: Callable[[Bound | None, Bound | None], None], settled: Callable[[str], None]) -> None:
        self._changed = changed
        self._settled = settled
        self._bound: dict[str, Bound] = {}
        self._decoder = msgspec.json.Decoder(PodReplica)

    def see(self, before: Pod | None, after: Pod | None) -> None:
        """A pod, before and after a change."""
        pod = after or before
        assert pod is not None
        uid = pod.metadata.uid
        known = self._bound.get(uid)
        now = None if after is None else self._read(after, known)
        if after is None or after.spec.node_name or after.status.phase in ("Succeeded", "Failed"):
            self._settled(uid)
        if now == known:
            return
        if now is None:
            del self._bound[uid]
        else:
            self._bound[uid] = now
        self._changed(known, now)

    def _read(self, pod: Pod, known: Bound | None) -> Bound | None:
        if not pod.spec.node_name or pod.status.phase in ("Succeeded", "Failed"):
            return None
        if known is not None:
            return known
        try:
            replica = self._decoder.decode((pod.metadata.annotations or {}).get(A_REPLICA, ""))
        except msgspec.MsgspecError:
            return None
        # Anybody may write annotations; only a function's controller owns its pods.
        meta, (namespace, _, name) = pod.metadata, replica.function.partition("/")
        owned = any(
            owner.controller and (owner.kind, owner.name, owner.uid) == ("GpuFunction", name, replica.function_uid)
            for owner in meta.owner_references or ()
        )
        if not owned or namespace != meta.namespace:
            return None
        return Bound(pod.metadata.uid, pod.spec.node_name, replica)
