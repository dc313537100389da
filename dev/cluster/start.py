"""Brings a cluster up: everything that needs nothing else at once, and the rest as soon as what it needs is there.

Called again it repairs what ended, or says that all is well. A cluster that cannot be repaired is removed and made
anew.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cluster import dns, loading, network, node, system_images
from cluster.kubectl import KubectlError, apply, kubectl, ready_nodes
from cluster.layout import LAYOUT_FILE, Layout
from cluster.processes import Processes
from cluster.readiness import NotReadyError, answers, wait_until
from cluster.teardown import tear_down

Say = Callable[[str], None]

_SERVER_TIMEOUT_S: Final = 60.0
_NODES_TIMEOUT_S: Final = 60.0
_SERVERS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_DEPENDENCIES_FIRST: Final = (*_SERVERS, "containerd", "kubelet", "kube-proxy", "kube-router", "kwok")


def processes(layout: Layout) -> tuple[str, ...]:
    """The names of all that must run."""
    return (*_SERVERS, *(name for each in layout.nodes for name in node.processes(each)))


def up(layout: Layout, images: Mapping[str, Path], say: Say) -> None:
    """Returns when nodes and DNS are Ready. Raises one of the cluster's errors, each one sentence."""
    running = Processes(layout.directory)
    ended = [name for name in processes(layout) if not running.alive(name)]
    if _is_whole(layout) and not any(name.startswith("holder.") for name in ended):
        _repair(layout, running, ended, say)
    else:
        if layout.directory.exists() or network.owner(layout) == str(layout.directory):
            say("removing what is left of an earlier cluster")
            tear_down(layout)
        _create(layout, running, say)
    with _step("images loaded", say):
        loading.load(layout, images)
    with _step("nodes and DNS Ready", say):
        _wait_for_nodes(layout, running)
        kubectl(
            layout.kubeconfig,
            *("rollout", "status", f"--namespace={dns.NAMESPACE}", f"deployment/{dns.NAME}", "--timeout=60s"),
            timeout_s=90,
        )


def runs(layout: Layout) -> bool:
    """Whether all its programs run."""
    running = Processes(layout.directory)
    return _is_whole(layout) and all(running.alive(name) for name in processes(layout))


def saved(directory: Path) -> Layout | None:
    """The layout of the cluster that was started in this directory."""
    try:
        content = (directory / LAYOUT_FILE).read_bytes()
        return msgspec.json.decode(content, type=Layout, dec_hook=lambda kind, value: kind(value))
    except (OSError, msgspec.MsgspecError):
        return None


def _is_whole(layout: Layout) -> bool:
    """Whether a start of this very layout once went through."""
    return saved(layout.directory) == layout and layout.completed.exists()


def _create(layout: Layout, running: Processes, say: Say) -> None:
    plane = layout.control_plane
    layout.directory.mkdir(parents=True)
    layout.record.write_bytes(msgspec.json.encode(layout, enc_hook=str))
    plane.directory.mkdir()
    with _step("certificates", say):
        plane.certificates([each.name for each in layout.nodes])
        layout.kubeconfig.write_bytes(b"")
        layout.kubeconfig.chmod(0o600)
        layout.kubeconfig.write_bytes(plane.kubeconfig("administrator").read_bytes())
    with _step("network", say):
        network.create_bridge(layout)
    with _step("control plane and container runtimes", say), ThreadPoolExecutor(3) as pool:
        system = system_images.archives()
        started = [pool.submit(node.start_runtime, layout, each, running) for each in layout.nodes]
        _start_control_plane(layout, running)
        for runtime in started:
            runtime.result()
        loading.load(layout, system)
    with _step("nodes started", say):
        for each in layout.nodes:
            node.start_kubelet(layout, each, running)
        network.route_services(layout)
        apply(layout.kubeconfig, dns.manifests(layout))
    with _step("nodes Ready", say):
        _wait_for_nodes(layout, running)
        for each in layout.nodes:
            node.start_firewall(layout, each, running)
    layout.completed.touch()


def _start_control_plane(layout: Layout, running: Processes) -> None:
    plane = layout.control_plane
    running.start("etcd", plane.etcd())
    running.start("kube-apiserver", plane.api_server())
    _wait_for_api_server(layout, running)
    running.start("kube-controller-manager", plane.controller_manager())
    running.start("kube-scheduler", plane.scheduler())


def _wait_for_api_server(layout: Layout, running: Processes) -> None:
    plane = layout.control_plane
    wait_until(
        "kube-apiserver",
        lambda: answers(f"{plane.url}/readyz", plane.keys / "ca.crt"),
        timeout_s=_SERVER_TIMEOUT_S,
        alive=lambda: running.alive("etcd") and running.alive("kube-apiserver"),
        log=running.log("kube-apiserver"),
    )


def _repair(layout: Layout, running: Processes, ended: list[str], say: Say) -> None:
    if not network.is_whole(layout):
        say("the network had gone; making it anew")
        holders = {each.name: running.pid(node.process("holder", each)) for each in layout.nodes}
        network.repair(layout, {name: pid for name, pid in holders.items() if pid is not None})
    for name in sorted(ended, key=lambda name: _DEPENDENCIES_FIRST.index(name.partition(".")[0])):
        say(f"{name} had ended; starting it again (its log: {running.log(name)})")
        running.restart(name)
    _wait_for_api_server(layout, running)


def _wait_for_nodes(layout: Layout, running: Processes) -> None:
    def ready() -> bool:
        try:
            return {each.name for each in layout.nodes} <= ready_nodes(layout.kubeconfig)
        except KubectlError:
            return False

    deadline = time.monotonic() + _NODES_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            logs = ", ".join(str(running.log(node.process("kubelet", each))) for each in layout.nodes)
            raise NotReadyError(f"cluster: not all nodes were Ready within {_NODES_TIMEOUT_S:g} s (logs: {logs})")
        time.sleep(0.2)


@contextmanager
def _step(what: str, say: Say) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:5.1f} s  {what}")
