"""What the installed platform costs when nothing is called: CPU and memory of each of its containers.

On a cluster of its own with two nodes, the chart as it comes (two operators, two gateways, one scheduler with its
kube-scheduler, an agent on each node) and simulated GPUs. Processes are seen from the machine, by the cgroups of the
cluster's nodes. What API server and etcd use before and after the installation stands beside it.
"""

import argparse
import asyncio
from pathlib import Path

from msgspec import Struct

from bench.cluster.installed import NAMESPACE, apply_functions, bare_cluster, client, function, install, server_cpu
from bench.cluster.machine import cpu_s, load, machine, memory_mib, quiet, say
from bench.cluster.server import make_namespace
from cluster.layout import Layout

NAMES = {
    "stoker_operator.main": "operator",
    "stoker_gateway.main": "gateway",
    "stoker_node.main": "node agent",
    "stoker_scheduler.main": "scheduler extender",
    "kube-scheduler": "kube-scheduler of Stoker",
}


class Seen(Struct, frozen=True):
    pid: int
    component: str
    node: str


def platform_processes(place: Layout) -> list[Seen]:
    """Of the platform's containers on this cluster's nodes."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            cgroup = (folder / "cgroup").read_text()
        except OSError:
            continue  # it has ended
        node = next((each.name for each in place.nodes if each.cgroup in cgroup), None)
        component = next((name for mark, name in NAMES.items() if any(word.endswith(mark) for word in words[:3])), None)
        if node is not None and component is not None:
            found.append(Seen(int(folder.name), component, node))
    return sorted(found, key=lambda seen: (seen.component, seen.node))


def measure(place: Layout, seconds: float) -> None:
    """Prints a table."""
    found = platform_processes(place)
    before = {seen.pid: cpu_s([seen.pid]) for seen in found}
    servers = server_cpu(place, seconds)
    print("| component | node | CPU % of a core | RSS MiB | peak MiB |\n|---|---|---|---|---|")
    total_cpu, total_rss = 0.0, 0.0
    for seen in found:
        cpu = 100 * (cpu_s([seen.pid]) - before[seen.pid]) / seconds
        rss, peak = memory_mib(seen.pid)
        total_cpu, total_rss = total_cpu + cpu, total_rss + rss
        print(f"| {seen.component} | {seen.node} | {cpu:.1f} | {rss:.0f} | {peak:.0f} |")
    print(f"| all | | {total_cpu:.1f} | {total_rss:.0f} | |")
    print("API server and etcd, CPU % of a core: " + ", ".join(f"{name} {cpu:.1f}" for name, cpu in servers.items()))
    print(load())


async def prepare(place: Layout) -> None:
    async with client(place) as kube:
        await make_namespace(kube, NAMESPACE)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--index", type=int, default=9, help="of the cluster: chooses subnets and ports")
    options = parser.parse_args(arguments)
    print(machine())
    with bare_cluster(options.index) as place:
        quiet()
        bare = server_cpu(place, options.seconds)
        print("before the installation, CPU % of a core: " + ", ".join(f"{n} {cpu:.1f}" for n, cpu in bare.items()))
        install(place)
        asyncio.run(prepare(place))
        asyncio.run(apply_functions(place, *(function(f"idle-{number}") for number in range(2))))
        say("two functions at zero")
        quiet()
        measure(place, options.seconds)
