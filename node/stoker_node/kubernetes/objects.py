"""The pods and the Node that an agent reads, as structs of the fields in use. Stoker's own kinds are in stoker_runtime.

Knows no client call: what is asked for, and how, is said in stoker_node.kubernetes.cluster_view.
"""

from msgspec import Struct, field

from stoker_runtime.kube.objects import ObjectMeta, Resource


class VolumeMount(Struct, frozen=True, rename="camel", gc=False):
    name: str = ""


class Container(Struct, frozen=True, rename="camel"):
    name: str
    image: str = ""
    volume_mounts: tuple[VolumeMount, ...] | None = None


class ImageVolume(Struct, frozen=True, rename="camel", gc=False):
    reference: str = ""


class Volume(Struct, frozen=True, rename="camel"):
    name: str
    image: ImageVolume | None = None


class PodSpec(Struct, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None


class Ended(Struct, frozen=True, rename="camel", gc=False):
    reason: str = ""
    exit_code: int = 0


class Running(Struct, frozen=True, gc=False):
    """That it runs."""


class ContainerState(Struct, frozen=True, rename="camel"):
    running: Running | None = None
    terminated: Ended | None = None


class ContainerStatus(Struct, frozen=True, rename="camel"):
    name: str
    state: ContainerState = ContainerState()


class PodStatus(Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    pod_ip: str = field(default="", name="podIP")
    start_time: str | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeImage(Struct, frozen=True, rename="camel"):
    names: tuple[str, ...] | None = None


class NodeStatus(Struct, frozen=True, rename="camel"):
    allocatable: dict[str, str] | None = None
    images: tuple[NodeImage, ...] | None = None


class Node(Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    status: NodeStatus = NodeStatus()


PODS: Resource[Pod] = Resource("", "v1", "pods", namespaced=True, type=Pod)
NODES: Resource[Node] = Resource("", "v1", "nodes", namespaced=False, type=Node)
