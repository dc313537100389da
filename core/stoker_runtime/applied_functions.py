"""The functions as applied: decoded once per generation, the last good form kept, and why a newer one is not.

An object may be written for a newer Stoker than this process, during an upgrade: that must not end what is served.
Status writes, of which there are very many, change nothing here. Knows no watch and decides nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from stoker.errors import InvalidObject
from stoker.model.function import Function
from stoker.model.mode import Mode
from stoker.wire.cluster import API_VERSION
from stoker.wire.crd import decode_function
from stoker_runtime.kube.objects import SmallMeta
from stoker_runtime.own_kinds import Specified

log = structlog.get_logger(__name__)

Texts = Mapping[str, str] | None
"""Labels or annotations."""


def function_of(
    meta: SmallMeta, spec: Mapping[str, Any], *, labels: Texts = None, annotations: Texts = None
) -> Function:
    """The function that a GpuFunction describes; of its metadata, only what is given. Raises InvalidObject."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "GpuFunction",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": labels or {},
            "annotations": annotations or {},
        },
        "spec": spec,
    }
    return decode_function(document, uid=meta.uid, generation=meta.generation, mode=Mode.KUBERNETES)


class AppliedFunctions:
    """Everything by key, `namespace/name`. The three mappings are to be read only."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        """Those that can be served, as of their last good generation, in the order in which they came."""
        self.invalid: dict[str, str] = {}
        """Why the newest generation cannot be served, in one sentence."""
        self.uids: dict[str, str] = {}
        """Of every one that exists, understood or not."""
        self._seen: dict[str, tuple[int, Texts, Texts]] = {}

    def put(self, item: Specified, *, labels: Texts = None, annotations: Texts = None) -> bool:
        """The newest state of one. Returns whether its spec, or the labels and annotations that are given, are news."""
        meta = item.metadata
        key = meta.key
        seen = (meta.generation, labels, annotations)
        if self.uids.get(key) != meta.uid:
            # Deleted and made again between two looks: nothing of the old one may serve the new one.
            self.remove(key)
        elif self._seen[key] == seen:
            return False
        self.uids[key], self._seen[key] = meta.uid, seen
        try:
            self.functions[key] = function_of(meta, item.spec, labels=labels, annotations=annotations)
        except InvalidObject as error:
            self.invalid[key] = str(error)
            kept = self.functions.get(key)
            log.warning(
                "function_invalid",
                function=key,
                generation=meta.generation,
                error=str(error),
                kept_generation=kept.generation if kept is not None else None,
            )
        else:
            self.invalid.pop(key, None)
        return True

    def put_all(self, items: Iterable[Specified]) -> bool:
        """These are all that there are. Returns whether other functions are served now."""
        before = dict(self.functions)
        keys = set()
        for item in items:
            self.put(item)
            keys.add(item.metadata.key)
        for gone in self.uids.keys() - keys:
            self.remove(gone)
        return self.functions != before

    def remove(self, key: str) -> None:
        """It is gone, or shall be served no more."""
        self.functions.pop(key, None)
        self.invalid.pop(key, None)
        self.uids.pop(key, None)
        self._seen.pop(key, None)
