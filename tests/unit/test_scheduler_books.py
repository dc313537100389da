"""What the extender knows: load streams, bound pods, and the views of nodes that come of them."""

from typing import Any

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind
from stoker.model.function import GpuOption, Variant
from stoker.placement.view import Wanted
from stoker.wire.agent import LoadFrame, VariantLoad
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker.wire.function_node import (
    AgentStatus,
    FunctionNodeStatus,
    ImageStatus,
    NodeCondition,
    device_status,
    encode_status,
)
from stoker_scheduler.bound_pods import Bound, BoundPods
from stoker_scheduler.kinds import Pod
from stoker_scheduler.ledger import START_PRIOR_US, ClusterLedger
from stoker_scheduler.load_board import LoadBoard, OutOfStep

pytestmark = pytest.mark.unit

GPU = Variant.GPU


def frame(
    seq: int, *, full: bool = False, accepting: bool = True, removed: tuple[str, ...] = (), **load: Any
) -> LoadFrame:
    functions = {"team/f": {GPU: VariantLoad(**load)}} if load else {}
    return LoadFrame(seq=seq, full=full, accepting=accepting, functions=functions, removed=removed)


def test_frames_that_follow_one_another_change_what_they_name() -> None:
    board = LoadBoard()
    board.heard("n", frame(1, full=True, warm=1, start_ms=300.0, start_samples=2))
    assert board.warm("n") == {"team/f"}
    board.heard("n", frame(2))
    assert board.warm("n") == {"team/f"}
    board.heard("n", frame(3, warm=0, queued=2))
    assert board.warm("n") == frozenset()
    board.heard("n", frame(4, removed=("team/f",)))
    assert board.load("n", "team/f", GPU) is None
    assert board.measured_start_ms("team/f", GPU) is None


def test_a_frame_that_does_not_follow_makes_the_agent_unknown_until_it_begins_anew() -> None:
    board = LoadBoard()
    board.heard("n", frame(1, full=True, warm=1))
    with pytest.raises(OutOfStep):
        board.heard("n", frame(3))
    assert not board.speaks("n")
    with pytest.raises(OutOfStep):
        board.heard("n", frame(4))
    board.heard("n", frame(9, full=True))
    assert board.speaks("n")


def test_an_agent_that_drains_is_as_good_as_away() -> None:
    board = LoadBoard()
    board.heard("n", frame(1, full=True))
    board.heard("n", frame(2, accepting=False))
    assert not board.speaks("n")
    board.heard("n", frame(3))
    assert board.speaks("n")


def test_of_two_agents_on_a_node_the_one_that_is_silent_silences_nobody() -> None:
    board = LoadBoard()
    board.heard("n", frame(1, full=True), "old")
    board.lost("n", "new")
    assert board.speaks("n")
    board.heard("n", frame(1, full=True), "new")
    with pytest.raises(OutOfStep):
        board.heard("n", frame(2), "old")
    board.lost("n", "old")
    assert board.speaks("n")
    board.lost("n", "new")
    assert not board.speaks("n")


def test_start_up_is_believed_of_who_has_measured_it_most() -> None:
    board = LoadBoard()
    board.heard("a", frame(1, full=True, start_ms=900.0, start_samples=1))
    board.heard("b", frame(1, full=True, start_ms=300.0, start_samples=7))
    assert board.measured_start_ms("team/f", GPU) == (300.0, 7)
    board.lost("b")
    assert board.measured_start_ms("team/f", GPU) == (900.0, 1)
    board.heard("a", frame(2, start_ms=5_000.0))
    assert board.measured_start_ms("team/f", GPU) is None


def replica(**fields: Any) -> PodReplica:
    given = {"options": (GpuOption(memory_mib=1_000),)} | fields
    return PodReplica(
        id="team/f-0123456789-0",
        function="team/f",
        function_uid="fu",
        variant=GPU if given["options"] else Variant.CPU,
        revision="0123456789",
        ordinal=0,
        **given,
    )


def pod(
    uid: str = "p", node: str = "n", phase: str = "Pending", owner: str = "fu", annotation: str | None = None
) -> Pod:
    text = msgspec.json.encode(replica()).decode() if annotation is None else annotation
    metadata = {
        "name": uid,
        "namespace": "team",
        "uid": uid,
        "annotations": {A_REPLICA: text},
        "ownerReferences": [{"kind": "GpuFunction", "name": "f", "uid": owner, "controller": True}],
    }
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase}}, Pod)


class Told:
    def __init__(self) -> None:
        self.changes: list[tuple[str | None, str | None]] = []
        self.settled: list[str] = []
        self.pods = BoundPods(self.changed, self.settled.append)

    def changed(self, before: Bound | None, after: Bound | None) -> None:
        self.changes.append((before.node if before else None, after.node if after else None))


def test_a_pod_counts_from_its_binding_to_its_end() -> None:
    told = Told()
    told.pods.see(None, pod(node=""))
    assert (told.changes, told.settled) == ([], [])
    told.pods.see(pod(node=""), pod())
    told.pods.see(pod(), pod(phase="Running"))
    told.pods.see(pod(), pod(phase="Failed"))
    told.pods.see(pod(phase="Failed"), None)
    assert told.changes == [(None, "n"), ("n", None)]
    assert set(told.settled) == {"p"}


def test_a_pod_that_is_deleted_before_it_is_bound_holds_nothing_back() -> None:
    told = Told()
    told.pods.see(None, pod(node=""))
    told.pods.see(pod(node=""), None)
    assert (told.changes, told.settled) == ([], ["p"])


@pytest.mark.parametrize("false", [pod(owner="x"), pod(annotation="{"), pod(annotation="[]")])
def test_a_pod_that_only_looks_like_ours_is_none(false: Pod) -> None:
    told = Told()
    told.pods.see(None, false)
    told.pods.see(false, None)
    assert told.changes == []


def gpu(index: int = 0) -> Device:
    return Device(id=f"GPU-{index}", kind=DeviceKind.GPU, product="A100", memory_mib=40_000)


def ledger(*devices: Device, images: tuple[str, ...] = ()) -> ClusterLedger:
    board = LoadBoard()
    board.heard("n", frame(1, full=True, warm=1))
    made = ClusterLedger(board)
    status = FunctionNodeStatus(
        agent=AgentStatus(pod="a", address="1.2.3.4"),
        devices=tuple(device_status(device) for device in devices),
        images=tuple(ImageStatus(reference=image) for image in images),
    )
    made.set_node("n", encode_status("n", status))
    return made


def test_a_view_is_made_anew_when_something_of_its_node_changes_and_only_then() -> None:
    made = ledger(gpu(), images=("f:1",))
    first = made.node("n")
    assert first is not None
    assert first.images == {"f:1"}
    assert first.warm == {"team/f"}
    assert made.node("n") is first
    made.set_pod(None, Bound("p", "n", replica()))
    second = made.node("n")
    assert second is not None
    assert [resident.pod_uid for resident in second.unplaced] == ["p"]
    made.set_pod(Bound("p", "n", replica()), None)
    third = made.node("n")
    assert third is not None
    assert third.unplaced == ()


def test_a_node_whose_agent_says_that_it_is_not_ready_is_away_though_its_stream_speaks() -> None:
    made = ledger(gpu())
    node = made.node("n")
    assert node is not None
    assert node.away == ""
    status = FunctionNodeStatus(
        agent=AgentStatus(pod="a", address="1.2.3.4"),
        conditions=(
            NodeCondition(
                type="Ready",
                status="False",
                reason="KubeletAway",
                message="the kubelet is away",
                last_transition_time="",
            ),
        ),
    )
    made.set_node("n", encode_status("n", status))
    node = made.node("n")
    assert node is not None
    assert node.away == "the kubelet is away"


def test_a_broken_or_missing_ledger_is_no_node() -> None:
    made = ledger(gpu())
    made.set_node("n", {"status": {"agent": 3}})
    assert made.node("n") is None
    made.set_node("n", {"status": None})
    assert made.node("n") is None
    assert made.node("nobody") is None


def test_namespaces_share_as_long_as_they_have_functions() -> None:
    made = ledger(gpu())
    made.set_objective("team/f", "250ms")
    assert made.objective_us("team/f") == 250_000
    made.set_objective("team/f", "no time")
    assert made.objective_us("team/f") == 0
    made.set_objective("team/f", None)
    made.set_objective("team/f", None)
    assert made.objective_us("team/f") == 0
    assert made.cross_tenant() == frozenset()


def test_what_nobody_has_measured_takes_the_assumed_time() -> None:
    made = ledger(gpu())
    wanted = Wanted(pod_uid="p", function="team/new", variant=GPU, image="x")
    assert made.pace(wanted, "n").start_us == START_PRIOR_US
    assert made.pace(wanted, "nobody").start_us == START_PRIOR_US
