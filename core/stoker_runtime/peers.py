"""Other pods of Stoker in its own namespace: who they are, where they listen, and whether they are ready.

Kept current by a watch. A pod that has no address yet or that has ended is no peer, and one that is being deleted only
to those who ask for it: it still says what it holds. Knows no port and dials nobody.
"""

import asyncio
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from stoker.wire.cluster import L_COMPONENT, L_NAME, NAME
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.objects import Condition, Resource, SmallMeta
from stoker_runtime.kube.watch import Cache


class Peer(Struct, frozen=True):
    """One pod of a component."""

    pod: str
    node: str
    address: str
    ready: bool
    ending: bool = False
    """It was deleted and finishes what it has."""


class _Spec(Struct, frozen=True, rename="camel", gc=False):
    node_name: str = ""


class _Status(Struct, frozen=True, rename="camel", gc=False):
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    conditions: tuple[Condition, ...] | None = None


class PeerPod(Struct, frozen=True, gc=False):
    """A pod, as far as it matters to other pods."""

    metadata: SmallMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()


PODS: Resource[PeerPod] = Resource("", "v1", "pods", True, PeerPod)


def peer_of(pod: PeerPod, *, ending: bool = False) -> Peer | None:
    """The peer that a pod is, if it is one; with `ending` also one that was deleted and has not ended."""
    status = pod.status
    ends = pod.metadata.deletion_timestamp is not None
    if not status.pod_ip or (ends and not ending) or status.phase in ("Succeeded", "Failed"):
        return None
    ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
    return Peer(pod.metadata.name, pod.spec.node_name, status.pod_ip, ready, ends)


class Peers:
    """The pods of one component. `on_change` gets all of them, by pod name, once per turn of the loop in which
    something of them changed.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        component: str,
        on_change: Callable[[Mapping[str, Peer]], None],
        *,
        ending: bool = False,
    ) -> None:
        """`ending`: pods that were deleted are peers until they have ended."""
        self._on_change = on_change
        self._ending = ending
        self._current: dict[str, Peer] = {}
        self._told: asyncio.Handle | None = None
        self._cache = Cache(kube, PODS, namespace, label_selector=f"{L_NAME}={NAME},{L_COMPONENT}={component}")
        self._cache.on_change(self._see)

    @property
    def current(self) -> Mapping[str, Peer]:
        """All that are known now, by pod name. Without the API server: as it was when it was last heard."""
        return self._current

    @property
    def synced(self) -> asyncio.Event:
        """Set once all pods are known."""
        return self._cache.synced

    def unready(self) -> str | None:
        """Why `current` cannot be relied on, in one sentence; None when it can."""
        return self._cache.unready()

    def start(self) -> None:
        """Follow them until stop()."""
        self._cache.start()

    async def stop(self) -> None:
        """Follow them no more."""
        await self._cache.stop()
        if self._told is not None:
            self._told.cancel()
            self._told = None

    def _see(self, before: PeerPod | None, after: PeerPod | None) -> None:
        name = (before or after).metadata.name  # type: ignore[union-attr]  # one of the two is given
        peer = None if after is None else peer_of(after, ending=self._ending)
        if peer == self._current.get(name):
            return
        if peer is None:
            del self._current[name]
        else:
            self._current[name] = peer
        if self._told is None:
            self._told = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._told = None
        self._on_change(dict(self._current))
