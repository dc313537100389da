"""The extender's two calls on a scripted ledger."""

from typing import Any

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.placement.view import DeviceView, NodeView, Pace, Wanted
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker_runtime.metrics import PrometheusSink
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import SHOWN_NODES, Explanations
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
        return Pace(start_us=4_000_000, start_samples=3, pull_us=30_000_000)

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
        self.sink = PrometheusSink()
        self.extender = Extender(self.ledger, self.charges, self.explanations, self.sink, lambda: self.now_us)

    def pod(
        self,
        uid: str = "u1",
        annotation: str | None = None,
        *,
        nodes: tuple[str, ...],
        options: tuple[GpuOption, ...] = (GpuOption(memory_mib=10_000),),
        millicores: int = 0,
        name: str = "",
    ) -> Arguments:
        replica = PodReplica(
            id="team/fn-0123456789-0",
            function="team/fn",
            function_uid="f",
            variant=Variant.GPU if options else Variant.CPU,
            revision="0123456789",
            ordinal=0,
            options=options,
            millicores=millicores,
        )
        text = msgspec.json.encode(replica).decode() if annotation is None else annotation
        raw = {
            "Pod": {
                "metadata": {"name": name or uid, "namespace": "team", "uid": uid, "annotations": {A_REPLICA: text}},
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
    assert explanation.scores[0].score.start_samples == 3


def test_the_only_node_that_fits_is_scored_though_kube_scheduler_asks_for_no_scores(world: World) -> None:
    world.ledger.add("cached", images=frozenset({"fn:1"}))
    world.ledger.add("small", memory_mib=1)
    assert world.extender.filter(world.pod(nodes=("cached", "small"))).node_names == ("cached",)
    explanation = world.explanations.get("team/u1")
    assert explanation is not None
    assert [(s.node, s.score.warmth.value) for s in explanation.scores] == [("cached", "image")]
    assert explanation.scores[0].score.points >= 8
    assert b'stoker_placements_total{warmth="image"} 1.0' in world.sink.text()


def test_nothing_is_scored_or_counted_while_no_node_or_several_pass_the_filter(world: World) -> None:
    for name in ("a", "b"):
        world.ledger.add(name)
    world.extender.filter(world.pod(nodes=("a", "b")))
    world.extender.filter(world.pod("u2", nodes=("unknown",)))
    for pod in ("team/u1", "team/u2"):
        explanation = world.explanations.get(pod)
        assert explanation is not None
        assert explanation.scores == ()
    assert b"stoker_placements_total{" not in world.sink.text()
    assert len(world.charges) == 0


def test_of_thousands_of_scores_the_best_are_kept(world: World) -> None:
    names = tuple(f"n{number:03}" for number in range(3 * SHOWN_NODES))
    for number, name in enumerate(names):
        world.ledger.add(name, images=frozenset({"fn:1"}) if number % 3 == 0 else frozenset())
    world.extender.filter(world.pod(nodes=names))
    assert len(world.extender.prioritize(world.pod(nodes=names))) == len(names)
    explanation = world.explanations.get("team/u1")
    assert explanation is not None
    assert [s.node for s in explanation.scores] == list(names[::3])


def test_a_pod_that_has_the_name_of_an_earlier_one_is_explained_from_the_beginning(world: World) -> None:
    world.ledger.add("good")
    world.ledger.add("other")
    nodes = ("good", "other")
    for _ in range(2):
        world.extender.filter(world.pod("u1", name="p", nodes=nodes))
    world.extender.prioritize(world.pod("u1", name="p", nodes=nodes))
    before = world.explanations.get("team/p")
    assert before is not None
    assert (before.uid, before.tries, len(before.scores)) == ("u1", 2, 2)
    world.charges.settle("u1")
    world.extender.filter(world.pod("u2", name="p", nodes=nodes))
    world.extender.prioritize(world.pod("u1", name="p", nodes=nodes))  # an answer to what was asked before
    after = world.explanations.get("team/p")
    assert after is not None
    assert (after.uid, after.tries, after.scores) == ("u2", 1, ())


CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000)
ON_CORES: dict[str, Any] = {"options": (), "millicores": 3_000}


def test_a_burst_of_cpu_replicas_does_not_see_the_same_free_cores_twice(world: World) -> None:
    for name in ("a", "b"):
        world.ledger.add(name, gpus=0)
        view = world.ledger.nodes[name]
        world.ledger.nodes[name] = msgspec.structs.replace(view, devices=(DeviceView(device=CPU),))
    nodes = ("a", "b")
    world.extender.filter(world.pod("u1", nodes=nodes, **ON_CORES))
    world.extender.prioritize(world.pod("u1", nodes=nodes, **ON_CORES))
    (second,) = world.extender.filter(world.pod("u2", nodes=nodes, **ON_CORES)).node_names
    assert second == "b"
    assert world.extender.filter(world.pod("u3", nodes=nodes, **ON_CORES)).node_names == ()


def test_a_cpu_replica_that_was_just_placed_takes_no_gpu(world: World) -> None:
    world.ledger.add("one")
    view = world.ledger.nodes["one"]
    devices = (*view.devices, DeviceView(device=CPU))
    world.ledger.nodes["one"] = msgspec.structs.replace(view, devices=devices)
    assert world.extender.filter(world.pod("u1", nodes=("one",), **ON_CORES)).node_names == ("one",)
    assert world.extender.filter(world.pod("u2", nodes=("one",))).node_names == ("one",)


def test_a_node_is_charged_what_the_option_that_fits_it_takes(world: World) -> None:
    options = (
        GpuOption(memory_mib=24_576, products=("A100",), sharing=Sharing.SHARED),
        GpuOption(memory_mib=10_240, products=("T4",), sharing=Sharing.SHARED),
    )
    card = Device(
        id="GPU-0",
        kind=DeviceKind.GPU,
        product="T4",
        memory_mib=16_384,
        mode=DeviceMode.TIME_SLICED,
        shares=4,
        node="one",
    )
    world.ledger.nodes["one"] = NodeView(name="one", devices=(DeviceView(device=card),))
    assert world.extender.filter(world.pod("u1", nodes=("one",), options=options)).node_names == ("one",)
    small = (GpuOption(memory_mib=4_096, sharing=Sharing.SHARED),)
    assert world.extender.filter(world.pod("u2", nodes=("one",), options=small)).node_names == ("one",)
    assert world.extender.filter(world.pod("u3", nodes=("one",), options=small)).node_names == ()
