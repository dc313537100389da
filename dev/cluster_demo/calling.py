"""Calls of functions from a pod and from outside the cluster, and their answers in a form to show."""

import http.client
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from cluster import images
from cluster.binaries import binary
from cluster.errors import ClusterError
from cluster.kubectl import apply, kubectl
from cluster_demo import caller

POD: Final = "caller"
_TIMEOUT_S: Final = 100.0


class CallError(ClusterError):
    """A function did not answer as it should; the message holds what it said."""


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    seconds: float
    headers: Mapping[str, str]
    value: Any


def start_pod(kubeconfig: Path, namespace: str) -> None:
    """A pod like any other, without rights, to call from. Returns when it runs."""
    container = {
        "name": POD,
        "image": images.reference("stoker"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    spec = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 2,
    }
    meta = {"name": POD, "namespace": namespace}
    apply(kubeconfig, [{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    kubectl(kubeconfig, "wait", f"--namespace={namespace}", "--for=condition=Ready", f"pod/{POD}", "--timeout=50s")


def from_pod(kubeconfig: Path, namespace: str, url: str, body: bytes) -> Answer:
    """Raises CallError on any answer but 200."""
    program = Path(caller.__file__).read_text()
    command = [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", "exec", "-i", POD]
    try:
        done = subprocess.run(
            [*command, "--", "python", "-c", program, url],
            input=body,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise CallError(f"demo: {url} did not answer the pod {POD} within {_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise CallError(f"demo: the pod {POD} could not call {url}: {said}")
    return _good(url, msgspec.json.decode(done.stdout, type=Answer))


def from_outside(way_in: tuple[str, int], url: str, body: bytes) -> Answer:
    """Raises CallError on any answer but 200."""
    try:
        said = caller.call(url, body, f"{way_in[0]}:{way_in[1]}")
    except (OSError, http.client.HTTPException) as error:
        raise CallError(f"demo: {url} could not be called by way of {way_in[0]}:{way_in[1]}: {error}") from error
    return _good(url, msgspec.convert(said, Answer))


def _good(url: str, answer: Answer) -> Answer:
    if answer.status != 200:
        raise CallError(f"demo: {url} answered {answer.status}: {json.dumps(answer.value)}")
    return answer
