"""Fake nodes beside the real ones, by KWOK: for tests of scale. Their pods run at once and their addresses lead
nowhere.

They carry a taint and a label, so that only pods that ask for them land there.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cluster.binaries import binary, cache_directory
from cluster.groups import group_of
from cluster.kubectl import kubectl, ready_nodes
from cluster.layout import Layout
from cluster.processes import Processes
from cluster.readiness import NotReadyError
from cluster.toolchain import go_command, go_environment, wanted_version

PROCESS: Final = "kwok"
MARK: Final = "kwok.x-k8s.io/node"
_GPUS: Final = "8"
_PER_CALL: Final = 250
_TIMEOUT_S: Final = 120.0
_STAGES: Final = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-complete",
    "pod/fast/pod-delete",
)


def start(layout: Layout, running: Processes, count: int) -> None:
    """Brings the number of fake nodes to `count`, and returns when all are Ready. Raises NotReadyError."""
    present = _names(layout)
    wanted = [f"kwok-{number:05d}" for number in range(count)]
    if present.difference(wanted):
        # All of them by one request: kubectl would delete one after the other, five a second.
        kubectl(
            layout.kubeconfig, "delete", "--raw", f"/api/v1/nodes?labelSelector={quote(f'{MARK}=fake')}", timeout_s=120
        )
        present = set()
    if count and not running.alive(PROCESS):
        running.start(PROCESS, _command(layout))
    for names in _slices([name for name in wanted if name not in present]):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_node(name) for name in names]})
        kubectl(layout.kubeconfig, "create", "-f", "-", stdin=text, timeout_s=120)
    deadline = time.monotonic() + _TIMEOUT_S
    while len(ready_nodes(layout.kubeconfig, f"{MARK}=fake")) < count:
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"cluster: fewer than {count} fake nodes are Ready; KWOK's log is {running.log(PROCESS)}"
            )
        time.sleep(0.5)
    if not count:
        running.stop(PROCESS)


def _names(layout: Layout) -> set[str]:
    names = kubectl(layout.kubeconfig, "get", "nodes", f"--selector={MARK}=fake", "-o", "name")
    return {name.removeprefix("node/") for name in names.split()}


def _slices(names: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(names), _PER_CALL):
        yield names[begin : begin + _PER_CALL]


def _command(layout: Layout) -> list[str]:
    stages = layout.directory / "kwok-stages.yaml"
    folder = _module_folder() / "kustomize" / "stage"
    stages.write_text("\n---\n".join((folder / f"{name}.yaml").read_text() for name in _STAGES))
    return [
        str(binary("kwok")),
        f"--kubeconfig={layout.kubeconfig}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MARK}=fake",
        "--node-lease-duration-seconds=40",
        f"--node-ip={layout.host_address}",
    ]


def _module_folder() -> Path:
    """Where Go keeps KWOK's sources; its stages are files there, and without stages it does nothing."""
    group = group_of("kwok")
    go = go_command(wanted_version((group.pins / "go.mod").read_text()), cache_directory())
    done = subprocess.run(
        [go, "mod", "download", "-json", "sigs.k8s.io/kwok"],
        cwd=group.pins,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(json.loads(done.stdout)["Dir"])


def _node(name: str) -> dict[str, Any]:
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": _GPUS}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {MARK: "fake"},
            "labels": {MARK: "fake", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
