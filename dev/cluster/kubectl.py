"""kubectl as administrator of one cluster: for what the cluster itself needs, not for tests (those use a client
library).
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cluster.binaries import binary
from cluster.errors import ClusterError


class KubectlError(ClusterError):
    """kubectl refused; the message holds what it said."""


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
    """Its output. Raises KubectlError, also when it did not end in time."""
    command = [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise KubectlError(f"cluster: `kubectl {' '.join(arguments)}` took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        raise KubectlError(f"cluster: `kubectl {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def apply(kubeconfig: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Server-side, so that a second time changes nothing."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    kubectl(kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def ready_nodes(kubeconfig: Path, selector: str = "") -> set[str]:
    """Names of the nodes whose condition Ready is True."""
    chosen = [f"--selector={selector}"] if selector else []
    nodes = json.loads(kubectl(kubeconfig, "get", "nodes", "-o", "json", *chosen))
    return {
        node["metadata"]["name"]
        for node in nodes["items"]
        for condition in node.get("status", {}).get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
