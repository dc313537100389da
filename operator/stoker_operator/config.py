"""Settings of the operator. Read by stoker_runtime.settings (`STOKER_WAIT_IMAGE`); knows no environment."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stoker.wire.cluster import PORT_CONTROL, PORT_INTERNAL, SCHEDULER_NAME

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class OperatorSettings(Struct, frozen=True, kw_only=True):
    """What the operator reads besides the settings of every process. The chart sets the names."""

    internal_port: Annotated[int, Meta(ge=0, le=65535)] = PORT_INTERNAL
    peer_port: Annotated[int, Meta(ge=1, le=65535)] = PORT_CONTROL
    """Control port of agents and gateways."""
    lease_name: str = "stoker-operator"
    lease_duration_s: Annotated[int, Meta(ge=2, le=300)] = 15
    """Seconds after which the other operator takes over from one that is gone."""
    node_lost_s: Seconds = 60.0
    """Seconds after which a node, whose kubelet and whose agent are silent, is given up."""
    gateway_service: str = "stoker-gateway"
    """Name of the gateways' Service in the operator's namespace."""
    node_service: str = "stoker-node"
    """Name of the agents' Service (internalTrafficPolicy: Local) in the operator's namespace."""
    wait_image: str = "stoker/wait-for-device:0.1.0"
    """Image of the init container that waits for a shared device."""
    pause_image: str = "registry.k8s.io/pause:3.10"
    """Image of the pods that keep an image on a node."""
    scheduler_name: str = SCHEDULER_NAME
    product_label: str = "nvidia.com/gpu.product"
    """Node label with the product of its GPUs; empty where nothing writes one."""
    ephemeral_storage_mib: Annotated[int, Meta(ge=0, le=10**9)] = 0
    """Bound of what a replica writes to its own disk; 0: the node's."""
    metrics_namespaces: str = ""
    """Namespaces that may scrape the functions' metricsPort, separated by commas."""
    quantum_s: Seconds = 10.0
    """Seconds that a waiting function waits at least before a busy one must give way."""
    first_word_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    """A new leader plans nothing until all agents and gateways have spoken, or for this long."""
    hostname_kind: Literal["None", "Ingress", "HTTPRoute"] = "None"
    ingress_class: str = ""
    parent_gateway: str = ""
    """`NAMESPACE/NAME` of the Gateway that HTTPRoutes are attached to."""
    hostname_tls_secret: str = ""
    sync_workers: Annotated[int, Meta(ge=1, le=64)] = 16
    """Functions whose objects are brought up to date at a time."""
