"""The chart on a cluster: installed with simulated GPUs from the images built here, and the way in from outside.

For the demonstration and the tests on a cluster. Works on any cluster whose kubeconfig it gets.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cluster import images
from cluster.binaries import binary
from cluster.errors import ClusterError
from cluster.kubectl import KubectlError, kubectl

NAME: Final = "stoker"
NAMESPACE: Final = "stoker-system"
CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "stoker"
PROGRAMS: Final = ("helm", "kubectl")

_COMPONENTS: Final = ("operator", "scheduler", "node", "gateway", "simulatedGpus")
_OWN: Final = tuple(images.reference(name) for name in ("stoker", "simulated-gpus"))
_REGISTRY: Final = (("STOKER_TEST_REGISTRY", "localhost"), ("STOKER_TEST_TAG", "dev"))
_WAIT_S: Final = 120
_CONNECT_S: Final = 1.0
_FORWARD_S: Final = 15.0


class ReleaseError(ClusterError):
    """The chart could not be installed, or its gateway not be reached; the message says what was tried."""


def values(archives: Mapping[str, Path]) -> dict[str, Any]:
    """For images that were built here. The archive of an image changes its name with its content, and so its pods."""
    stoker, gpus = ({"stoker.dev/image": archives[name].stem} if name in archives else {} for name in _OWN)
    name = images.reference("pause", *(os.environ.get(key, usual) for key, usual in _REGISTRY))
    registry, _, rest = name.rpartition("/")
    repository, _, tag = rest.partition(":")
    pods = {name: {"podAnnotations": gpus if name == "simulatedGpus" else stoker} for name in _COMPONENTS}
    pods["simulatedGpus"]["enabled"] = True  # type: ignore[assignment]
    return {
        **pods,
        "image": {"registry": registry, "tag": tag},
        "images": {"pause": {"registry": registry, "repository": repository, "tag": tag}},
    }


def install(kubeconfig: Path, wanted: Mapping[str, Any], *more: str) -> None:
    """`helm upgrade --install`, waiting until all is ready. `more` goes to helm. Raises ReleaseError."""
    helm(
        kubeconfig,
        *("upgrade", "--install", NAME, str(CHART), "--create-namespace", "--values=-"),
        *("--wait", f"--timeout={_WAIT_S}s", *more),
        stdin=json.dumps(wanted),
        timeout_s=_WAIT_S + 30,
    )


def remove(kubeconfig: Path) -> None:
    """The release, what its CRDs hold, and its namespace. Raises a ClusterError."""
    kubectl(kubeconfig, "delete", "gpufunctions", "--all", "--all-namespaces", "--ignore-not-found", timeout_s=90)
    helm(kubeconfig, "uninstall", NAME, "--ignore-not-found", "--wait", timeout_s=120)
    crds = [f"{plural}.stoker.dev" for plural in ("gpufunctions", "functionnodes", "gpupolicies")]
    kubectl(kubeconfig, "delete", "crd", *crds, "--ignore-not-found")
    kubectl(kubeconfig, "delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=120)


def installed(kubeconfig: Path) -> bool:
    """Whether the release is there, in any state."""
    found = json.loads(helm(kubeconfig, "list", "--output=json", f"--filter=^{NAME}$"))
    return bool(found)


def helm(kubeconfig: Path, *arguments: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
    """Its output. Raises ReleaseError."""
    command = [str(binary("helm")), f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}", *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"cluster: `helm {arguments[0]}` took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise ReleaseError(f"cluster: `helm {arguments[0]}` failed: {said}")
    return done.stdout


@contextmanager
def way_in(
    kubeconfig: Path, *, namespace: str = NAMESPACE, service: str = "stoker-gateway"
) -> Iterator[tuple[str, int]]:
    """Address and port of the gateways' Service for callers outside the cluster.

    The ClusterIP where this machine has a route to it, as it has to a cluster of ours; else `kubectl port-forward`.
    """
    address = kubectl(kubeconfig, *_of(namespace, "get", "service", service, "--output=jsonpath={.spec.clusterIP}"))
    if _answers(address, 80):
        yield address, 80
        return
    with _forward(kubeconfig, namespace, service) as port:
        yield "127.0.0.1", port


def _of(namespace: str, *arguments: str) -> Sequence[str]:
    return (f"--namespace={namespace}", *arguments)


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


@contextmanager
def _forward(kubeconfig: Path, namespace: str, service: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", *_of(namespace, "port-forward")]
    forward = subprocess.Popen(
        [*command, f"service/{service}", f"{port}:80"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + _FORWARD_S
        while not _answers("127.0.0.1", port):
            if forward.poll() is not None or time.monotonic() > until:
                raise KubectlError(f"cluster: `kubectl port-forward service/{service}` does not listen on port {port}")
            time.sleep(0.1)
        yield port
    finally:
        forward.terminate()
        forward.wait()
