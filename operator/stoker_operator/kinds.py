"""The objects of the API server as the operator reads them: the fields in use and no others."""

from typing import Any

import msgspec
from msgspec import Struct

from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.objects import Condition, ObjectMeta, Resource, SmallMeta


class Reference(Struct, frozen=True, gc=False):
    """The name of something."""

    name: str = ""


class TimedCondition(Condition, frozen=True, rename="camel", gc=False):
    """A condition of a pod or node, and since when it is so."""

    last_transition_time: str | None = None


class Waiting(Struct, frozen=True, gc=False):
    reason: str = ""
    message: str = ""


class Running(Struct, frozen=True, gc=False):
    """That it runs."""


class Terminated(Struct, frozen=True, rename="camel", gc=False):
    reason: str = ""
    message: str = ""
    exit_code: int = 0


class ContainerState(Struct, frozen=True, gc=False):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Struct, frozen=True, rename="camel", gc=False):
    name: str
    image: str = ""
    restart_count: int = 0
    state: ContainerState = ContainerState()


class Container(Struct, frozen=True, gc=False):
    name: str
    image: str = ""


class PodSpec(Struct, frozen=True, rename="camel", gc=False):
    node_name: str = ""
    containers: tuple[Container, ...] = ()


class PodStatus(Struct, frozen=True, rename="camel", gc=False):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    nominated_node_name: str = ""
    conditions: tuple[TimedCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()

    def condition(self, name: str) -> TimedCondition | None:
        """The condition of that type."""
        return next((condition for condition in self.conditions if condition.type == name), None)


class Pod(Struct, frozen=True, gc=False):
    """A pod of a function: a replica, or one that keeps an image."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeStatus(Struct, frozen=True, gc=False):
    conditions: tuple[TimedCondition, ...] = ()


class NodeSpec(Struct, frozen=True, gc=False):
    unschedulable: bool = False


class Node(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def cordoned(self) -> bool:
        """Whether somebody keeps new pods off it, as `kubectl drain` does."""
        return self.spec.unschedulable

    @property
    def ready(self) -> bool:
        """Whether its kubelet says so."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class Object(Struct, frozen=True, gc=False):
    """An object of which only that it is there matters."""

    metadata: ObjectMeta


class Dynamic(Struct, frozen=True):
    """One of our own kinds, decoded by the core and not here."""

    metadata: ObjectMeta
    spec: dict[str, Any] = {}
    status: dict[str, Any] | None = None


class Kept(Struct, frozen=True, gc=False):
    """One of our own kinds as it is kept for long: 5,000 of them as dictionaries would take 70 MiB, as JSON 10."""

    metadata: ObjectMeta
    spec_json: bytes
    status_json: bytes

    @classmethod
    def of(cls, item: Dynamic) -> "Kept":
        return cls(item.metadata, msgspec.json.encode(item.spec), msgspec.json.encode(item.status))

    @property
    def spec(self) -> dict[str, Any]:
        """Made anew at every call."""
        return msgspec.json.decode(self.spec_json, type=dict[str, Any])

    @property
    def status(self) -> dict[str, Any]:
        """The same; empty where there is none yet."""
        return msgspec.json.decode(self.status_json, type=dict[str, Any] | None) or {}


class FunctionNode(Struct, frozen=True):
    metadata: ObjectMeta
    status: dict[str, Any] | None = None


class Revision(Struct, frozen=True):
    """A ControllerRevision: the spec of one revision and the pods that were built of it."""

    metadata: ObjectMeta
    data: dict[str, Any] = {}
    revision: int = 0


class EventSeries(Struct, frozen=True, rename="camel", gc=False):
    last_observed_time: str | None = None


class Event(Struct, frozen=True, rename="camel", gc=False):
    """What somebody says of an object, once or again and again."""

    metadata: SmallMeta
    type: str = ""
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None
    series: EventSeries | None = None


PODS: Resource[Pod] = Resource("", "v1", "pods", namespaced=True, type=Pod)
RAW_PODS: Resource[dict[str, Any]] = Resource("", "v1", "pods", namespaced=True, type=dict[str, Any])
"""Pods in full, where a check must see every field."""
EVENTS: Resource[Event] = Resource("", "v1", "events", namespaced=True, type=Event)
NODES: Resource[Node] = Resource("", "v1", "nodes", namespaced=False, type=Node)
SERVICES: Resource[Object] = Resource("", "v1", "services", namespaced=True, type=Object)
SERVICE_ACCOUNTS: Resource[Object] = Resource("", "v1", "serviceaccounts", namespaced=True, type=Object)
NETWORK_POLICIES: Resource[Object] = Resource(
    "networking.k8s.io", "v1", "networkpolicies", namespaced=True, type=Object
)
INGRESSES: Resource[Object] = Resource("networking.k8s.io", "v1", "ingresses", namespaced=True, type=Object)
HTTP_ROUTES: Resource[Object] = Resource("gateway.networking.k8s.io", "v1", "httproutes", namespaced=True, type=Object)
REVISIONS: Resource[Revision] = Resource("apps", "v1", "controllerrevisions", namespaced=True, type=Revision)
FUNCTIONS: Resource[Dynamic] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=Dynamic)
FUNCTION_VERSIONS: Resource[Object] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=Object)
"""Functions of which only that they are there matters, and in which version."""
POLICIES: Resource[Dynamic] = Resource(GROUP, VERSION, "gpupolicies", namespaced=False, type=Dynamic)
FUNCTION_NODES: Resource[FunctionNode] = Resource(GROUP, VERSION, "functionnodes", namespaced=False, type=FunctionNode)
