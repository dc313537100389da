"""The Service and the NetworkPolicy of a function: there, as they should be, and never somebody else's.

Level-triggered: what is missing is made, what somebody changed is put back, and nothing is written at rest. An object
of the same name that is not Stoker's is told of and not touched.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from stoker.metrics import WRITES, MetricsSink
from stoker.model.function import Function
from stoker.wire.cluster import FIELD_MANAGER
from stoker_operator.kinds import Object
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import NotFound
from stoker_runtime.kube.objects import Resource, Seen
from stoker_runtime.kube.watch import Cache


class _Applied(Struct, frozen=True, gc=False):
    uid: str
    version: str
    content: bytes
    """A hash of it."""


class OwnedObjects:
    """`await put(...)` whenever a function or one of its objects may have changed."""

    def __init__(self, kube: KubeClient, caches: Mapping[str, Cache[Object]], metrics: MetricsSink) -> None:
        """`caches` by plural; they show what carries our labels, so what they do not show may be there all the same."""
        self._kube = kube
        self._caches = caches
        self._metrics = metrics
        self._applied: dict[tuple[str, str], _Applied] = {}
        self._conflicts: dict[tuple[str, str], str] = {}

    def conflicts(self, key: str) -> dict[str, str]:
        """By plural, the sentence for each object whose name somebody else has."""
        return {plural: text for (owner, plural), text in self._conflicts.items() if owner == key}

    def forget(self, key: str) -> None:
        """The function is gone; what it owned goes with it."""
        for table in (self._applied, self._conflicts):
            for slot in [slot for slot in table if slot[0] == key]:
                del table[slot]

    async def put(self, function: Function, resource: Resource[Object], body: dict[str, Any]) -> None:
        """See to one object. Raises KubeError; calling again goes on."""
        content = hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
        slot = (function.key, resource.plural)
        applied = self._applied.get(slot)
        present = self._caches[resource.plural].get(function.namespace, function.name)
        if present is None:
            # Perhaps our own write that the cache does not show yet, or somebody's without our labels.
            present = await self._look(resource, function)
        if present is not None and applied is not None:
            meta = present.metadata
            newer = applied.version if _is_older(meta.resource_version, applied.version) else meta.resource_version
            if (meta.uid, newer, content) == (applied.uid, applied.version, applied.content):
                return
        if present is not None and _is_leftover(present, function):
            # Of a function of this name that was deleted. Given the new owner before the garbage collector comes by,
            # it stays; where that was quicker, the next run makes it.
            present = await self._kube.patch(resource, function.name, _new_owner(present, body), function.namespace)
            self._metrics.inc(WRITES, resource.plural, "patch")
        if present is not None and not _is_owned(present, function):
            self._conflicts[slot] = (
                f"{resource.plural} {function.name} in {function.namespace} is not Stoker's: delete or rename it, "
                f"or rename the function"
            )
            return
        self._conflicts.pop(slot, None)
        self._applied.pop(slot, None)
        if present is None:
            # An apply would write into whatever somebody made meanwhile.
            done = await self._kube.create(resource, body, function.namespace)
            self._metrics.inc(WRITES, resource.plural, "create")
        else:
            done = await self._kube.apply(
                resource,
                function.name,
                body,
                function.namespace,
                manager=FIELD_MANAGER,
                force=True,
                seen=Seen.of(present),
            )
            self._metrics.inc(WRITES, resource.plural, "apply")
        self._applied[slot] = _Applied(done.metadata.uid, done.metadata.resource_version, content)

    async def _look(self, resource: Resource[Object], function: Function) -> Object | None:
        try:
            return await self._kube.get(resource, function.name, function.namespace)
        except NotFound:
            return None


def _is_older(version: str, than: str) -> bool:
    """Whether the cache shows a state from before our own write."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def _new_owner(item: Object, body: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch, which replaces the whole list as an apply would not; only of the object as it was seen."""
    owners = body["metadata"]["ownerReferences"]
    return {"metadata": {"resourceVersion": item.metadata.resource_version, "ownerReferences": owners}}


def _controllers(item: Object) -> Iterable[Any]:
    return (owner for owner in item.metadata.owner_references or () if owner.controller)


def _is_owned(item: Object, function: Function) -> bool:
    return any(owner.uid == function.uid for owner in _controllers(item))


def _is_leftover(item: Object, function: Function) -> bool:
    return any(
        (owner.kind, owner.name) == ("GpuFunction", function.name) and owner.uid != function.uid
        for owner in _controllers(item)
    )
