"""The ledger under load: how often 1,000 agents write their FunctionNode, and what that costs API server and operator.

The agents are the real writer (stoker_node.kubernetes.ledger) over telemetry that never rests: each GPU's memory
walks, jumps by gigabytes and trembles once a second. First without and
then with flips (replicas that come warm and go), which are written at once by design. Optionally the real operator
reads along, and follows the streams of some agents.
"""

import argparse
import asyncio
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.cluster.machine import cpu_s, load, machine, memory_mib, quantile, say, timed
from bench.cluster.process import Component
from bench.cluster.server import MINE, SERVERS, Bench, api_server
from bench.cluster.simulated_nodes import DOCUMENTS, address_of, agent_name, devices, make_agents, make_nodes
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.wire.function_node import AgentStatus, FunctionNodeStatus, NodeCondition, ResidentStatus
from stoker_node.kubernetes.ledger import Ledger, device_statuses, status_of
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.process import clock_us

TELEMETRY_S = 1.0
NEWS_S = 0.1
FLIP_MEAN_S = 60.0


class Agent:
    """One node: its memory moves, its replicas flip when they may."""

    def __init__(self, kube: KubeClient, name: str, number: int) -> None:
        self._rng = random.Random(number)
        self._number = number
        self._devices = devices()
        self._used = {device.id: self._rng.randrange(2_000, 30_000) for device in self._devices}
        self._said = dict(self._used)
        self._warm = [True] * 4
        self.flips = 0
        self.ledger = Ledger(kube, name, self._status, clock_us=clock_us, rng=self._rng)

    def telemetry(self) -> None:
        """A reading: a walk, a jump now and then, and noise on it that is nobody's memory."""
        for identity, used in self._used.items():
            step = self._rng.gauss(0, 150) if self._rng.random() > 0.02 else self._rng.choice((-1, 1)) * 4_000
            self._used[identity] = min(40_000, max(500, round(used + step)))
            self._said[identity] = self._used[identity] + round(self._rng.gauss(0, 100))
        self.ledger.changed()

    def flip(self) -> None:
        index = self._rng.randrange(len(self._warm))
        self._warm[index] = not self._warm[index]
        self.flips += 1
        self.ledger.changed()

    def _status(self) -> FunctionNodeStatus:
        residents = tuple(
            ResidentStatus(
                namespace="tenant",
                pod=f"pod-{index}",
                pod_uid=f"{self._number:06d}-{index}",
                function=f"f-{index}",
                revision="0123456789",
                variant=Variant.GPU,
                devices=(f"GPU-{index:08d}",),
                state=ReplicaState.WARM if warm else ReplicaState.STARTING,
                memory_mib=20_000,
            )
            for index, warm in enumerate(self._warm)
        )
        return status_of(
            agent=AgentStatus(pod=agent_name(self._number), address=address_of(self._number), version="0.1.0"),
            devices=device_statuses(self._devices, self._said),
            residents=residents,
            images=(),
            condition=NodeCondition(
                type="Ready", status="True", reason="Ready", message="", last_transition_time="2026-01-01T00:00:00Z"
            ),
            generation=1,
        )


async def simulate(pipe: Connection, kubeconfig: Path, numbers: range, seconds: float) -> None:
    """Some of the agents. Sends what each wrote: without flips, then with, and how many flips there were."""
    async with KubeClient(load_kubeconfig(kubeconfig), user_agent=f"{MINE}-agents") as kube:
        agents = [Agent(kube, name_of(number), number) for number in numbers]
        rng = random.Random(numbers.start)

        async def live(agent: Agent, flipping: asyncio.Event) -> None:
            await asyncio.sleep(rng.random() * TELEMETRY_S)
            agent.telemetry()
            agent.ledger.start()
            looked = 0
            while True:
                await asyncio.sleep(NEWS_S)
                agent.ledger.changed()  # a request began or ended
                looked += 1
                if looked % round(TELEMETRY_S / NEWS_S) == 0:
                    agent.telemetry()
                if flipping.is_set() and rng.random() < NEWS_S / FLIP_MEAN_S:
                    agent.flip()

        flipping = asyncio.Event()
        tasks = [asyncio.create_task(live(agent, flipping)) for agent in agents]
        while not all(agent.ledger.writes for agent in agents):  # noqa: ASYNC110  the event is in the API server
            await asyncio.sleep(0.2)
        pipe.send("all wrote once")
        for with_flips in (False, True):
            await asyncio.to_thread(pipe.recv)  # go
            if with_flips:
                flipping.set()
            before = [agent.ledger.writes for agent in agents]
            await asyncio.sleep(seconds)
            wrote = [agent.ledger.writes - count for agent, count in zip(agents, before, strict=True)]
            failing = [agent.ledger.problem for agent in agents if agent.ledger.problem]
            pipe.send((wrote, sum(agent.flips for agent in agents), failing[:1]))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for agent in agents:
            await agent.ledger.stop()


def name_of(number: int) -> str:
    return f"node-{number:05d}"


def child(pipe: Connection, kubeconfig: Path, numbers: range, seconds: float) -> None:
    asyncio.run(simulate(pipe, kubeconfig, numbers, seconds))


async def fill(bench: Bench, count: int, streams: int) -> None:
    async with bench.client() as kube:
        names = [name_of(number) for number in range(count)]
        await make_nodes(kube, names)
        for name in names:
            body = {"apiVersion": "stoker.dev/v1alpha1", "kind": "FunctionNode", "metadata": {"name": name}, "spec": {}}
            await kube.apply(DOCUMENTS, name, body, manager=MINE, force=True)
        await make_agents(kube, names[:streams])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster ledger", description=__doc__)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--streams", type=int, default=100, help="agents whose streams the operator follows")
    parser.add_argument("--no-operator", action="store_true")
    options = parser.parse_args(arguments)
    print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder,
        api_server(Path(folder)) as bench,
    ):
        with timed(f"{options.agents} nodes made"):
            asyncio.run(fill(bench, options.agents, 0 if options.no_operator else options.streams))
        if options.no_operator:
            measure(bench, options.agents, options.seconds, None)
            return
        argv = [sys.executable, "-m", "bench.cluster.scripted_agents", str(bench.server.kubeconfig)]
        with (
            Component("stoker_operator.main", bench.folder, bench.server.kubeconfig) as operator,
            subprocess.Popen(argv) as agents,
        ):
            try:
                operator.until_logged("leading")
                measure(bench, options.agents, options.seconds, operator)
            finally:
                agents.kill()


def measure(bench: Bench, count: int, seconds: float, operator: Component | None) -> None:
    halves = [range(count // 2), range(count // 2, count)]
    pipes, children = [], []
    for numbers in halves:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=child, args=(theirs, bench.server.kubeconfig, numbers, seconds), daemon=True
        )
        process.start()
        pipes.append(ours)
        children.append(process)
    with timed("every agent wrote once"):
        for pipe in pipes:
            pipe.recv()
    watched = {name: bench.pids(name) for name in SERVERS}
    if operator is not None:
        watched["operator"] = [operator.pid]
    flips_before = 0
    for what in ("noise only", "noise and flips"):
        before = {name: cpu_s(pids) for name, pids in watched.items()}
        began = time.monotonic()
        for pipe in pipes:
            pipe.send("go")
        answers = [pipe.recv() for pipe in pipes]
        took_s = time.monotonic() - began
        wrote = [each / seconds for answer in answers for each in answer[0]]
        flips = sum(answer[1] for answer in answers) - flips_before
        flips_before += flips
        for problem in (text for answer in answers for text in answer[2]):
            say(f"a write failed: {problem}")
        cpu = {name: 100 * (cpu_s(pids) - before[name]) / took_s for name, pids in watched.items()}
        print(
            f"{what}, {count} agents, {seconds:g} s: {sum(wrote):.0f} writes/s in all; writes/s of an agent: mean "
            f"{sum(wrote) / count:.3f}, p99 {quantile(wrote, 0.99):.3f}, most {max(wrote):.3f}; flips/s "
            f"{flips / seconds:.1f}; CPU % of a core: "
            + ", ".join(f"{name} {percent:.0f}" for name, percent in cpu.items())
            + f" ({load()})"
        )
    if operator is not None:
        rss, peak = memory_mib(operator.pid)
        print(f"operator: RSS {rss:.0f} MiB, peak {peak:.0f} MiB")
    for process in children:
        process.join(20)
