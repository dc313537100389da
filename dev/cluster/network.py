"""The network between host and nodes: one bridge, one cable per node, routes for pods and Services.

Everything on the host hangs on the bridge: without it routes and cables are gone too. Nodes reach each other on the
bridge itself, so the host forwards nothing and its firewall stays as it is.
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Final

from cluster.errors import ClusterError
from cluster.layout import Layout, NodeLayout

_DEVICE: Final = "eth0"


class NetworkError(ClusterError):
    """A command of the kernel's network tools failed; the message holds it and what it said."""


def owner(layout: Layout) -> str:
    """The directory of the cluster that has this layout's bridge.

    Empty when there is no such bridge, or when its maker was killed before it could say whose it is.
    """
    if not exists(layout.bridge):
        return ""
    links: list[dict[str, str]] = json.loads(run("ip", "-json", "link", "show", layout.bridge))
    return links[0].get("ifalias", "")


def create_bridge(layout: Layout) -> None:
    """Raises NetworkError, also when another interface has one of our subnets."""
    holder = owner(layout)
    if holder:
        raise NetworkError(
            f"cluster: the bridge {layout.bridge} belongs to {holder}; choose another --index than {layout.index}"
        )
    for network in (layout.node_network, layout.pod_network, layout.service_network):
        taken = run("ip", "-4", "route", "show", "root", str(network)).strip()
        if taken:
            raise NetworkError(
                f"cluster: this machine already has a route into {network} ({taken.splitlines()[0].strip()}); "
                "choose another --index"
            )
    run("ip", "link", "add", layout.bridge, "type", "bridge")
    run("ip", "link", "set", layout.bridge, "alias", str(layout.directory))
    run("ip", "addr", "add", f"{layout.host_address}/{layout.node_network.prefixlen}", "dev", layout.bridge)
    run("ip", "link", "set", layout.bridge, "up")


def repair(layout: Layout, holders: Mapping[str, int]) -> None:
    """Makes the network anew around nodes that run; `holders` is the pid in whose namespace each node lives."""
    remove_bridge(layout)
    create_bridge(layout)
    for node in layout.nodes:
        connect(layout, node, holders[node.name])
    route_services(layout)


def is_whole(layout: Layout) -> bool:
    return owner(layout) == str(layout.directory) and all(exists(node.veth) for node in layout.nodes)


def connect(layout: Layout, node: NodeLayout, holder: int) -> None:
    """Puts a cable between the bridge and the node's namespace and sets the routes on both ends."""
    run("ip", "link", "add", node.veth, "type", "veth", "peer", "name", _DEVICE, "netns", str(holder))
    run("ip", "link", "set", node.veth, "master", layout.bridge, "up")
    inside = ("nsenter", f"--target={holder}", "--net", "--")
    run(*inside, "ip", "addr", "add", f"{node.address}/{layout.node_network.prefixlen}", "dev", _DEVICE)
    run(*inside, "ip", "link", "set", _DEVICE, "up")
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "route", "add", "default", "via", layout.host_address)
    run(*inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    for other in layout.nodes:
        if other.name != node.name:
            run(*inside, "ip", "route", "add", other.pod_subnet, "via", other.address)
    run("ip", "route", "add", node.pod_subnet, "via", node.address)


def route_services(layout: Layout) -> None:
    """Gives the host ClusterIPs and cluster DNS, by way of the first node."""
    run("ip", "route", "add", str(layout.service_network), "via", layout.nodes[0].address)


def remove_bridge(layout: Layout) -> None:
    """Removes the bridge, what hangs on it, and cables that a killed start left. Another cluster's stays."""
    if owner(layout) not in ("", str(layout.directory)):
        return
    for name in (layout.bridge, *(node.veth for node in layout.nodes)):
        if exists(name):
            run("ip", "link", "delete", name)


def exists(interface: str) -> bool:
    return subprocess.run(["ip", "link", "show", interface], capture_output=True, check=False).returncode == 0


def run(*command: str) -> str:
    """Its output. Raises NetworkError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise NetworkError(f"cluster: `{' '.join(command)}` failed: {said}")
    return done.stdout
