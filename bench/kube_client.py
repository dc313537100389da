"""`python -m bench.kube_client`: what a full cache of nodes and pods costs, by our client and by the official one.

Figures for docs/adr/0009, not tests. An API server without nodes is filled by plain POSTs; then each client syncs in
a process of its own, in alternating order, and follows a thousand changes. Wants the programs of `make cluster`,
and the package `kubernetes`.
"""

import argparse
import asyncio
import gc
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.objects import ObjectMeta, Resource
from stoker_runtime.kube.watch import Cache

ROOT = Path(__file__).parents[1]
CLIENTS = ("stoker", "kubernetes")
EVENTS = 1_000
FIGURES = {"sync_s": "sync s", "cpu_s": "CPU s", "rss_mib": "RSS MiB", "cpu_ms_per_1000": "CPU ms per 1,000 events"}


class PodSpec(Struct, frozen=True, rename="camel", gc=False):
    node_name: str = ""


class PodStatus(Struct, frozen=True, gc=False):
    phase: str = ""
    pod_ip: str = ""


class Pod(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Image(Struct, frozen=True, gc=False):
    names: tuple[str, ...] = ()


class NodeStatus(Struct, frozen=True, gc=False):
    allocatable: dict[str, str] = {}
    images: tuple[Image, ...] = ()


class Node(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    status: NodeStatus = NodeStatus()


PODS = Resource("", "v1", "pods", namespaced=True, type=Pod)
NODES = Resource("", "v1", "nodes", namespaced=False, type=Node)
OTHERS: Any = object


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def say(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


async def follow_with_ours(kubeconfig: Path) -> None:
    began, cpu = time.monotonic(), cpu_s()
    async with KubeClient(load_kubeconfig(kubeconfig)) as kube:
        pods, nodes = Cache(kube, PODS), Cache(kube, NODES)
        pods.start()
        nodes.start()
        await pods.synced.wait()
        await nodes.synced.wait()
        say(sync_s=time.monotonic() - began, cpu_s=cpu_s() - cpu, rss_mib=rss_mib(), objects=len(pods) + len(nodes))
        seen = 0
        done = asyncio.Event()

        def count(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == EVENTS:
                done.set()

        pods.on_change(count)
        cpu = cpu_s()
        say(ready=1)
        await done.wait()
        say(cpu_ms_per_1000=(cpu_s() - cpu) * 1000)
        await pods.stop()
        await nodes.stop()


def follow_with_official(kubeconfig: Path) -> None:
    client = importlib.import_module("kubernetes.client")
    watch = importlib.import_module("kubernetes.watch")
    importlib.import_module("kubernetes.config").load_kube_config(str(kubeconfig))
    began, cpu = time.monotonic(), cpu_s()
    api = client.CoreV1Api()
    store: dict[tuple[str, str, str], Any] = {}
    versions: dict[str, str] = {}

    def sync(kind: str, call: Any) -> None:
        rest = None
        while True:
            page = call(limit=500, _continue=rest)
            for item in page.items:
                store[kind, item.metadata.namespace or "", item.metadata.name] = item
            versions[kind] = page.metadata.resource_version
            rest = page.metadata._continue  # noqa: SLF001  its only name
            if not rest:
                return

    kinds = {"pods": api.list_pod_for_all_namespaces, "nodes": api.list_node}
    for kind, call in kinds.items():
        sync(kind, call)
    say(sync_s=time.monotonic() - began, cpu_s=cpu_s() - cpu, rss_mib=rss_mib(), objects=len(store))
    done = threading.Event()
    seen = 0

    def follow(kind: str, call: Any) -> None:
        nonlocal seen
        for event in watch.Watch().stream(call, resource_version=versions[kind], allow_watch_bookmarks=True):
            if event["type"] == "BOOKMARK":
                continue
            item = event["object"]
            store[kind, item.metadata.namespace or "", item.metadata.name] = item
            seen += 1
            if seen == EVENTS:
                done.set()

    for kind, call in kinds.items():
        threading.Thread(target=follow, args=(kind, call), daemon=True).start()
    time.sleep(0.5)
    cpu = cpu_s()
    say(ready=1)
    done.wait()
    say(cpu_ms_per_1000=(cpu_s() - cpu) * 1000)
    sys.stdout.flush()
    os._exit(0)  # its watches have no end that could be asked for


def pod(number: int, nodes: int) -> dict[str, Any]:
    name = f"function-{number % 97}-{number}"
    container = {
        "name": "main",
        "image": f"registry.example/models/function-{number % 97}:1.{number % 7}",
        "args": ["--model", "/models/weights", "--port", "8080"],
        "env": [{"name": f"SETTING_{index}", "value": f"value-{index}"} for index in range(8)],
        "ports": [{"containerPort": 8080}],
        "resources": {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    labels = {"app": name, "stoker.dev/function": f"function-{number % 97}", "stoker.dev/revision": "00001"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": {"stoker.dev/hash": f"{number:064x}"}},
        "spec": {
            "nodeName": f"node-{number % nodes}",
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def node(number: int) -> dict[str, Any]:
    images = [
        {"names": [f"registry.example/models/function-{number % 50 + index}:1.0"], "sizeBytes": 10**9}
        for index in range(20)
    ]
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": {"nvidia.com/gpu.product": "A100"}},
        "status": {"capacity": amounts, "allocatable": amounts, "images": images},
    }


async def fill(kubeconfig: Path, nodes: int, pods: int) -> None:
    async with KubeClient(load_kubeconfig(kubeconfig)) as kube:
        namespaces = Resource("", "v1", "namespaces", namespaced=False, type=OTHERS)
        accounts = Resource("", "v1", "serviceaccounts", namespaced=True, type=OTHERS)
        await kube.create(namespaces, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await kube.create(accounts, account, "bench")
        await asyncio.gather(*(kube.create(NODES, node(number)) for number in range(nodes)))
        await asyncio.gather(*(kube.create(PODS, pod(number, nodes), "bench") for number in range(pods)))


async def change(kubeconfig: Path, stamp: str) -> None:
    async with KubeClient(load_kubeconfig(kubeconfig)) as kube:
        patch = {"metadata": {"annotations": {"stoker.dev/stamp": stamp}}}
        names = [pod(number, 1)["metadata"]["name"] for number in range(EVENTS)]
        await asyncio.gather(*(kube.patch(PODS, name, patch, "bench") for name in names))


def measure(client: str, kubeconfig: Path, stamp: str) -> dict[str, float]:
    argv = [sys.executable, "-m", "bench.kube_client", "--child", client, "--kubeconfig", str(kubeconfig)]
    figures: dict[str, float] = {}
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            figures |= json.loads(line)
            if "cpu_ms_per_1000" in figures:
                break
            if figures.pop("ready", None):
                asyncio.run(change(kubeconfig, stamp))
        child.wait(timeout=20)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kube_client", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--pods", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "stoker":
        asyncio.run(follow_with_ours(arguments.kubeconfig))
        return
    if arguments.child == "kubernetes":
        follow_with_official(arguments.kubeconfig)
        return
    sys.path.insert(0, str(ROOT / "dev"))
    api_only = importlib.import_module("cluster.api_only")
    importlib.import_module("cluster.binaries").ensure(api_only.programs())
    results: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder, api_only.start(Path(folder)) as server:
        began = time.monotonic()
        asyncio.run(fill(server.kubeconfig, arguments.nodes, arguments.pods))
        print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
        for number in range(arguments.rounds):
            for client in CLIENTS if number % 2 == 0 else reversed(CLIENTS):
                figures = measure(client, server.kubeconfig, f"{number}-{client}")
                results[client].append(figures)
                print(f"  round {number + 1}: {client}: {figures}", file=sys.stderr)
    print(f"{arguments.nodes} nodes, {arguments.pods} pods, medians of {arguments.rounds} alternating runs")
    print("| client | " + " | ".join(FIGURES.values()) + " |\n|---|" + "---|" * len(FIGURES))
    for client in CLIENTS:
        cells = (statistics.median(run[key] for run in results[client]) for key in FIGURES)
        print(f"| {client} | " + " | ".join(f"{cell:.2f}" if cell < 10 else f"{cell:.0f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
