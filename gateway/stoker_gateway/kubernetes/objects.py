"""What only the gateway reads of a GpuFunction: its spec, and with it why it waits."""

from typing import Any

from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import Condition, Resource, SmallMeta


class FunctionStatus(Struct, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class GpuFunction(Struct, frozen=True):
    """Its spec is decoded by the core."""

    metadata: SmallMeta
    spec: dict[str, Any] = {}
    status: FunctionStatus | None = None


FUNCTIONS: Resource[GpuFunction] = Resource(GROUP, VERSION, "gpufunctions", True, GpuFunction)
