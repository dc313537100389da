"""A cluster of its own with the chart installed, for what can only be measured on the whole platform."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.cluster.machine import cpu_s, say, timed
from bench.cluster.server import ANY, MINE
from cluster import binaries, groups, images, prerequisites, release, start, teardown
from cluster.layout import Layout, make_layout
from cluster.processes import Processes
from stoker.wire.cluster import GROUP, VERSION
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.objects import Resource

NEEDS = ("stoker", "wait-for-device", "pause", "simulated-gpus", "echo-function")
NAMESPACE = "bench"
FUNCTION_DOCUMENTS: Resource[Any] = Resource(GROUP, VERSION, "gpufunctions", namespaced=True, type=ANY)
SERVERS = ("etcd", "kube-apiserver")


def client(place: Layout) -> KubeClient:
    return KubeClient(load_kubeconfig(place.kubeconfig), user_agent=MINE)


@contextmanager
def bare_cluster(index: int) -> Iterator[Layout]:
    """Two real nodes with the images, without the chart."""
    lack = prerequisites.lacking()
    if lack is not None:
        sys.exit(f"bench: {lack}")
    place = make_layout("bench", index, 21_640)
    binaries.ensure([*groups.WHOLE_CLUSTER, *release.PROGRAMS], say)
    images.build_all(NEEDS, say, registry=None, tag="dev")
    try:
        start.up(place, images.built(), say)
        yield place
    finally:
        teardown.tear_down(place)


def install(place: Layout) -> None:
    """Returns when all of it is Ready."""
    with timed("chart installed"):
        release.install(place.kubeconfig, release.values(images.built()))


def server_cpu(place: Layout, seconds: float) -> dict[str, float]:
    """Percent of a core that API server and etcd use, over so long."""
    running = Processes(place.directory)
    pids = {name: [pid] for name in SERVERS if (pid := running.pid(name)) is not None}
    before = {name: cpu_s(found) for name, found in pids.items()}
    time.sleep(seconds)
    return {name: 100 * (cpu_s(found) - before[name]) / seconds for name, found in pids.items()}


def function(name: str, **spec: Any) -> dict[str, Any]:
    """With the echo server."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "GpuFunction",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "container": {
                "image": images.reference("echo-function"),
                "readiness": {"path": "/health"},
                "resources": {"cpu": "20m", "memory": "64Mi"},
            },
            "gpu": {"memory": "4Gi"},
            "slo": {"latency": "5s"},
            "scaling": {"keepAlive": {"policy": "FixedTTL", "ttl": "1s"}, "maxReplicas": 1},
            **spec,
        },
    }


async def apply_functions(place: Layout, *documents: dict[str, Any]) -> None:
    """Returns when all are at zero and can be called."""
    async with client(place) as kube:
        for document in documents:
            await kube.create(FUNCTION_DOCUMENTS, document, NAMESPACE)
        for document in documents:
            name = document["metadata"]["name"]
            while not _is_ready(await kube.get(FUNCTION_DOCUMENTS, name, NAMESPACE)):  # noqa: ASYNC110  it is in the API server
                await asyncio.sleep(0.2)


def _is_ready(document: Any) -> bool:
    conditions = document.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
