"""What only the gateway reads of a GpuFunction: its spec, and with it why it waits."""

from typing import Any

from msgspec import Struct

from stoker.model.function import Variant
from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import Condition, Resource, SmallMeta


class RefusedVariant(Struct, frozen=True, rename="camel"):
    """A variant that requests may not have for what it costs, as the operator says it."""

    variant: Variant
    message: str = ""
    until: str | None = None
    """RFC 3339."""
    warm_too: bool = False


class FunctionCost(Struct, frozen=True):
    refused: tuple[RefusedVariant, ...] | None = None


class FunctionStatus(Struct, frozen=True):
    conditions: tuple[Condition, ...] | None = None
    cost: FunctionCost | None = None


class GpuFunction(Struct, frozen=True):
    """Its spec is decoded by the core."""

    metadata: SmallMeta
    spec: dict[str, Any] = {}
    status: FunctionStatus | None = None


FUNCTIONS: Resource[GpuFunction] = Resource(GROUP, VERSION, "gpufunctions", True, GpuFunction)
