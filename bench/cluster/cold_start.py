"""Cold start with the image present: the platform's own share, against the same pod created by hand.

Stoker: from sending a request for a function at zero to the whole answer, by way of the gateway. By hand: the pod that
the operator made for that function, captured, without Stoker's labels, annotation and scheduler, is posted and watched,
and its address is called every 2 ms until it answers. In alternating runs on one cluster. A pod with a shared device
has an init container that waits for the agent's grant; by hand, where nobody grants, it is left out: the difference is
then the platform's share and one init start.
"""

import argparse
import asyncio
import contextlib
import http.client
import time
from typing import Any

from msgspec import Struct

from bench.cluster.idle_cost import measure
from bench.cluster.installed import NAMESPACE, apply_functions, bare_cluster, client, function, install
from bench.cluster.machine import load, machine, quantile, quiet, say
from bench.cluster.server import PODS, make_namespace
from cluster import release
from cluster.layout import Layout
from stoker.wire.cluster import A_REPLICA, GROUP, L_ROLE, ROLE_REPLICA
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import NotFound
from stoker_runtime.kube.watch import Cache
from stoker_runtime.peers import PODS as POD_ADDRESSES
from stoker_runtime.peers import PeerPod

PATIENCE_S = 60.0
POLL_S = 0.002
PORT = 8080
BY_HAND = "by-hand"


class Case(Struct, frozen=True):
    """A kind of function."""

    name: str
    sharing: str


CASES = (Case("exclusive", "Exclusive"), Case("shared", "Shared"))


def call(way_in: tuple[str, int], name: str) -> tuple[float, str]:
    """Seconds to the whole answer, and what the platform says of them."""
    connection = http.client.HTTPConnection(*way_in, timeout=PATIENCE_S)
    began = time.monotonic()
    try:
        connection.request("GET", "/", headers={"Host": f"{name}.{NAMESPACE}.svc.cluster.local"})
        answer = connection.getresponse()
        text = answer.read()
        took_s = time.monotonic() - began
    finally:
        connection.close()
    if answer.status != 200 or answer.getheader("stoker-cold-start") != "1":
        raise RuntimeError(f"{name} was answered {answer.status}, and not from cold: {text[:300]!r}")
    return took_s, answer.getheader("server-timing") or ""


async def replica_pods(kube: KubeClient) -> list[Any]:
    found = await kube.list(PODS, NAMESPACE, label_selector=f"{L_ROLE}={ROLE_REPLICA}")
    return list(found.items)


async def until_none(kube: KubeClient) -> None:
    """No replica is there, and its device is known to be free."""
    async with asyncio.timeout(PATIENCE_S):
        while await replica_pods(kube):  # noqa: ASYNC110  the event is in the API server
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)


def by_hand(pod: dict[str, Any]) -> dict[str, Any]:
    """The captured pod as somebody without Stoker would write it."""
    meta, spec = pod["metadata"], dict(pod["spec"])
    for name in ("nodeName", "initContainers", "priority", "preemptionPolicy"):
        spec.pop(name, None)
    spec["schedulerName"] = "default-scheduler"
    labels = {key: text for key, text in meta.get("labels", {}).items() if not key.startswith(f"{GROUP}/")}
    annotations = {key: text for key, text in meta.get("annotations", {}).items() if not key.startswith(f"{GROUP}/")}
    assert A_REPLICA not in annotations
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": BY_HAND, "namespace": NAMESPACE, "labels": labels, "annotations": annotations},
        "spec": spec,
    }


async def start_by_hand(kube: KubeClient, pod: dict[str, Any]) -> float:
    """Seconds from the post to the first whole answer; the pod is removed again."""
    addressed = asyncio.Event()
    address = ""
    cache: Cache[PeerPod] = Cache(kube, POD_ADDRESSES, NAMESPACE, field_selector=f"metadata.name={BY_HAND}")

    def see(_: PeerPod | None, after: PeerPod | None) -> None:
        nonlocal address
        if after is not None and after.status.pod_ip:
            address = after.status.pod_ip
            addressed.set()

    cache.on_change(see)
    cache.start()
    await cache.synced.wait()
    try:
        async with asyncio.timeout(PATIENCE_S):
            began = time.monotonic()
            await kube.create(PODS, pod, NAMESPACE)
            await addressed.wait()
            while not await _answers(address):  # noqa: ASYNC110  the event is a port that opens
                await asyncio.sleep(POLL_S)
            return time.monotonic() - began
    finally:
        await cache.stop()
        await kube.delete(PODS, BY_HAND, NAMESPACE)
        await _until_gone(kube)


async def _answers(address: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(address, PORT)
    except OSError:
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: by-hand\r\nConnection: close\r\n\r\n")
        return (await reader.read()).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _until_gone(kube: KubeClient) -> None:
    with contextlib.suppress(NotFound):
        async with asyncio.timeout(PATIENCE_S):
            while await kube.get(PODS, BY_HAND, NAMESPACE):  # noqa: ASYNC110  the event is in the API server
                await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)


async def alternate(place: Layout, way_in: tuple[str, int], case: Case, runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"Stoker": [], "by hand": []}
    async with client(place) as kube:
        await until_none(kube)
        await asyncio.to_thread(call, way_in, case.name)
        pod = by_hand((await replica_pods(kube))[0])
        await until_none(kube)
        for number in range(runs):
            took_s, timing = await asyncio.to_thread(call, way_in, case.name)
            found["Stoker"].append(took_s)
            await until_none(kube)
            hand_s = await start_by_hand(kube, pod)
            found["by hand"].append(hand_s)
            say(f"{case.name} {number + 1}/{runs}: Stoker {took_s:.3f} s ({timing}), by hand {hand_s:.3f} s ({load()})")
    return found


async def prepare(place: Layout) -> None:
    async with client(place) as kube:
        await make_namespace(kube, NAMESPACE)
    documents = [function(case.name, gpu={"memory": "4Gi", "sharing": case.sharing}) for case in CASES]
    await apply_functions(place, *documents)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster cold-start", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--index", type=int, default=9, help="of the cluster: chooses subnets and ports")
    parser.add_argument("--idle-seconds", type=float, default=60, help="measure the idle cost first; 0: do not")
    options = parser.parse_args(arguments)
    print(machine())
    with bare_cluster(options.index) as place:
        install(place)
        asyncio.run(prepare(place))
        if options.idle_seconds:
            quiet()
            measure(place, options.idle_seconds)
        with release.way_in(place.kubeconfig) as way_in:
            figures = {case.name: asyncio.run(alternate(place, way_in, case, options.runs)) for case in CASES}
    print("| function | Stoker p50 ms | p95 | by hand p50 ms | p95 | difference of p50 | of p95 |")
    print("|---|---|---|---|---|---|---|")
    for name, found in figures.items():
        cells = {(who, part): 1000 * quantile(times, part) for who, times in found.items() for part in (0.5, 0.95)}
        middle, high = (cells["Stoker", part] - cells["by hand", part] for part in (0.5, 0.95))
        columns = " | ".join(f"{cells[who, part]:.0f}" for who in ("Stoker", "by hand") for part in (0.5, 0.95))
        print(f"| {name} | {columns} | {middle:+.0f} | {high:+.0f} |")
    print(machine())
