"""The objects of the API server as the extender reads them: the fields in use and no others."""

from typing import Any

from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import ObjectMeta, Resource


class PodSpec(Struct, frozen=True, rename="camel", gc=False):
    node_name: str = ""


class PodStatus(Struct, frozen=True, gc=False):
    phase: str = ""


class Pod(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Slo(Struct, frozen=True, gc=False):
    latency: str = ""


class FunctionSpec(Struct, frozen=True, gc=False):
    slo: Slo = Slo()


class GpuFunction(Struct, frozen=True, gc=False):
    """All that a score needs of a function is its objective."""

    metadata: ObjectMeta
    spec: FunctionSpec = FunctionSpec()


class GpuPolicy(Struct, frozen=True):
    metadata: ObjectMeta
    spec: dict[str, Any] = {}


class FunctionNode(Struct, frozen=True):
    metadata: ObjectMeta
    status: dict[str, Any] | None = None


PODS: Resource[Pod] = Resource("", "v1", "pods", namespaced=True, type=Pod)
FUNCTIONS: Resource[GpuFunction] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=GpuFunction)
POLICIES: Resource[GpuPolicy] = Resource(GROUP, VERSION, "gpupolicies", namespaced=False, type=GpuPolicy)
FUNCTION_NODES: Resource[FunctionNode] = Resource(GROUP, VERSION, "functionnodes", namespaced=False, type=FunctionNode)
