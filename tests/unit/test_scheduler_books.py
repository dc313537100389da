"""What the extender knows: load streams, bound pods, and the views of nodes that come of them."""

from typing import Any

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.model.policy import NamespaceRule, default_policy
from stoker.model.replica import ReplicaState
from stoker.placement.filtering import Fit, filter_node
from stoker.placement.view import Wanted
from stoker.wire.agent import LoadFrame, VariantLoad
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker.wire.function_node import (
    AgentStatus,
    FunctionNodeStatus,
    ImageStatus,
    NodeCondition,
    ResidentStatus,
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


def test_the_best_measured_start_up_is_looked_for_once_until_somebody_measures_anew() -> None:
    class Counted(dict[str, tuple[float, int]]):
        looks = 0

        def values(self) -> Any:
            Counted.looks += 1
            return super().values()

    board = LoadBoard()
    for number in range(100):
        board.heard(f"n{number}", frame(1, full=True, start_ms=300.0, start_samples=1 + number))
    pair = ("team/f", GPU)
    board._measured[pair] = Counted(board._measured[pair])
    assert {board.measured_start_ms(*pair) for _ in range(100)} == {(300.0, 100)}
    assert Counted.looks == 1
    board.heard("n0", frame(2, start_ms=250.0, start_samples=200))
    assert {board.measured_start_ms(*pair) for _ in range(100)} == {(250.0, 200)}
    assert Counted.looks == 2
    board.heard("n0", frame(3, queued=1))
    assert board.measured_start_ms(*pair) == (300.0, 100)


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


def resident(uid: str, device: str, *, variant: Variant = GPU, memory_mib: int = 0) -> ResidentStatus:
    return ResidentStatus(
        namespace="team",
        pod=uid,
        pod_uid=uid,
        function="f",
        revision="0123456789",
        variant=variant,
        devices=(device,) if device else (),
        state=ReplicaState.WARM,
        memory_mib=memory_mib,
    )


def ledger(*devices: Device, images: tuple[str, ...] = (), residents: tuple[ResidentStatus, ...] = ()) -> ClusterLedger:
    board = LoadBoard()
    board.heard("n", frame(1, full=True, warm=1))
    made = ClusterLedger(board)
    status = FunctionNodeStatus(
        agent=AgentStatus(pod="a", address="1.2.3.4"),
        devices=tuple(device_status(device) for device in devices),
        residents=residents,
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


T4 = Device(
    id="GPU-0", kind=DeviceKind.GPU, product="T4-16GB", memory_mib=16_384, mode=DeviceMode.TIME_SLICED, shares=4
)
LARGE_OR_SMALL = (
    GpuOption(memory_mib=24_576, products=("A100-40GB",), sharing=Sharing.SHARED),
    GpuOption(memory_mib=10_240, products=("T4-16GB",), sharing=Sharing.SHARED),
)


@pytest.mark.parametrize("said", [resident("a", "GPU-0", memory_mib=10_240), resident("a", "GPU-0"), resident("a", "")])
def test_a_replica_of_several_kinds_takes_what_its_device_gives_it_and_not_what_another_would(
    said: ResidentStatus,
) -> None:
    made = ledger(T4, residents=(said,))
    made.set_pod(None, Bound("a", "n", replica(options=LARGE_OR_SMALL)))
    small = Wanted(
        pod_uid="b",
        function="team/b",
        variant=GPU,
        image="b",
        options=(GpuOption(memory_mib=4_096, sharing=Sharing.SHARED),),
    )
    view = made.node("n")
    assert view is not None
    assert isinstance(filter_node(small, view), Fit)
    assert not isinstance(filter_node(msgspec.structs.replace(small, options=LARGE_OR_SMALL), view), Fit)


def test_what_an_agent_has_reserved_is_believed() -> None:
    made = ledger(gpu(), residents=(resident("p", "GPU-0", memory_mib=777),))
    made.set_pod(None, Bound("p", "n", replica()))
    view = made.node("n")
    assert view is not None
    assert [each.memory_mib for each in view.devices[0].residents] == [777]


def test_a_replica_on_cores_counts_once_whether_its_agent_has_told_of_it_or_not() -> None:
    cpu = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000)
    made = ledger(cpu, residents=(resident("told", "cpu", variant=Variant.CPU),))
    for uid in ("told", "untold"):
        made.set_pod(None, Bound(uid, "n", replica(options=(), millicores=1_000)))
    view = made.node("n")
    assert view is not None
    assert [(each.pod_uid, each.millicores) for each in view.devices[0].residents] == [
        ("told", 1_000),
        ("untold", 1_000),
    ]
    assert view.unplaced == ()


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


def test_an_objective_that_cannot_be_read_leaves_the_known_one() -> None:
    made = ledger(gpu())
    made.set_objective("team/f", "250ms")
    made.set_objective("team/f", "no time")
    made.set_objective("team/new", "no time")
    assert (made.objective_us("team/f"), made.objective_us("team/new")) == (250_000, 0)


def test_namespaces_share_as_long_as_they_have_functions() -> None:
    made = ledger(gpu())
    made.set_policy(msgspec.structs.replace(default_policy(), others=NamespaceRule(cross_tenant=True)))
    made.set_objective("team/f", "250ms")
    made.set_objective("team/g", "no time")
    made.set_objective("team/f", None)
    assert made.cross_tenant() == {"team"}
    made.set_objective("team/g", None)
    made.set_objective("team/g", None)
    assert made.objective_us("team/f") == 0
    assert made.cross_tenant() == frozenset()


def test_what_nobody_has_measured_takes_the_assumed_time() -> None:
    made = ledger(gpu())
    wanted = Wanted(pod_uid="p", function="team/new", variant=GPU, image="x")
    assert made.pace(wanted, "n").start_us == START_PRIOR_US
    assert made.pace(wanted, "nobody").start_us == START_PRIOR_US
