"""The functions of the cluster as this gateway serves them: decoded once per generation, the last good form kept.

Fed with objects before and after a change (watch caches, stoker_runtime.kube.watch). Status writes, of which there are
very many, change nothing here. Knows no connection.
"""

from collections.abc import Callable
from typing import Any

import structlog

from stoker.errors import InvalidObject
from stoker.hostnames import owners
from stoker.model.function import Function, Visibility
from stoker.model.mode import Mode
from stoker.model.policy import Policy, default_policy
from stoker.wire.cluster import API_VERSION
from stoker.wire.crd import decode_function
from stoker.wire.policy import decode_policy
from stoker_gateway.kubernetes.objects import GpuFunction, GpuPolicy, Meta

POLICY_NAME = "default"

log = structlog.get_logger(__name__)


class FunctionBook:
    """`changed` is called when anything that requests meet is different: cheap, may be called often."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.functions: dict[str, Function] = {}
        """By key, as of their last good generation."""
        self._born: dict[str, tuple[str, str]] = {}
        self._seen: dict[str, tuple[str, int]] = {}
        self._policy: Policy = default_policy()
        self._changed = changed

    def see_function(self, before: GpuFunction | None, after: GpuFunction | None) -> None:
        """One GpuFunction came, changed or went (None)."""
        if after is None or after.metadata.deletion_timestamp is not None:
            gone = after or before
            if gone is not None:
                self._remove(gone.metadata.key)
            return
        meta = after.metadata
        key = meta.key
        version = (meta.uid, meta.generation)
        if self._seen.get(key) == version:
            return
        known = self.functions.get(key)
        if known is not None and known.uid != meta.uid:
            # Deleted and made again between two looks: nothing of the old one may serve for the new one.
            self._remove(key)
        self._seen[key] = version
        try:
            function = decode_function(
                _document("GpuFunction", meta, after.spec),
                uid=meta.uid,
                generation=meta.generation,
                mode=Mode.KUBERNETES,
            )
        except InvalidObject as error:
            log.warning(
                "function_not_understood",
                function=key,
                generation=meta.generation,
                error=str(error),
                kept_generation=self.functions[key].generation if key in self.functions else None,
            )
            return
        self.functions[key] = function
        self._born[key] = (meta.creation_timestamp, key)
        self._changed()

    def see_policy(self, _before: GpuPolicy | None, after: GpuPolicy | None) -> None:
        """The GpuPolicy came, changed or went. What cannot be understood leaves the one before."""
        if after is not None and after.metadata.name != POLICY_NAME:
            return
        if after is None:
            policy = default_policy()
        else:
            try:
                policy = decode_policy(_document("GpuPolicy", after.metadata, after.spec), mode=Mode.KUBERNETES)
            except InvalidObject as error:
                log.warning("policy_not_understood", generation=after.metadata.generation, error=str(error))
                return
        if policy != self._policy:
            self._policy = policy
            self._changed()

    def hostnames(self) -> dict[str, str]:
        """Whose each own hostname is, of the Public ones that are served by theirs."""
        asking = [key for key, function in self.functions.items() if function.spec.access.hostnames]
        if not asking:
            return {}
        # As the operator decides it: the oldest first.
        oldest_first = (self.functions[key] for key in sorted(asking, key=self._born.__getitem__))
        taken, _ = owners(oldest_first, lambda namespace: self._policy.rule(namespace).hostname_suffixes)
        return {
            name: key for name, key in taken.items() if self.functions[key].spec.access.visibility is Visibility.PUBLIC
        }

    def _remove(self, key: str) -> None:
        self._seen.pop(key, None)
        self._born.pop(key, None)
        if self.functions.pop(key, None) is not None:
            self._changed()


def why_waiting(function: GpuFunction | None) -> str:
    """What a function is waiting for, by its Ready condition; empty where the operator has not said."""
    conditions = () if function is None or function.status is None else function.status.conditions or ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    return "" if ready is None else ready.message or ready.reason


def _document(kind: str, meta: Meta, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": meta.name} if not meta.namespace else {"name": meta.name, "namespace": meta.namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
