"""Names, addresses and folders of one cluster. Pure: reads and makes nothing.

Two clusters stand side by side when their index differs: subnets, bridge and ports all follow from it.
"""

import hashlib
import ipaddress
import os
from pathlib import Path
from typing import Final

import msgspec

from cluster.control_plane import ControlPlane, Ports
from cluster.errors import ClusterError

NODES: Final = ("node-a", "node-b")
DEFAULT_PORT_BASE: Final = 21640
MAX_INDEX: Final = 31
LAYOUT_FILE: Final = "cluster.json"
CLUSTER_DOMAIN: Final = "cluster.local"

_HIDDEN_IN_NODES: Final = ("/var/lib", "/var/log", "/run", "/proc", "/sys", "/dev")
_MAX_SOCKET_PATH: Final = 107
_LONGEST_SOCKET: Final = "node-b/var/lib/kubelet/device-plugins/kubelet.sock"


class LayoutError(ClusterError):
    """The cluster cannot be where it was asked to be; the message says why and what to change."""


class NodeLayout(msgspec.Struct, frozen=True):
    """One node. Inside it the usual paths hold; its folder has them as `var/lib`, `var/log` and `run`."""

    name: str
    directory: Path
    address: str
    pod_subnet: str
    veth: str
    cgroup: str

    @property
    def socket(self) -> Path:
        """containerd's, as seen from the host."""
        return self.directory / "run" / "containerd" / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        """The node's /var/lib/kubelet, as seen from the host."""
        return self.directory / "var" / "lib" / "kubelet"

    @property
    def mounts(self) -> tuple[tuple[Path, str], ...]:
        """Which folders of the host lie where inside the node."""
        return (
            (self.directory / "var" / "lib", "/var/lib"),
            (self.directory / "var" / "log", "/var/log"),
            (self.directory / "run", "/run"),
        )


class Layout(msgspec.Struct, frozen=True):
    """One cluster."""

    name: str
    directory: Path
    index: int = 0
    port_base: int = DEFAULT_PORT_BASE

    @property
    def bridge(self) -> str:
        return f"stoker{self.index}"

    @property
    def node_network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"172.31.{self.index}.0/24")

    @property
    def host_address(self) -> str:
        return str(self.node_network[1])

    @property
    def pod_network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.{201 + self.index}.0.0/16")

    @property
    def service_network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.{96 + self.index}.0.0/16")

    @property
    def dns_address(self) -> str:
        return str(self.service_network[10])

    @property
    def nodes(self) -> tuple[NodeLayout, ...]:
        return tuple(
            NodeLayout(
                name=name,
                directory=self.directory / name,
                address=str(self.node_network[2 + number]),
                pod_subnet=f"10.{201 + self.index}.{1 + number}.0/24",
                veth=f"stoker{self.index}-{name[-1]}",
                cgroup=f"stoker-{self.name}-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]}-{name}",
            )
            for number, name in enumerate(NODES)
        )

    @property
    def control_plane(self) -> ControlPlane:
        base = self.port_base + 10 * self.index
        return ControlPlane(
            self.directory / "control-plane",
            Ports(api=base, etcd_client=base + 1, etcd_peer=base + 2, controller_manager=base + 3, scheduler=base + 4),
            address=self.host_address,
            service_cidr=str(self.service_network),
            pod_cidr=str(self.pod_network),
        )

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def record(self) -> Path:
        """This layout, so that what removes the cluster knows its bridge and ports."""
        return self.directory / LAYOUT_FILE

    @property
    def completed(self) -> Path:
        """Exists once a start went through: from then on the cluster can be repaired."""
        return self.directory / "completed"


def make_layout(name: str, index: int, port_base: int, directory: Path | None = None) -> Layout:
    """Raises LayoutError when the name, the index or the directory would not work."""
    if not (name.isascii() and name.replace("-", "").isalnum() and len(name) <= 20):
        raise LayoutError(f"cluster: the name {name!r} must be up to 20 letters, digits and dashes")
    if not 0 <= index <= MAX_INDEX:
        raise LayoutError(f"cluster: the index {index} must be from 0 to {MAX_INDEX}; it chooses subnets and ports")
    where = (directory or state_directory() / name).absolute()
    for hidden in _HIDDEN_IN_NODES:
        if where.resolve().is_relative_to(hidden):
            raise LayoutError(
                f"cluster: {where} lies in {hidden}, which each node covers with its own; "
                "set XDG_STATE_HOME to another folder"
            )
    if len(str(where / _LONGEST_SOCKET)) > _MAX_SOCKET_PATH:
        raise LayoutError(f"cluster: {where} is too long a path for Unix sockets; set XDG_STATE_HOME to a shorter one")
    return Layout(name, where, index, port_base)


def state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "stoker" / "cluster"
