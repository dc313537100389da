"""Pods and functions as the extender reads them: the fields in use and no others."""

from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import ObjectMeta, Resource, SmallMeta


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

    metadata: SmallMeta
    spec: FunctionSpec = FunctionSpec()


PODS: Resource[Pod] = Resource("", "v1", "pods", namespaced=True, type=Pod)
FUNCTIONS: Resource[GpuFunction] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=GpuFunction)
