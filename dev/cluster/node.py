"""Starts one node: a holder of its namespaces, in them containerd, kubelet, kube-proxy and the NetworkPolicy
firewall.

The holder is the first process of a pid namespace. When it ends, however that happens, the kernel ends everything of
the node: programs, shims, containers, mounts and the network namespace.
"""

import os
import shlex
from typing import Final

from cluster import cgroups, network, node_config
from cluster.binaries import binary
from cluster.layout import Layout, NodeLayout
from cluster.processes import Processes
from cluster.readiness import wait_until

_TIMEOUT_S: Final = 30.0
_PROGRAMS: Final = ("containerd", "kubelet", "kube-proxy", "kube-router")


def process(program: str, node: NodeLayout) -> str:
    """The name under which a node's program is recorded: for example `kubelet.node-a`."""
    return f"{program}.{node.name}"


def processes(node: NodeLayout) -> tuple[str, ...]:
    """All of a node's, the holder first."""
    return tuple(process(program, node) for program in ("holder", *_PROGRAMS))


def start_runtime(layout: Layout, node: NodeLayout, running: Processes) -> None:
    """Namespaces, network, control group and containerd. Needs no API server, so it starts beside the control plane."""
    _write_files(layout, node)
    cgroups.create(node.cgroup)
    holder = process("holder", node)
    ready = node.directory / "ready"
    ready.unlink(missing_ok=True)
    running.start_holder(holder, _holder_script(node), [str(ready)])
    wait_until(holder, ready.exists, timeout_s=_TIMEOUT_S, alive=lambda: running.alive(holder), log=running.log(holder))
    pid = running.pid(holder)
    assert pid is not None
    network.connect(layout, node, pid)
    name = process("containerd", node)
    programs = binary("containerd").parent  # its own shim before one that the machine may have
    running.start(
        name,
        [binary("containerd"), "--config", node.directory / "containerd.toml"],
        inside=holder,
        path=f"{programs}:{os.environ['PATH']}",
    )
    wait_until(
        name, node.socket.is_socket, timeout_s=_TIMEOUT_S, alive=lambda: running.alive(name), log=running.log(name)
    )


def start_kubelet(layout: Layout, node: NodeLayout, running: Processes) -> None:
    """Kubelet and kube-proxy. Needs the API server, and the pause image in containerd."""
    holder = process("holder", node)
    running.start(
        process("kubelet", node),
        [
            binary("kubelet"),
            f"--config={node.directory / 'kubelet.json'}",
            f"--kubeconfig={layout.control_plane.kubeconfig(node.name)}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ],
        inside=holder,
    )
    running.start(
        process("kube-proxy", node),
        [binary("kube-proxy"), f"--config={node.directory / 'kube-proxy.json'}"],
        inside=holder,
    )


def start_firewall(layout: Layout, node: NodeLayout, running: Processes) -> None:
    """What enforces NetworkPolicy. Needs the Node object: it ends at once without."""
    command = node_config.kube_router(layout, node, binary("kube-router"))
    running.start(process("kube-router", node), command, inside=process("holder", node))


def _write_files(layout: Layout, node: NodeLayout) -> None:
    for source, _ in node.mounts:
        source.mkdir(parents=True, exist_ok=True)
    node.kubelet.mkdir(parents=True, exist_ok=True)
    (node.directory / "run" / "lock").mkdir(exist_ok=True)
    (node.directory / "cni").mkdir(exist_ok=True)
    (node.directory / "cni" / "10-pods.conflist").write_text(node_config.cni(node))
    (node.directory / "containerd.toml").write_text(node_config.containerd(node))
    (node.directory / "kubelet.json").write_text(node_config.kubelet(layout, node))
    (node.directory / "kube-proxy.json").write_text(node_config.kube_proxy(layout, node))
    # Pods have no way out of the machine, so no name server outside it is of use to them.
    (node.directory / "resolv.conf").write_text("")


def _holder_script(node: NodeLayout) -> str:
    """Waits in a loop of short sleeps' children, because the first process of a pid namespace must reap orphans."""
    binds = "\n".join(f"mount --bind {shlex.quote(str(source))} {target}" for source, target in node.mounts)
    return f"""set -e
{binds}
mount --make-rshared /
: >"$1"
set +e
while :; do sleep 1000000 & wait $!; done
"""
