"""The operator: 500 functions applied at once until all are in sync, what it writes at rest, and what it uses.

The real process against a real API server, without agents and gateways: nothing has ever called the functions. The
foreign pods are written by plain POSTs while no controller manager runs, and stay Pending.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import kube_client
from bench.cluster.machine import Used, cpu_s, load, machine, median, memory_mib, quiet, say, timed, used_over
from bench.cluster.process import Component
from bench.cluster.server import PODS, SERVERS, Bench, api_server, make_namespace
from stoker_operator.kinds import FUNCTIONS, NETWORK_POLICIES, SERVICES, Dynamic
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.watch import Cache

OPERATOR = "stoker-operator"
SETTLE_S = 15.0
"""A status that is no flip is written 10 s after the one before at the earliest."""
REST_S = 30.0
NAMESPACES = 10


class Burst(Struct, frozen=True):
    """What one burst of functions took."""

    posted_s: float
    in_sync_s: float
    operator_cpu_s: float
    server_cpu_s: float
    peak_mib: float
    at_rest: dict[str, int]


def function(number: int) -> dict[str, Any]:
    """Every other one may run on a CPU too, every third shares its GPU."""
    spec: dict[str, Any] = {
        "container": {
            "image": f"registry.example/models/function-{number % 50}:1.{number % 7}",
            "args": ["--model", "/models/weights"],
            "env": [{"name": f"SETTING_{index}", "value": f"value-{index}"} for index in range(8)],
            "resources": {"cpu": "2", "memory": "4Gi"},
        },
        "gpu": {"memory": "4Gi", "sharing": "Shared" if number % 3 == 0 else "Exclusive"},
        "slo": {"latency": f"{100 + number % 900}ms"},
        "scaling": {"minReplicas": 0, "maxReplicas": 4, "concurrency": 4},
    }
    if number % 2 == 0:
        spec["cpuVariant"] = {"resources": {"cpu": "2", "memory": "4Gi"}, "maxReplicas": 1}
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": f"function-{number}", "namespace": f"tenant-{number % NAMESPACES}"},
        "spec": spec,
    }


def in_sync(item: Dynamic) -> bool:
    status = item.status or {}
    return status.get("observedGeneration") == item.metadata.generation and bool(status.get("conditions"))


async def post(kube: KubeClient, numbers: range) -> None:
    for document in await asyncio.gather(
        *(kube.create(FUNCTIONS, body, body["metadata"]["namespace"]) for body in map(function, numbers))
    ):
        assert document.metadata.name


async def burst(kube: KubeClient, numbers: range, ceiling_s: float = 600) -> tuple[float, float]:
    """Seconds until all were posted, and until all were in sync."""
    caches: tuple[Cache[Any], ...] = (Cache(kube, FUNCTIONS), Cache(kube, SERVICES), Cache(kube, NETWORK_POLICIES))
    names = {(f"tenant-{number % NAMESPACES}", f"function-{number}") for number in numbers}
    missing: list[set[tuple[str, str]]] = [set(names) for _ in caches]
    done = asyncio.Event()

    def follow(number: int) -> Any:
        def see(_: Any, after: Any) -> None:
            if after is None or (number == 0 and not in_sync(after)):
                return
            missing[number].discard((after.metadata.namespace, after.metadata.name))
            if not any(missing):
                done.set()

        return see

    for number, cache in enumerate(caches):
        cache.on_change(follow(number))
        cache.start()
        await cache.synced.wait()
    began = time.monotonic()
    await post(kube, numbers)
    posted_s = time.monotonic() - began
    try:
        await asyncio.wait_for(done.wait(), ceiling_s)
    except TimeoutError:
        left = [len(each) for each in missing]
        raise RuntimeError(f"not in sync after {ceiling_s:g} s: functions, services, policies left: {left}") from None
    in_sync_s = time.monotonic() - began
    for cache in caches:
        await cache.stop()
    return posted_s, in_sync_s


async def prepare(bench: Bench) -> None:
    async with bench.client() as kube:
        for number in range(NAMESPACES):
            await make_namespace(kube, f"tenant-{number}")


def one_burst(count: int, *, controller_manager: bool) -> Burst:
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder,
        api_server(Path(folder), controller_manager=controller_manager) as bench,
    ):
        asyncio.run(prepare(bench))
        with Component("stoker_operator.main", bench.folder, bench.server.kubeconfig) as operator:
            operator.until_logged("leading")
            operator.until_ready()
            quiet()
            servers = [pid for name in SERVERS for pid in bench.pids(name)]
            cpu, server_cpu = cpu_s([operator.pid]), cpu_s(servers)

            async def run() -> tuple[float, float]:
                async with bench.client() as kube:
                    return await burst(kube, range(count))

            posted_s, in_sync_s = asyncio.run(run())
            cpu, server_cpu = cpu_s([operator.pid]) - cpu, cpu_s(servers) - server_cpu
            say(
                f"{count} functions posted in {posted_s:.1f} s, in sync after {in_sync_s:.2f} s; "
                f"CPU s: operator {cpu:.1f}, API server and etcd {server_cpu:.1f} ({load()})"
            )
            at_sync = bench.writes.since_last(OPERATOR)
            time.sleep(SETTLE_S)
            settling = bench.writes.since_last(OPERATOR)
            time.sleep(REST_S)
            at_rest = bench.writes.since_last(OPERATOR)
            for what, writes in (("until in sync", at_sync), ("settling", settling), ("at rest", at_rest)):
                say(f"written {what}: {dict(writes)}")
            return Burst(posted_s, in_sync_s, cpu, server_cpu, memory_mib(operator.pid)[1], dict(at_rest))


async def foreign_pods(bench: Bench, count: int) -> None:
    async with bench.client() as kube:
        await make_namespace(kube, "foreign")
        for begin in range(0, count, 2_000):
            numbers = range(begin, min(count, begin + 2_000))
            await asyncio.gather(*(kube.create(PODS, kube_client.pod(number, 1_000), "foreign") for number in numbers))


async def touch_foreign(bench: Bench, seconds: float) -> int:
    """Change foreign pods for so long; how many changes."""
    changes = 0
    deadline = time.monotonic() + seconds
    async with bench.client() as kube:
        while time.monotonic() < deadline:
            patch = {"metadata": {"annotations": {"stoker.dev/stamp": str(changes)}}}
            names = [kube_client.pod(number, 1)["metadata"]["name"] for number in range(50)]
            await asyncio.gather(*(kube.patch(PODS, name, patch, "foreign") for name in names))
            changes += 50
            await asyncio.sleep(0.5)
    return changes


def at_scale(functions: int, pods: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder, api_server(Path(folder)) as bench:
        asyncio.run(prepare(bench))

        async def fill() -> None:
            async with bench.client() as kube:
                await post(kube, range(functions))

        with timed(f"{functions} functions posted"):
            asyncio.run(fill())
        figures: dict[str, Used] = {}
        with Component("stoker_operator.main", bench.folder, bench.server.kubeconfig) as operator:
            with timed("a new operator leads"):
                operator.until_logged("leading")
            with timed("all in sync"):
                while not asyncio.run(all_in_sync(bench)):
                    time.sleep(1)
            time.sleep(SETTLE_S)
            bench.writes.since_last(OPERATOR)
            figures[f"{functions} functions, at rest"] = used_over(operator.pid, seconds)
            say(f"written at rest: {dict(bench.writes.since_last(OPERATOR))}")
            with timed(f"{pods} foreign pods posted"):
                asyncio.run(foreign_pods(bench, pods))
            figures[f"and {pods} foreign pods, at rest"] = used_over(operator.pid, seconds)
            cpu, began = cpu_s([operator.pid]), time.monotonic()
            changes = asyncio.run(touch_foreign(bench, seconds))
            percent = 100 * (cpu_s([operator.pid]) - cpu) / (time.monotonic() - began)
            figures[f"and {changes / seconds:.0f} changes of them a second"] = Used(percent, *memory_mib(operator.pid))
        with Component("stoker_operator.main", bench.folder, bench.server.kubeconfig) as operator:
            with timed("another operator leads"):
                operator.until_logged("leading")
            time.sleep(SETTLE_S)
            bench.writes.since_last(OPERATOR)
            figures["a new operator that finds all this, at rest"] = used_over(operator.pid, seconds)
            say(f"written at rest: {dict(bench.writes.since_last(OPERATOR))}")
    print("| operator with | CPU % of a core | RSS MiB | peak RSS MiB |\n|---|---|---|---|")
    for what, used in figures.items():
        print(f"| {what} | {used.cpu_percent:.1f} | {used.rss_mib:.0f} | {used.peak_mib:.0f} |")


async def all_in_sync(bench: Bench) -> bool:
    async with bench.client() as kube:
        page = await kube.list(FUNCTIONS)
    left = sum(not in_sync(item) for item in page.items)
    say(f"{left} not in sync")
    return not left


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster operator", description=__doc__)
    parser.add_argument("--functions", type=int, default=500, help="of a burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts; 0 for none")
    parser.add_argument("--no-controller-manager", action="store_true")
    parser.add_argument("--many", type=int, default=5_000, help="functions at rest; 0 for none")
    parser.add_argument("--pods", type=int, default=20_000, help="of others")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args(arguments)
    print(machine())
    bursts = [
        one_burst(options.functions, controller_manager=not options.no_controller_manager)
        for _ in range(options.rounds)
    ]
    if bursts:
        rest: Counter[str] = Counter()
        for each in bursts:
            rest.update(each.at_rest)
        print(
            f"{options.functions} functions at once, medians of {len(bursts)}: "
            f"posted in {median(b.posted_s for b in bursts):.1f} s, "
            f"in sync after {median(b.in_sync_s for b in bursts):.1f} s "
            f"({', '.join(f'{b.in_sync_s:.1f}' for b in bursts)}); "
            f"CPU of the operator {median(b.operator_cpu_s for b in bursts):.1f} s, "
            f"of API server and etcd {median(b.server_cpu_s for b in bursts):.1f} s; "
            f"peak RSS {median(b.peak_mib for b in bursts):.0f} MiB"
        )
        print(f"written by the operators in {REST_S:g} s at rest, all {len(bursts)} together: {dict(rest)}")
    if options.many:
        at_scale(options.many, options.pods, options.seconds)
    print(machine())
