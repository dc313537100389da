"""Provisional charges: replicas that were given a node a moment ago and do not show in the caches yet.

The extender learns what kube-scheduler chose only by the pod's binding. Until then the node that was scored best is
charged, so that a burst of pods does not see the same free memory again and again. A charge is a guess: it ends when
the pod shows as bound, is gone, or after `keep_us`, and may cost a pod one more round, never a wrong placement.
"""

from stoker.placement.view import Resident


class Charges:
    """Of one extender. Times are microseconds on its monotonic clock."""

    def __init__(self, keep_us: int = 5_000_000) -> None:
        self._keep_us = keep_us
        self._by_pod: dict[str, tuple[str, Resident, int]] = {}
        self._by_node: dict[str, dict[str, Resident]] = {}

    def charge(self, node: str, resident: Resident, now_us: int) -> None:
        """Count `resident` on `node`; an older charge of the same pod goes."""
        self.settle(resident.pod_uid)
        self._by_pod[resident.pod_uid] = (node, resident, now_us + self._keep_us)
        self._by_node.setdefault(node, {})[resident.pod_uid] = resident

    def settle(self, pod_uid: str) -> None:
        """The pod is bound, or gone: the caches know."""
        entry = self._by_pod.pop(pod_uid, None)
        if entry is None:
            return
        charged = self._by_node[entry[0]]
        del charged[pod_uid]
        if not charged:
            del self._by_node[entry[0]]

    def expire(self, now_us: int) -> None:
        """Forget what was charged too long ago."""
        # In order of charging, so the first that is still good ends the search.
        for uid, (_, _, until_us) in list(self._by_pod.items()):
            if until_us > now_us:
                return
            self.settle(uid)

    def on(self, node: str, but: str = "") -> tuple[Resident, ...]:
        """What is charged to a node, the pod `but` aside."""
        return tuple(resident for uid, resident in self._by_node.get(node, {}).items() if uid != but)

    def __len__(self) -> int:
        return len(self._by_pod)
