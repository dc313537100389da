"""The extender's two calls over 5,000 nodes, in this process: real ledger, load board and extender, no network.

A call is what kube-scheduler waits for: the request decoded, decided, and the answer encoded. Views of nodes are kept
until something of the node changes, so it is measured for a cluster at rest, for one in which every tenth agent said
something since the last call, and for one in which all did.
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bench.cluster.burst import document, pods_of
from bench.cluster.machine import load, machine, quantile
from bench.cluster.scripted_agents import load_frame
from bench.cluster.simulated_nodes import status
from stoker.model.function import Variant
from stoker.model.mode import Mode
from stoker.model.replica import ReplicaState
from stoker.wire.agent import LoadFrame
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker.wire.crd import decode_function
from stoker.wire.function_node import ResidentStatus, encode_status
from stoker_runtime.logs import configure_logs
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.process import clock_us
from stoker_scheduler.bound_pods import Bound
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import Explanations
from stoker_scheduler.extender import Extender
from stoker_scheduler.ledger import ClusterLedger
from stoker_scheduler.load_board import LoadBoard
from stoker_scheduler.protocol import Arguments

FUNCTIONS = 50
RESIDENTS = 2


class World:
    """A cluster of so many nodes, half full."""

    def __init__(self, nodes: int) -> None:
        self.names = [f"node-{number:05d}" for number in range(nodes)]
        self.loads = LoadBoard()
        self.ledger = ClusterLedger(self.loads)
        self.seqs = [1] * nodes
        self.rng = random.Random(1)
        functions = []
        for number in range(FUNCTIONS):
            body = document(number)
            self.ledger.set_objective(f"bench/function-{number}", "250ms")
            functions.append(decode_function(body, uid=f"uid-{number}", mode=Mode.KUBERNETES))
        images = [function.spec.container.image or "" for function in functions]
        self.pods = pods_of(functions, 2 * FUNCTIONS, 0)
        bound = pods_of(functions, nodes * RESIDENTS, 10_000)
        replicas = [msgspec.json.decode(p["metadata"]["annotations"][A_REPLICA], type=PodReplica) for p in bound]
        for number, name in enumerate(self.names):
            here = replicas[number * RESIDENTS : (number + 1) * RESIDENTS]
            residents = []
            for index, replica in enumerate(here):
                pod = Bound(f"{name}-{index}", name, replica)
                self.ledger.set_pod(None, pod)
                residents.append(
                    ResidentStatus(
                        namespace="bench",
                        pod=pod.uid,
                        pod_uid=pod.uid,
                        function=replica.function.partition("/")[2],
                        revision=replica.revision,
                        variant=Variant.GPU,
                        devices=(f"GPU-{index:08d}",),
                        state=ReplicaState.WARM,
                        memory_mib=4_096,
                    )
                )
            said = status(number, images if number % 2 == 0 else ())
            self.ledger.set_node(name, encode_status(name, msgspec.structs.replace(said, residents=tuple(residents))))
            self.say(number)
        self.extender = Extender(
            self.ledger, Charges(), Explanations(2_000), PrometheusSink(max_series=5_000), clock_us
        )
        self.decoder = msgspec.json.Decoder(Arguments)

    def say(self, number: int) -> None:
        """The agent of a node says something new."""
        frame = msgspec.json.decode(load_frame(number, self.seqs[number], self.rng), type=LoadFrame)
        self.seqs[number] += 1
        self.loads.heard(self.names[number], frame)
        self.ledger.load_changed(self.names[number])

    def call(self, decide: Callable[[Arguments], Any], pod: dict[str, Any], names: list[str]) -> tuple[float, Any]:
        """Milliseconds, and the answer."""
        body = msgspec.json.encode({"Pod": pod, "NodeNames": names})
        began = time.perf_counter()
        answer = decide(self.decoder.decode(body))
        msgspec.json.encode(answer)
        return (time.perf_counter() - began) * 1000, answer


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster extender", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[500, 5_000])
    parser.add_argument("--pods", type=int, default=200)
    options = parser.parse_args(arguments)
    configure_logs("warning", "json", background=True)
    print(machine())
    print("| nodes | said something since | filter p50 ms | p99 | prioritize p50 ms | p99 | both p50 ms | p99 |")
    print("|---|---|---|---|---|---|---|---|")
    for nodes in options.nodes:
        world = World(nodes)
        for what, share in (("none", 0.0), ("every tenth agent", 0.1), ("all agents", 1.0)):
            figures: list[list[float]] = [[], [], []]
            for index in range(options.pods):
                for number in world.rng.sample(range(nodes), round(share * nodes)):
                    world.say(number)
                pod = world.pods[index % len(world.pods)]
                pod["metadata"]["uid"] = f"wanted-{what}-{index}"
                filtered_ms, answer = world.call(world.extender.filter, pod, world.names)
                scored_ms, _ = world.call(world.extender.prioritize, pod, list(answer.node_names))
                for column, value in zip(figures, (filtered_ms, scored_ms, filtered_ms + scored_ms), strict=True):
                    column.append(value)
            cells = " | ".join(f"{quantile(c, 0.5):.1f} | {quantile(c, 0.99):.1f}" for c in figures)
            print(f"| {nodes} | {what} | {cells} |", flush=True)
    print(load())
