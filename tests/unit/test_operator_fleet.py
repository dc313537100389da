"""One round of the plan loop: what it does about pods that nobody can serve by, before it plans."""

from typing import Any

import msgspec
import pytest

from stoker.control.planning import Failure, PlanParams
from stoker.model.function import GpuOption, Variant
from stoker.model.policy import default_policy
from stoker.reasons import Reason
from stoker.wire.cluster import PodReplica
from stoker_operator.agent_board import AgentBoard
from stoker_operator.cost_board import CostBoard
from stoker_operator.demand_board import DemandBoard
from stoker_operator.fleet import Fleet
from stoker_operator.function_store import FunctionStore
from stoker_operator.kinds import Dynamic, Node, Pod
from stoker_operator.ledger import Nodes
from stoker_operator.node_choice import NodeChoice
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

S = 1_000_000
SPEC = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}
KEY = "team/f"


class Lives:
    """Says what it is told to do."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.spoiled: set[str] = set()
        self.failures: list[Failure] = []

    def seen(self, views: dict[str, ReplicaPod], functions: Any) -> None:
        self.told.append(f"seen {len(views)} of {sorted(functions)}")

    def is_spoiled(self, view: ReplicaPod) -> bool:
        return view.uid in self.spoiled

    def making(self) -> tuple[()]:
        return ()

    def leaving(self) -> frozenset[str]:
        return frozenset()

    killed = leaving

    def act(self, action: object) -> bool:
        self.told.append(type(action).__name__.lower())
        return True

    def bury(self, view: ReplicaPod) -> None:
        self.told.append(f"bury {view.uid}")

    def abandon(self, view: ReplicaPod, detail: str) -> None:
        self.told.append(f"abandon {view.uid}")

    def retire(self, view: ReplicaPod, detail: str) -> None:
        self.told.append(f"retire {view.uid}")


class World:
    def __init__(self) -> None:
        self.now_us = 1_000 * S
        self.lives = Lives()
        self.views: dict[str, ReplicaPod] = {}
        agents = AgentBoard()
        self.nodes = Nodes(agents, 60 * S)
        self.store = FunctionStore(lambda _: None)
        self.statuses: dict[str, Any] = {}
        given: Any = self.lives
        revisions: Any = None  # asked at the start of a leader only
        self.fleet = Fleet(
            store=self.store,
            nodes=self.nodes,
            node_choice=NodeChoice(),
            agents=agents,
            demand=DemandBoard(),
            lives=given,
            revisions=revisions,
            views=lambda: self.views,
            waiting=lambda _: (Reason.INITIALISING, "it begins"),
            failure_of=self.failure_of,
            failed=lambda _: None,
            policy=default_policy,
            costs=CostBoard(agents, self.nodes.labels),
            planned=lambda statuses, _: self.statuses.update(statuses),
            params=PlanParams,
            clock_us=lambda: self.now_us,
            wall_us=lambda: self.now_us,
            metrics=PrometheusSink(),
        )
        meta = {"name": "f", "namespace": "team", "uid": "u", "generation": 1, "resourceVersion": "1"}
        self.store.put(msgspec.convert({"metadata": meta, "spec": SPEC}, Dynamic))
        self.node("n", ready=True)

    def failure_of(self, view: ReplicaPod, now_us: int) -> Failure:
        raise AssertionError(f"{view.uid} has not failed")

    def node(self, name: str, *, ready: bool) -> None:
        status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
        self.nodes.set_node(name, msgspec.convert({"metadata": {"name": name}, "status": status}, Node), self.now_us)

    def show(self, *, ending: bool = False) -> None:
        revision = self.store.functions[KEY].revision
        identity = f"{KEY}-{revision}-0"
        replica = PodReplica(
            id=identity,
            function=KEY,
            function_uid="u",
            variant=Variant.GPU,
            revision=revision,
            ordinal=0,
            options=(GpuOption(memory_mib=4096),),
        )
        metadata = {"name": f"f-{revision}-0", "namespace": "team", "uid": "p"}
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if ending else {}
        pod = {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
        self.views = {identity: ReplicaPod(pod=msgspec.convert(pod, Pod), replica=replica)}

    def round(self) -> list[str]:
        self.lives.told.clear()
        self.fleet._round()
        return self.lives.told[1:]

    def replicas(self) -> tuple[int, int]:
        counts = self.statuses[KEY].replicas[Variant.GPU]
        return counts.starting, counts.draining


@pytest.fixture
def world() -> World:
    return World()


def test_what_the_caches_show_is_told_with_the_functions_that_there_are(world: World) -> None:
    world.show()
    world.round()
    assert world.lives.told[0] == "seen 1 of ['team/f']"


def test_a_pod_that_admission_spoiled_is_ended_in_each_round_until_it_is_gone(world: World) -> None:
    world.show()
    world.lives.spoiled = {"p"}
    for _ in range(3):
        assert world.round()[0] == "bury p"
    world.views = {}
    assert world.round() == []


def test_a_pod_on_a_lost_node_is_abandoned_and_then_counts_no_more(world: World) -> None:
    world.show()
    world.node("n", ready=False)
    world.round()
    assert world.replicas() == (1, 0)
    world.now_us += 60 * S
    assert world.round()[0] == "abandon p"
    # Nobody is there who could end it: it stays for as long as the Node does.
    world.show(ending=True)
    world.round()
    assert world.replicas() == (0, 0)
    world.node("n", ready=True)
    world.round()
    assert world.replicas() == (0, 1)
