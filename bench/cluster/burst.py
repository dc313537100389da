"""A burst of 40 pods on two real and 500 KWOK nodes: how long until all are bound, with our extender and without.

A cluster of its own (two real nodes beside KWOK), with a kube-scheduler and the real extender as processes of this
machine. The fake nodes' agents are scripted (scripted_agents): KWOK's pods have addresses that lead nowhere, so the
agents' pods get addresses of 127.0.0.0/8, where one server tells a load for each. The real nodes have no GPU and are
offered as every node is. Pods are what the operator would make: built by stoker.pods, and allowed on fake nodes.
"""

import argparse
import asyncio
import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.cluster.machine import load, machine, median, quantile, quiet, say, timed
from bench.cluster.process import Component, free_port
from bench.cluster.server import MINE, PODS, SYSTEM, make_crds, make_namespace
from bench.cluster.simulated_nodes import make_agents, make_function_nodes
from cluster import binaries, fake_nodes, groups, prerequisites, start, teardown
from cluster.layout import Layout, make_layout
from cluster.processes import Processes
from stoker.model.function import Function, Variant
from stoker.model.mode import Mode
from stoker.names import replica_id
from stoker.pods.build import build_pod
from stoker.pods.instance import instantiate
from stoker.pods.params import PodParams
from stoker.wire.crd import decode_function
from stoker_operator.authority import CertificateAuthority
from stoker_operator.kinds import FUNCTIONS, NODES, Pod
from stoker_operator.kinds import PODS as POD_FACTS
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.watch import Cache

NAMESPACE = "bench"
SCHEDULER = "stoker-scheduler"
FUNCTIONS_COUNT = 50
PATIENCE_S = 120.0
VARIANTS = ("with extender", "without extender")


class Place(Struct, frozen=True):
    """Where it happens."""

    layout: Layout
    scheduler: Path

    def client(self) -> KubeClient:
        return KubeClient(load_kubeconfig(self.layout.kubeconfig), user_agent=MINE)


def document(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": f"function-{number}", "namespace": NAMESPACE},
        "spec": {
            "container": {
                "image": f"registry.example/models/function-{number}:1.0",
                "resources": {"cpu": "1", "memory": "4Gi"},
            },
            "gpu": {"memory": "4Gi"},
            "slo": {"latency": "250ms"},
        },
    }


def pods_of(functions: list[Function], count: int, first: int) -> list[dict[str, Any]]:
    """As the operator would make them."""
    params = PodParams(
        system_namespace=SYSTEM, wait_image="wait", pause_image="pause", grant_host="agents", product_label=None
    )
    made = []
    for index in range(count):
        function = functions[index % len(functions)]
        identity = replica_id(function.key, Variant.GPU, Variant.GPU, function.revision, first + index)
        pod = instantiate(build_pod(function, Variant.GPU, params), function=function, replica_id=identity)
        pod["spec"]["tolerations"] = [{"key": fake_nodes.MARK, "operator": "Exists"}]
        made.append(pod)
    return made


def scheduler_config(place: Place, extender_port: int | None, *, ignorable: bool, lifted: bool) -> dict[str, Any]:
    """As the chart writes it; `lifted` without limits of requests to the API server."""
    document: dict[str, Any] = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": str(place.layout.control_plane.kubeconfig("kube-scheduler")),
            "qps": 5_000 if lifted else 100,
            "burst": 5_000 if lifted else 200,
        },
        "leaderElection": {"leaderElect": False},
        "percentageOfNodesToScore": 100,
        "profiles": [{"schedulerName": SCHEDULER}],
    }
    if extender_port is not None:
        document["extenders"] = [
            {
                "urlPrefix": f"http://127.0.0.1:{extender_port}",
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "weight": 10,
                "nodeCacheCapable": True,
                "httpTimeout": "500ms",
                "ignorable": ignorable,
            }
        ]
    return document


@contextmanager
def scheduler(place: Place, document: dict[str, Any]) -> Iterator[int]:
    """A kube-scheduler that has synced; its process."""
    folder = place.layout.directory
    config, log = folder / "bench-scheduler.json", folder / "logs" / "bench-scheduler.log"
    config.write_text(json.dumps(document))
    kubeconfig = place.layout.control_plane.kubeconfig("kube-scheduler")
    port = free_port()
    argv = [
        str(place.scheduler),
        f"--config={config}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
    ]
    with log.open("ab") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        try:
            time.sleep(6)  # its caches
            yield process.pid
        finally:
            process.kill()


async def fill(place: Place) -> list[Function]:
    """Everything but pods; the functions."""
    async with place.client() as kube:
        await make_crds(kube)
        await make_namespace(kube, SYSTEM)
        await make_namespace(kube, NAMESPACE)
        await CertificateAuthority(kube, SYSTEM, lambda: dt.datetime.now(dt.UTC)).ensure()
        functions = []
        for number in range(FUNCTIONS_COUNT):
            body = document(number)
            made = await kube.create(FUNCTIONS, body, NAMESPACE)
            body["spec"] = made.spec
            functions.append(decode_function(body, uid=made.metadata.uid, mode=Mode.KUBERNETES))
        names = sorted(node.metadata.name for node in (await kube.list(NODES)).items)
        fakes = [name for name in names if name.startswith("kwok-")]
        images = [function.spec.container.image or "" for function in functions]
        await make_function_nodes(kube, fakes, images)
        await make_agents(kube, fakes)
        return functions


async def burst(place: Place, pods: list[dict[str, Any]]) -> list[float]:
    """Seconds from the first post to each pod's binding; then all pods are removed."""
    async with place.client() as kube:
        wanted = {pod["metadata"]["name"] for pod in pods}
        bound: dict[str, float] = {}
        gone: set[str] = set()
        all_bound, all_gone = asyncio.Event(), asyncio.Event()
        cache: Cache[Pod] = Cache(kube, POD_FACTS, NAMESPACE)

        def see(before: Pod | None, after: Pod | None) -> None:
            if after is None:
                assert before is not None
                gone.add(before.metadata.name)
            elif after.spec.node_name and after.metadata.name in wanted:
                bound.setdefault(after.metadata.name, time.monotonic())
            if len(bound) == len(wanted):
                all_bound.set()
            if gone >= wanted:
                all_gone.set()

        cache.on_change(see)
        cache.start()
        await cache.synced.wait()
        began = time.monotonic()
        await asyncio.gather(*(kube.create(PODS, pod, NAMESPACE) for pod in pods))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await all_bound.wait()
        except TimeoutError:
            say(f"only {len(bound)} of {len(wanted)} were bound in {PATIENCE_S:g} s")
        await asyncio.gather(*(kube.delete(PODS, name, NAMESPACE, grace_s=0) for name in wanted))
        async with asyncio.timeout(PATIENCE_S):
            await all_gone.wait()
        await cache.stop()
        return sorted(moment - began for moment in bound.values())


def from_histogram(text: str, verb: str, part: float) -> str:
    """The bucket of stoker_extender_duration_seconds that a quantile lies in, in ms."""
    counts: dict[float, int] = {}
    for line in text.splitlines():
        if line.startswith("stoker_extender_duration_seconds_bucket") and f'verb="{verb}"' in line:
            bound = line.partition('le="')[2].partition('"')[0]
            counts[float(bound)] = int(float(line.rpartition(" ")[2]))
    total = max(counts.values(), default=0)
    for upper, count in sorted(counts.items()):
        if total and count >= part * total:
            return f"<= {upper * 1000:g} ms"
    return "unknown"


def run(place: Place, options: argparse.Namespace) -> None:
    functions = asyncio.run(fill(place))
    first = 0
    found: dict[str, list[list[float]]] = {}

    def round_of(what: str, count: int) -> list[float]:
        nonlocal first
        quiet()
        times = asyncio.run(burst(place, pods_of(functions, count, first)))
        first += count
        say(f"{what}: {len(times)} of {count} bound, the last after {times[-1] if times else 0:.2f} s ({load()})")
        found.setdefault(f"{what}, {count} pods", []).append(times)
        return times

    folder = place.layout.directory / "logs"
    argv = [sys.executable, "-m", "bench.cluster.scripted_agents", str(place.layout.kubeconfig)]
    with subprocess.Popen(argv) as agents:
        try:
            port = free_port()
            with Component(
                "stoker_scheduler.main", folder, place.layout.kubeconfig, extender_port=str(port)
            ) as extender:
                extender.until_ready()
                with timed("the extender hears all agents"):
                    until_heard(extender, options.kwok)
                for lifted, count in ((False, options.pods), (True, options.many)):
                    for _ in range(options.rounds):
                        for what in VARIANTS:
                            used = port if what == "with extender" else None
                            config = scheduler_config(place, used, ignorable=False, lifted=lifted)
                            with scheduler(place, config):
                                round_of(f"{what}{', limits lifted' if lifted else ''}", count)
                text = extender.metrics()
                with scheduler(place, scheduler_config(place, port, ignorable=True, lifted=False)):
                    extender.kill()
                    round_of("extender killed, ignorable", options.pods)
        finally:
            agents.kill()
    print("| burst | last bound: median s | all runs | p50 of pods s | pods/s |\n|---|---|---|---|---|")
    for what, runs in found.items():
        last = [times[-1] for times in runs if times]
        rate = median(len(times) / times[-1] for times in runs if times)
        middle = median(quantile(times, 0.5) for times in runs if times)
        print(f"| {what} | {median(last):.2f} | {', '.join(f'{s:.2f}' for s in last)} | {middle:.2f} | {rate:.0f} |")
    for verb in ("filter", "prioritize"):
        print(
            f"stoker_extender_duration_seconds of {verb} at {options.kwok} nodes: "
            f"p50 {from_histogram(text, verb, 0.5)}, p99 {from_histogram(text, verb, 0.99)}"
        )


def until_heard(extender: Component, count: int) -> None:
    wanted = 'stoker_agents_connected{component="scheduler"}'
    deadline = time.monotonic() + PATIENCE_S
    while True:
        heard = [float(line.rpartition(" ")[2]) for line in extender.metrics().splitlines() if line.startswith(wanted)]
        if heard and heard[0] >= count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the extender hears {heard} of {count} agents after {PATIENCE_S:g} s")
        time.sleep(0.5)


@contextmanager
def own_cluster(index: int, kwok: int, make: Callable[..., Layout] = make_layout) -> Iterator[Place]:
    lack = prerequisites.lacking()
    if lack is not None:
        sys.exit(f"bench: {lack}")
    layout = make("bench", index, 21_640)
    binaries.ensure([*groups.WHOLE_CLUSTER, "kwok"], say)
    try:
        start.up(layout, {}, say)
        fake_nodes.start(layout, Processes(layout.directory), kwok)
        yield Place(layout, binaries.binary("kube-scheduler"))
    finally:
        teardown.tear_down(layout)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster burst", description=__doc__)
    parser.add_argument("--pods", type=int, default=40)
    parser.add_argument("--many", type=int, default=400, help="pods of a burst with client limits lifted")
    parser.add_argument("--kwok", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--index", type=int, default=9, help="of the cluster: chooses subnets and ports")
    options = parser.parse_args(arguments)
    print(machine())
    with own_cluster(options.index, options.kwok) as place:
        run(place, options)
    print(machine())
