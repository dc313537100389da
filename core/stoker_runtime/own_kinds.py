"""Stoker's own kinds as the API server gives them, for those who read their specs and statuses whole.

What a spec or status says is read by the decoders of stoker.wire. A shell that needs less of a kind declares less.
"""

from typing import Any, Protocol

from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import Resource, SmallMeta


class Specified(Protocol):
    """An object with a spec."""

    @property
    def metadata(self) -> SmallMeta: ...
    @property
    def spec(self) -> dict[str, Any]: ...


class Applied(Struct, frozen=True):
    """A GpuFunction or GpuPolicy as users applied it."""

    metadata: SmallMeta
    spec: dict[str, Any] = {}


class FunctionNode(Struct, frozen=True):
    """The ledger of one node, as its agent wrote it."""

    metadata: SmallMeta
    status: dict[str, Any] | None = None


FUNCTIONS: Resource[Applied] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=Applied)
POLICIES: Resource[Applied] = Resource(GROUP, VERSION, "gpupolicies", namespaced=False, type=Applied)
FUNCTION_NODES: Resource[FunctionNode] = Resource(GROUP, VERSION, "functionnodes", namespaced=False, type=FunctionNode)
