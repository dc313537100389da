"""GpuFunctions and the GpuPolicy as the agent acts on them: decoded, and of what cannot be decoded the last good one.

An object may be written for a newer Stoker than this agent, during an upgrade: that must not end what it serves. Knows
no cache: it is handed documents.
"""

from collections.abc import Callable, Iterable

import msgspec
import structlog

from stoker.errors import InvalidObject
from stoker.model.function import Function
from stoker.model.mode import Mode
from stoker.model.policy import Policy, default_policy
from stoker.wire.cluster import API_VERSION
from stoker.wire.crd import decode_function
from stoker.wire.policy import NAME, decode_policy
from stoker_node.kubernetes.objects import Document

log = structlog.get_logger(__name__)


class FunctionBook:
    """All functions, by key."""

    def __init__(self, on_change: Callable[[dict[str, Function]], None]) -> None:
        """`on_change` gets all functions, whenever one of them changed."""
        self._on_change = on_change
        self._functions: dict[str, Function] = {}
        self._uids: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    @property
    def functions(self) -> dict[str, Function]:
        """To be read only."""
        return self._functions

    @property
    def uids(self) -> dict[str, str]:
        """Uid by key of every function that exists, decodable or not. To be read only."""
        return self._uids

    def set(self, documents: Iterable[Document]) -> None:
        """These are all that there are."""
        seen: dict[str, str] = {}
        functions: dict[str, Function] = {}
        for document in documents:
            meta = document.metadata
            key = f"{meta.namespace}/{meta.name}"
            seen[key] = meta.uid
            function = self._decoded(key, document)
            if function is not None:
                functions[key] = function
        self._uids = seen
        self._versions = {key: version for key, version in self._versions.items() if key in seen}
        if functions != self._functions:
            self._functions = functions
            self._on_change(functions)

    def _decoded(self, key: str, document: Document) -> Function | None:
        known = self._functions.get(key)
        meta = document.metadata
        if known is not None and known.uid != meta.uid:
            known = None  # another function of the same name: what is known is not about it
        if self._versions.get(key) == meta.resource_version and self._uids.get(key) == meta.uid:
            return known
        self._versions[key] = meta.resource_version
        try:
            return decode_function(
                _content(document, "GpuFunction"), uid=meta.uid, generation=meta.generation, mode=Mode.KUBERNETES
            )
        except InvalidObject as err:
            log.warning("function_undecodable", function=key, error=str(err), kept=known is not None)
            return known


class PolicyBook:
    """The one GpuPolicy."""

    def __init__(self, on_change: Callable[[Policy], None]) -> None:
        self._on_change = on_change
        self.policy = default_policy()

    def set(self, documents: Iterable[Document]) -> None:
        """These are all that there are; none means the default."""
        found = next((one for one in documents if one.metadata.name == NAME), None)
        try:
            policy = (
                default_policy() if found is None else decode_policy(_content(found, "GpuPolicy"), mode=Mode.KUBERNETES)
            )
        except InvalidObject as err:
            log.warning("policy_undecodable", error=str(err))
            return
        if policy != self.policy:
            self.policy = policy
            self._on_change(policy)


def _content(document: Document, kind: str) -> dict[str, object]:
    """The document as users write it: what the server adds is left out."""
    meta = document.metadata
    metadata = {"name": meta.name, "labels": meta.labels or {}, "annotations": meta.annotations or {}}
    if meta.namespace:
        metadata["namespace"] = meta.namespace
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": msgspec.to_builtins(document.spec)}
