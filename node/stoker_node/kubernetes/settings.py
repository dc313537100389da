"""Settings of the node agent on Kubernetes, beside those that it has everywhere (stoker_node.config)."""

from typing import Annotated

from msgspec import Meta, Struct

from stoker.wire.cluster import PORT_CONTROL, PORT_DATA, PORT_GRANT, PORT_INTERNAL
from stoker_node.config import Seconds

Port = Annotated[int, Meta(ge=0, le=65535)]


class KubernetesNodeSettings(Struct, frozen=True, kw_only=True):
    """What the chart may set. Port 0 takes a free one."""

    drain_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that accepted requests get to finish after SIGTERM; less than the pod's grace period."""
    reservation_ttl_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    """An agent that follows another one grants nothing new for so long: what its predecessor granted last is then
    seen to run."""
    plugin_grace_s: Seconds = 60.0
    """A device plugin that offers nothing at all is taken to restart for so long."""
    api_stale_s: Seconds = 60.0
    """A view of the API server that is older than this makes the agent unready; what it serves goes on."""
    memory_slack_mib: Annotated[int, Meta(ge=0, le=65_536)] = 512
    """What may be used of a shared device beyond all promises before somebody is at fault: the driver's own."""
    host_pid: bool = False
    """The agent's pod has hostPID: then the process that uses too much memory of a device can be told."""
    state_dir: str = "/var/lib/kubelet/plugins/stoker.dev"
    """Folder of the host, the same for all agents of the node that ever are."""
    kubelet_socket: str = "/var/lib/kubelet/pod-resources/kubelet.sock"
    data_port: Port = PORT_DATA
    control_port: Port = PORT_CONTROL
    grant_port: Port = PORT_GRANT
    internal_port: Port = PORT_INTERNAL
