"""charts/stoker as helm renders it. Where helm is not built tests are skipped with one sentence; with
STOKER_REQUIRE_CLUSTER=1 they fail instead.
"""

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from settings_of_tests import REQUIRE_CLUSTER

from cluster import binaries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "stoker"
NAMESPACE = "stoker-system"
KUBERNETES = "1.37.2"
COMPONENTS = ("operator", "scheduler", "node", "gateway")
MONITORS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/ServiceMonitor")

EVERYTHING: dict[str, Any] = {
    "commonLabels": {"team.example/owner": "platform"},
    "image": {"registry": "registry.example:5000/stoker", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
    "images": {"stoker": {"digest": "sha256:" + "ab" * 32}},
    "clusterDomain": "corp.example",
    "metricsNamespaces": ["monitoring", "observability"],
    "admission": {"bounds": "Warn"},
    "operator": {
        "replicas": 3,
        "settings": {"STOKER_QUANTUM_S": 5, "STOKER_EPHEMERAL_STORAGE_MIB": 1_000_000},
        "serviceAccount": {"annotations": {"iam.example/role": "stoker"}},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    },
    "scheduler": {
        "replicas": 2,
        "ignorable": True,
        "schedulerName": "gpu-scheduler",
        "kubeScheduler": {"image": {"registry": "localhost", "tag": "1.37.2"}},
        "priorityClassName": "system-cluster-critical",
    },
    "node": {
        "hostPID": True,
        "kubeletPath": "/var/lib/k0s/kubelet",
        "settings": {"STOKER_MEMORY_SLACK_MIB": 1024},
        "groups": {
            "gpu": {"nodeSelector": {"nvidia.com/gpu.present": "true"}, "runtimeClassName": "nvidia"},
            "cpu": {"hostPID": False, "tolerations": [], "affinity": {}, "nodeSelector": {"pool.example/name": "cpu"}},
        },
    },
    "gateway": {
        "replicas": 4,
        "endpointsGraceSeconds": 2.5,
        "drainSeconds": 60,
        "pathHosts": ["gpu.example", "functions.example"],
        "hostnames": {"kind": "HTTPRoute", "parentGateway": "edge/public"},
        "service": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "annotations": {"lb.example/kind": "nlb"},
        },
        "settings": {"STOKER_HOLD_REQUESTS": 5_000_000},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "podAnnotations": {"edge.example/x": "y"},
    },
    "simulatedGpus": {"enabled": True, "shares": 4, "nodes": {"node-b": {"gpus": 0}}},
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceMonitor": {"enabled": True, "interval": "30s"},
    },
}
"""Values that use whatever can be used at once."""
WORLDS: dict[str, dict[str, Any]] = {
    "default": {},
    "simulated": {"simulatedGpus": {"enabled": True}},
    "everything": EVERYTHING,
    "bare": {
        "metricsNamespaces": [],
        "networkPolicy": {"enabled": False},
        "admission": {"enabled": False},
        "crds": {"enabled": False},
        "rbac": {"create": False},
        "operator": {"serviceAccount": {"create": False, "name": "mine"}},
    },
}
"""Values that most tests are run on."""


def helm(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """helm with these arguments; never raises for what helm says."""
    if not binaries.available(["helm"]):
        why = "needs helm, which is not built: `make cluster` builds it"
        if REQUIRE_CLUSTER:
            pytest.fail(why)
        pytest.skip(why)
    # A helm of its own: neither the user's repositories nor a cluster that happens to be there.
    environ = {"HOME": "/nonexistent", "PATH": os.environ["PATH"], "KUBECONFIG": "/nonexistent"}
    return subprocess.run(
        [binaries.binary("helm"), *arguments], input=given, env=environ, capture_output=True, text=True, check=False
    )


def try_render(values: dict[str, Any], *arguments: str, namespace: str = NAMESPACE) -> subprocess.CompletedProcess[str]:
    """What helm makes of values."""
    fixed = ["--namespace", namespace, "--kube-version", KUBERNETES, "--values", "-"]
    return helm("template", "stoker", str(CHART), *fixed, *arguments, given=json.dumps(values))


@functools.cache
def _text(values: str, arguments: tuple[str, ...], namespace: str) -> str:
    done = try_render(json.loads(values), *arguments, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(values: dict[str, Any] | None = None, *, namespace: str = NAMESPACE) -> str:
    """The text that helm makes of values, in a cluster that knows the Prometheus operator's kinds."""
    arguments = tuple(word for kind in MONITORS for word in ("--api-versions", kind))
    return _text(json.dumps(values or {}), arguments, namespace)


@functools.cache
def _parsed(text: str) -> tuple[dict[str, Any], ...]:
    return tuple(each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each)


def objects(values: dict[str, Any] | None = None, *, namespace: str = NAMESPACE) -> tuple[dict[str, Any], ...]:
    """All objects of a release; those of `helm test` too."""
    return _parsed(rendered(values, namespace=namespace))


def pods(documents: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of the workload, and the pod that it makes (metadata and spec)."""
    for each in documents:
        if each["kind"] in ("Deployment", "DaemonSet"):
            yield each["metadata"]["name"], each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each


def component_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])
