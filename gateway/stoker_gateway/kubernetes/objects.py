"""The objects of the API server as the gateway reads them: the fields in use and no others."""

from typing import Any

from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import Resource


class Meta(Struct, frozen=True, rename="camel", gc=False):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class Condition(Struct, frozen=True, gc=False):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class FunctionStatus(Struct, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class GpuFunction(Struct, frozen=True):
    """Its spec is decoded by the core."""

    metadata: Meta
    spec: dict[str, Any] = {}
    status: FunctionStatus | None = None


class GpuPolicy(Struct, frozen=True):
    """Its spec is decoded by the core."""

    metadata: Meta
    spec: dict[str, Any] = {}


class FunctionNode(Struct, frozen=True):
    """Its status is decoded by the core."""

    metadata: Meta
    status: dict[str, Any] | None = None


FUNCTIONS: Resource[GpuFunction] = Resource(GROUP, VERSION, "gpufunctions", True, GpuFunction)
POLICIES: Resource[GpuPolicy] = Resource(GROUP, VERSION, "gpupolicies", False, GpuPolicy)
FUNCTION_NODES: Resource[FunctionNode] = Resource(GROUP, VERSION, "functionnodes", False, FunctionNode)
