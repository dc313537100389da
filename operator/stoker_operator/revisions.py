"""Revisions as ControllerRevisions: the pods that were built of each, which was ready last, which was given up.

The templates of a revision are built once and stored, so that upgrading Stoker never restarts a function's pod, and a
return to an older revision makes the very pods that worked. What plan() remembers of revisions is written here too:
a new leader reads it back.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from msgspec.structs import replace

from stoker.control.planning import FailedRevision, FunctionMemory
from stoker.errors import InvalidObject
from stoker.model.function import Function, Variant
from stoker.pods.build import build_pod
from stoker.pods.objects import controller_revision, revision_name
from stoker.pods.params import PodParams
from stoker.reasons import Reason
from stoker.wire.cluster import FIELD_MANAGER, GROUP, L_FUNCTION, L_REVISION
from stoker_operator.kinds import REVISIONS, Revision
from stoker_operator.not_made import NotMade
from stoker_runtime.applied_functions import function_of
from stoker_runtime.kube.errors import AlreadyExists, Conflict, NotFound
from stoker_runtime.kube.objects import Resource, Seen, SmallMeta

log = structlog.get_logger(__name__)

A_READY = f"{GROUP}/ready"
"""Annotation: the number of the revision when it became ready; the highest is the one to return to."""
A_FAILED = f"{GROUP}/failed"
"""Annotation: why it was given up."""
KEPT = 5
"""Revisions of a function that are kept beside those in use: what a person may want to compare with."""


class RevisionApi(Protocol):
    """What this needs of a KubeClient."""

    async def create(self, resource: Resource[Revision], body: dict[str, Any], namespace: str = "") -> Revision: ...
    async def get(self, resource: Resource[Revision], name: str, namespace: str = "") -> Revision: ...
    async def patch(
        self, resource: Resource[Revision], name: str, body: dict[str, Any], namespace: str = ""
    ) -> Revision: ...
    async def delete(
        self, resource: Resource[Any], name: str, namespace: str = "", *, seen: Seen | None = None
    ) -> None: ...


class Revisions:
    """Fed by a watch of ControllerRevisions that carry L_FUNCTION."""

    def __init__(
        self,
        kube: RevisionApi,
        params_of: Callable[[Function, Variant], PodParams],
        spec_of: Callable[[str], Mapping[str, Any] | None],
    ) -> None:
        """`spec_of` gives the spec of a function as applied, by key."""
        self._kube = kube
        self._params_of = params_of
        self._spec_of = spec_of
        self._known: dict[str, dict[str, Revision]] = {}
        self._decoded: dict[str, tuple[str, Function | None]] = {}
        """Functions as of stored revisions, by the uid of the ControllerRevision, with the function's uid."""

    def see(self, before: Revision | None, after: Revision | None) -> None:
        """A change of one of them."""
        item = after or before
        assert item is not None
        labels = item.metadata.labels or {}
        key, revision = f"{item.metadata.namespace}/{labels.get(L_FUNCTION, '')}", labels.get(L_REVISION, "")
        of_function = self._known.get(key, {})
        known = of_function.get(revision)
        if after is not None:
            # What we wrote ourselves is newer than what the watch still has to tell.
            if known is None or _version(known) <= _version(after):
                self._known.setdefault(key, {})[revision] = after
            return
        self._decoded.pop(item.metadata.uid, None)
        if known is not None and known.metadata.uid == item.metadata.uid:
            del of_function[revision]
            if not of_function:
                del self._known[key]

    async def template(self, function: Function, variant: Variant) -> dict[str, Any]:
        """The pod of a variant as of the function's revision; built and stored where there is none yet.

        Raises NotMade for what the administrator does not allow, KubeError when it cannot be stored.
        """
        stored = self._of(function)
        if stored is None:
            stored = await self._store(function)
        templates = stored.data.get("pods", {})
        template = templates.get(variant.value)
        if template is None:
            raise NotMade(
                Reason.POD_REFUSED, f"revision {function.revision} of {function.key} has no {variant.value} pod stored"
            )
        found: dict[str, Any] = template
        return found

    def remembered(self, function: Function) -> FunctionMemory:
        """What a former leader knew of the function's revisions."""
        best: Revision | None = None
        for item in self._all_of(function):
            annotations = item.metadata.annotations or {}
            if A_READY in annotations and (best is None or _rank(item) > _rank(best)):
                best = item
        last_ready = None if best is None else self._as_of(function, best)
        memory = FunctionMemory(uid=function.uid, target=function.revision, last_ready=last_ready)
        current = self._of(function)
        why = None if current is None else (current.metadata.annotations or {}).get(A_FAILED)
        if why is not None and memory.last_ready is not None and memory.last_ready.revision != function.revision:
            return replace(memory, failed=FailedRevision(revision=function.revision, detail=why))
        return memory

    def in_use(self, function: Function, revisions: Iterable[str]) -> tuple[Function, ...]:
        """The function as of those of the revisions that are stored and are not its newest."""
        items = [item for item in self._all_of(function) if _revision(item) in revisions]
        found = [self._as_of(function, item) for item in items if _revision(item) != function.revision]
        return tuple(sorted((each for each in found if each is not None), key=lambda each: each.revision))

    def due(self, function: Function, memory: FunctionMemory, in_use: Iterable[str]) -> bool:
        """Whether write() has something to do."""
        return bool(self._marks(function, memory)) or bool(self._surplus(function, memory, in_use))

    async def write(self, function: Function, memory: FunctionMemory, in_use: Iterable[str]) -> None:
        """Store what plan() has come to know, and remove revisions that nobody will want. Raises KubeError."""
        for item, annotations in self._marks(function, memory):
            meta = item.metadata
            body = {"metadata": {"annotations": annotations}}
            self.see(item, await self._kube.patch(REVISIONS, meta.name, body, meta.namespace))
        for item in self._surplus(function, memory, in_use):
            meta = item.metadata
            with contextlib.suppress(NotFound, Conflict):  # gone, or another one
                await self._kube.delete(REVISIONS, meta.name, meta.namespace, seen=Seen.of(item))
            self.see(item, None)

    def _of(self, function: Function) -> Revision | None:
        return next((item for item in self._all_of(function) if _revision(item) == function.revision), None)

    def _all_of(self, function: Function) -> list[Revision]:
        # One of a function of the same name that was deleted is the garbage collector's.
        return [item for item in self._known.get(function.key, {}).values() if _is_of(item, function)]

    def _as_of(self, function: Function, item: Revision) -> Function | None:
        known = self._decoded.get(item.metadata.uid)
        if known is None or known[0] != function.uid:
            known = self._decoded[item.metadata.uid] = (function.uid, _decode(function, item))
        return known[1]

    async def _store(self, function: Function) -> Revision:
        spec = self._spec_of(function.key)
        if spec is None:
            raise NotMade(Reason.DELETING, f"{function.key} is being deleted")
        try:
            templates = {
                variant: build_pod(function, variant, self._params_of(function, variant))
                for variant in function.variants
            }
        except InvalidObject as error:
            raise NotMade(Reason.POD_REFUSED, str(error)) from None
        body = controller_revision(function, dict(spec), templates)
        body["metadata"].setdefault("annotations", {})[f"{GROUP}/manager"] = FIELD_MANAGER
        name = revision_name(function)
        try:
            stored = await self._kube.create(REVISIONS, body, function.namespace)
        except AlreadyExists:
            stored = await self._kube.get(REVISIONS, name, function.namespace)
            if not _is_of(stored, function):
                await self._remove_leftover(function, stored)
                stored = await self._kube.create(REVISIONS, body, function.namespace)
        self.see(None, stored)
        return stored

    async def _remove_leftover(self, function: Function, item: Revision) -> None:
        """Remove what is left of a function of the same name that was deleted. Raises NotMade for anybody else's."""
        owners = item.metadata.owner_references or ()
        if not any(owner.controller and (owner.kind, owner.name) == ("GpuFunction", function.name) for owner in owners):
            raise NotMade(
                Reason.NAME_CONFLICT,
                f"a ControllerRevision named {item.metadata.name} is there already and is not Stoker's: delete it",
            )
        with contextlib.suppress(NotFound, Conflict):
            await self._kube.delete(REVISIONS, item.metadata.name, function.namespace, seen=Seen.of(item))
        self.see(item, None)

    def _marks(self, function: Function, memory: FunctionMemory) -> list[tuple[Revision, dict[str, str | None]]]:
        known = {_revision(item): item for item in self._all_of(function)}
        marks: list[tuple[Revision, dict[str, str | None]]] = []
        if memory.last_ready is not None and (item := known.get(memory.last_ready.revision)) is not None:
            highest = max((_rank(other) for other in known.values()), default=0)
            annotations = item.metadata.annotations or {}
            wanted: dict[str, str | None] = {}
            if _rank(item) < highest or A_READY not in annotations:
                wanted[A_READY] = str(highest + 1)
            if A_FAILED in annotations:
                wanted[A_FAILED] = None
            if wanted:
                marks.append((item, wanted))
        failed = memory.failed
        if failed is not None and (item := known.get(failed.revision)) is not None:
            detail = failed.detail[:1024]
            if (item.metadata.annotations or {}).get(A_FAILED) != detail:
                marks.append((item, {A_FAILED: detail}))
        elif (
            (item := known.get(function.revision)) is not None
            and A_FAILED in (item.metadata.annotations or {})
            and not any(item is marked for marked, _ in marks)
        ):
            # It was given up once and is wanted again: a new leader must not give it up unseen.
            marks.append((item, {A_FAILED: None}))
        return marks

    def _surplus(self, function: Function, memory: FunctionMemory, in_use: Iterable[str]) -> list[Revision]:
        wanted = {function.revision, *in_use}
        if memory.last_ready is not None:
            wanted.add(memory.last_ready.revision)
        idle = [item for item in self._all_of(function) if _revision(item) not in wanted]
        idle.sort(key=lambda item: item.revision, reverse=True)
        return idle[KEPT:]


def _rank(item: Revision) -> int:
    text = (item.metadata.annotations or {}).get(A_READY, "")
    return int(text) if text.isdecimal() else 0


def _revision(item: Revision) -> str:
    return (item.metadata.labels or {}).get(L_REVISION, "")


def _version(item: Revision) -> int:
    text = item.metadata.resource_version
    return int(text) if text.isdecimal() else 0


def _is_of(item: Revision, function: Function) -> bool:
    return any(owner.uid == function.uid for owner in item.metadata.owner_references or ())


def _decode(function: Function, item: Revision) -> Function | None:
    """The function as of a stored revision, with the uid that it has now."""
    meta = SmallMeta(
        name=function.name,
        namespace=function.namespace,
        uid=function.uid,
        generation=item.revision or function.generation,
    )
    try:
        decoded = function_of(meta, item.data.get("spec", {}))
    except InvalidObject as error:
        log.warning("revision_unreadable", function=function.key, name=item.metadata.name, error=str(error))
        return None
    return decoded if decoded.revision == _revision(item) else None
