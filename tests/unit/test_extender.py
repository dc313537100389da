"""The extender's two calls on a scripted ledger."""

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind
from stoker.model.function import GpuOption, Variant
from stoker.placement.view import DeviceView, NodeView, Pace, Wanted
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker_runtime.metrics import PrometheusSink
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import Explanations
from stoker_scheduler.extender import Extender
from stoker_scheduler.protocol import Arguments, FilterResult

pytestmark = pytest.mark.unit


class ScriptedLedger:
    def __init__(self) -> None:
        self.nodes: dict[str, NodeView] = {}

    def add(self, name: str, *, gpus: int = 1, memory_mib: int = 40_960, **fields: object) -> None:
        devices = tuple(
            DeviceView(device=Device(id=f"GPU-{i}", kind=DeviceKind.GPU, product="A100", memory_mib=memory_mib))
            for i in range(gpus)
        )
        self.nodes[name] = msgspec.structs.replace(NodeView(name=name, devices=devices), **fields)

    def node(self, name: str) -> NodeView | None:
        return self.nodes.get(name)

    def pace(self, wanted: Wanted, node: str) -> Pace:
        return Pace(start_us=4_000_000, pull_us=30_000_000)

    def objective_us(self, function: str) -> int:
        return 250_000

    def cross_tenant(self) -> frozenset[str]:
        return frozenset()


class World:
    def __init__(self) -> None:
        self.ledger = ScriptedLedger()
        self.now_us = 0
        self.charges = Charges(keep_us=1_000)
        self.explanations = Explanations()
        self.extender = Extender(self.ledger, self.charges, self.explanations, PrometheusSink(), lambda: self.now_us)

    def pod(self, uid: str = "u1", annotation: str | None = None, *, nodes: tuple[str, ...]) -> Arguments:
        replica = PodReplica(
            id="team/fn-0123456789-0",
            function="team/fn",
            function_uid="f",
            variant=Variant.GPU,
            revision="0123456789",
            ordinal=0,
            options=(GpuOption(memory_mib=10_000),),
        )
        text = msgspec.json.encode(replica).decode() if annotation is None else annotation
        raw = {
            "Pod": {
                "metadata": {"name": uid, "namespace": "team", "uid": uid, "annotations": {A_REPLICA: text}},
                "spec": {"containers": [{"name": "function", "image": "fn:1"}]},
            },
            "Nodes": None,
            "NodeNames": list(nodes),
        }
        return msgspec.json.decode(msgspec.json.encode(raw), type=Arguments)


@pytest.fixture
def world() -> World:
    return World()


def every_node(result: FilterResult) -> list[str]:
    return sorted([*result.node_names, *result.failed, *result.unresolvable])


def test_every_node_that_was_offered_is_in_the_answer_once(world: World) -> None:
    world.ledger.add("good")
    world.ledger.add("small", memory_mib=1)
    world.ledger.add("away", away="its agent is away")
    result = world.extender.filter(world.pod(nodes=("good", "small", "away", "stranger")))
    assert every_node(result) == ["away", "good", "small", "stranger"]
    assert result.node_names == ("good",)
    assert set(result.unresolvable) == {"small"}


def test_the_answer_has_the_names_that_go_reads(world: World) -> None:
    world.ledger.add("good")
    answer = msgspec.json.decode(msgspec.json.encode(world.extender.filter(world.pod(nodes=("good",)))))
    assert answer == {"NodeNames": ["good"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": ""}
    priority = world.extender.prioritize(world.pod(nodes=("good",)))
    assert msgspec.json.decode(msgspec.json.encode(priority)) == [{"Host": "good", "Score": priority[0].score}]
    assert isinstance(priority[0].score, int)


def test_a_pod_of_somebody_else_passes_everywhere_unscored(world: World) -> None:
    foreign = msgspec.json.decode(b'{"Pod":{"metadata":{"name":"x"}},"NodeNames":["a","b"]}', type=Arguments)
    assert world.extender.filter(foreign).node_names == ("a", "b")
    assert [p.score for p in world.extender.prioritize(foreign)] == [0, 0]


def test_a_broken_annotation_is_named_in_the_answer(world: World) -> None:
    world.ledger.add("good")
    result = world.extender.filter(world.pod(annotation="{", nodes=("good",)))
    assert result.node_names == ()
    assert A_REPLICA in result.unresolvable["good"]


def test_a_null_list_of_nodes_is_no_error(world: World) -> None:
    arguments = msgspec.json.decode(b'{"Pod":{"metadata":{}},"Nodes":null,"NodeNames":null}', type=Arguments)
    assert world.extender.filter(arguments).node_names == ()


def test_a_burst_does_not_see_the_same_free_gpu_twice(world: World) -> None:
    world.ledger.add("one")
    assert world.extender.filter(world.pod("u1", nodes=("one",))).node_names == ("one",)
    assert world.extender.filter(world.pod("u2", nodes=("one",))).node_names == ()


def test_the_same_pod_is_not_in_its_own_way(world: World) -> None:
    world.ledger.add("one")
    for _ in range(3):
        assert world.extender.filter(world.pod("u1", nodes=("one",))).node_names == ("one",)


def test_a_charge_goes_when_its_pod_shows_or_after_a_while(world: World) -> None:
    world.ledger.add("one")
    world.extender.filter(world.pod("u1", nodes=("one",)))
    world.charges.settle("u1")
    assert world.extender.filter(world.pod("u2", nodes=("one",))).node_names == ("one",)
    world.now_us = 1_001
    assert world.extender.filter(world.pod("u3", nodes=("one",))).node_names == ("one",)


def test_the_best_node_is_charged_after_scoring(world: World) -> None:
    world.ledger.add("cold")
    world.ledger.add("cached", images=frozenset({"fn:1"}))
    nodes = ("cold", "cached")
    world.extender.filter(world.pod("u1", nodes=nodes))
    scores = {p.host: p.score for p in world.extender.prioritize(world.pod("u1", nodes=nodes))}
    assert scores["cached"] > scores["cold"]
    assert world.extender.filter(world.pod("u2", nodes=nodes)).node_names == ("cold",)


def test_a_decision_can_be_explained(world: World) -> None:
    world.ledger.add("cold")
    world.ledger.add("cached", images=frozenset({"fn:1"}))
    world.ledger.add("small", memory_mib=1)
    nodes = ("cold", "cached", "small")
    passed = world.extender.filter(world.pod("u1", nodes=nodes)).node_names
    world.extender.prioritize(world.pod("u1", nodes=passed))
    explanation = world.explanations.get("team/u1")
    assert explanation is not None
    assert [(r.node, r.reason) for r in explanation.rejected] == [("small", "NoFittingDevice")]
    assert [s.node for s in explanation.scores] == ["cached", "cold"]
    assert explanation.scores[0].score.warmth.value == "image"
