"""What the operator keeps in mind of functions, policy, nodes and pods: late news, false claims, what is forgotten."""

from typing import Any

import msgspec
import pytest

from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import A_REPLICA, ReplicaFrame, ReplicaReport
from stoker_operator.agent_board import AgentBoard
from stoker_operator.function_store import FunctionStore
from stoker_operator.kinds import Dynamic, Kept, Node, Object, Pod
from stoker_operator.ledger import SILENT_US, UNKNOWN_US, Nodes
from stoker_operator.pod_book import PodBook
from stoker_operator.policy_book import PolicyBook
from stoker_runtime.kube.lease import Lease, LeaseSpec
from stoker_runtime.kube.objects import ObjectMeta

pytestmark = pytest.mark.unit

S = 1_000_000
SPEC = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}


def item(version: int, uid: str = "u1", name: str = "f", generation: int = 1, **meta: Any) -> Dynamic:
    metadata = {
        "name": name,
        "namespace": "team",
        "uid": uid,
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return msgspec.convert({"metadata": metadata | meta, "spec": SPEC}, Dynamic)


def as_object(read: Dynamic) -> Object:
    return Object(metadata=read.metadata)


class Stored:
    def __init__(self) -> None:
        self.changed: list[str] = []
        self.store = FunctionStore(self.changed.append)


def test_late_news_of_an_older_object_does_not_replace_the_one_made_anew() -> None:
    stored = Stored()
    stored.store.put(item(5, "new"))
    stored.store.put(item(4, "old"))
    stored.store.remove_one(Kept.of(item(4, "old")))
    stored.store.put(item(4, "old", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert stored.store.functions["team/f"].uid == "new"


def test_a_list_that_was_under_way_brings_nothing_back() -> None:
    stored = Stored()
    stored.store.put(item(3))
    stored.store.remove_one(Kept.of(item(4)))
    assert stored.store.compare([as_object(item(3))], "3") == []
    stored.store.put(item(3))
    assert stored.store.objects == {}


def test_what_a_list_does_not_have_is_gone_unless_it_was_made_later() -> None:
    stored = Stored()
    stored.store.put(item(3, "a", "a"))
    stored.store.put(item(9, "b", "b"))
    assert stored.store.compare([as_object(item(4, "c", "c"))], "5") == [as_object(item(4, "c", "c"))]
    assert list(stored.store.functions) == ["team/b"]
    assert stored.changed == ["team/a", "team/b", "team/a"]


def test_the_same_state_again_changes_nothing() -> None:
    stored = Stored()
    stored.store.put(item(3))
    stored.store.put(item(4))
    assert stored.changed == ["team/f"]


def policy(version: int, **spec: Any) -> Dynamic:
    return msgspec.convert({"metadata": {"name": "default", "resourceVersion": str(version)}, "spec": spec}, Dynamic)


def test_a_broken_policy_leaves_the_good_one_and_is_told() -> None:
    changes: list[int] = []
    book = PolicyBook(lambda: changes.append(1))
    book.see(policy(1, prefetch={"nodesPerFunction": 3}))
    book.see(policy(2, prefetch={"nodesPerFunction": "many"}))
    assert book.current.prefetch_nodes == 3
    assert "default" in book.problem
    book.see(policy(3, prefetch={"nodesPerFunction": 4}))
    assert (book.current.prefetch_nodes, book.problem, len(changes)) == (4, "", 2)


def test_an_older_state_of_the_policy_does_not_come_back() -> None:
    book = PolicyBook(lambda: None)
    book.see(policy(5, prefetch={"nodesPerFunction": 3}))
    book.see(policy(4, prefetch={"nodesPerFunction": 2}))
    assert book.current.prefetch_nodes == 3
    book.see(policy(6), gone=True)
    assert (book.missing, book.current.prefetch_nodes) == (True, 1)


def frame(*replicas: ReplicaReport) -> ReplicaFrame:
    return ReplicaFrame(seq=1, node="n", replicas=replicas)


def test_the_silence_of_another_agent_on_the_node_is_not_that_of_the_one_that_speaks() -> None:
    board = AgentBoard()
    board.heard("n", frame(), 1, "old")
    board.lost("n", 2, "new")
    assert board.is_speaking("n")
    board.heard("n", frame(), 3, "new")
    board.lost("n", 4, "old")
    assert board.is_speaking("n")
    board.lost("n", 5, "new")
    assert not board.is_speaking("n")
    assert board.returns == 1


def node(name: str, *, ready: bool = True) -> Node:
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
    return msgspec.convert({"metadata": {"name": name}, "status": status}, Node)


def test_a_node_that_no_watch_has_shown_yet_is_not_lost() -> None:
    nodes = Nodes(AgentBoard(), 60 * S)
    assert not nodes.is_lost("new", 10 * S)
    assert nodes.is_lost("new", 10 * S + UNKNOWN_US)
    nodes.set_node("new", node("new"), 20 * S)
    assert not nodes.is_lost("new", 30 * S)


def test_a_node_is_lost_when_kubelet_and_agent_are_silent_for_long() -> None:
    board = AgentBoard()
    nodes = Nodes(board, 60 * S)
    board.heard("n", frame(), 1 * S)
    nodes.set_node("n", node("n", ready=False), 10 * S)
    assert not nodes.is_lost("n", 100 * S)
    board.lost("n", 20 * S)
    assert not nodes.is_lost("n", 69 * S)
    assert nodes.is_lost("n", 70 * S)


def test_the_devices_of_a_node_that_is_silent_take_nothing_new_and_are_not_called_ill() -> None:
    board = AgentBoard()
    nodes = Nodes(board)
    nodes.set_node("n", node("n"), 0)
    sick = {"id": "GPU-1", "kind": "gpu", "product": "T4", "memoryMib": 1, "healthy": False, "reason": "XidError"}
    nodes.set_status("n", {"status": {"agent": {"pod": "p", "address": "a"}, "devices": [sick]}})
    board.heard("n", frame(), 1 * S)
    (told,) = nodes.devices(2 * S)
    assert (told.healthy, told.fault) == (False, FaultCode.XID)
    board.lost("n", 2 * S)
    (told,) = nodes.devices(2 * S + SILENT_US)
    assert (told.healthy, told.fault) == (False, None)
    assert "silent" in told.reason


def renewed(at: str) -> Lease:
    return Lease(metadata=ObjectMeta(name="stoker-node-n"), spec=LeaseSpec(lease_duration_seconds=40, renew_time=at))


def silent_node() -> Nodes:
    """A node whose agent has been silent since second 2."""
    board = AgentBoard()
    nodes = Nodes(board)
    nodes.set_node("n", node("n"), 0)
    device = {"id": "GPU-1", "kind": "gpu", "product": "T4", "memoryMib": 1, "healthy": True}
    nodes.set_status("n", {"status": {"agent": {"pod": "p", "address": "a"}, "devices": [device]}})
    board.heard("n", frame(), 1 * S)
    board.lost("n", 2 * S)
    return nodes


def test_an_agent_without_a_stream_lives_as_long_as_its_lease_is_renewed() -> None:
    nodes = silent_node()

    def usable(now_s: int) -> bool:
        return all(device.healthy for device in nodes.devices(now_s * S))

    assert not usable(12)
    nodes.set_lease("n", renewed("12:00"), 12 * S)
    assert not usable(12)  # for how long it has been there is not known
    nodes.set_lease("n", renewed("12:10"), 20 * S)
    assert usable(59)
    nodes.set_lease("n", renewed("12:10"), 50 * S)  # the same again, after another list
    assert not usable(60)
    nodes.set_lease("n", renewed("12:20"), 61 * S)
    assert usable(61)
    nodes.set_lease("n", None, 62 * S)
    assert not usable(62)


def test_an_agent_that_never_spoke_to_this_operator_gets_nothing_whatever_its_lease_says() -> None:
    nodes = silent_node()
    nodes._agents.gone("n")
    nodes.set_lease("n", renewed("12:00"), 12 * S)
    nodes.set_lease("n", renewed("12:10"), 20 * S)
    assert not nodes.devices(21 * S)[0].healthy


def test_a_node_whose_kubelet_is_silent_is_not_lost_while_its_agent_s_lease_is_renewed() -> None:
    nodes = silent_node()
    nodes.set_node("n", node("n", ready=False), 10 * S)
    nodes.set_lease("n", renewed("12:00"), 12 * S)
    nodes.set_lease("n", renewed("12:10"), 60 * S)
    assert not nodes.is_lost("n", 99 * S)
    assert nodes.is_lost("n", 100 * S)


def pod(uid: str = "p1", *, name: str = "f-0123456789-0", node: str = "n", owner: str = "u1", replica: str = "") -> Pod:
    said = {
        "id": replica or f"team/{name}",
        "function": "team/f",
        "functionUid": "u1",
        "variant": "gpu",
        "revision": "0123456789",
        "ordinal": 0,
    }
    metadata = {
        "name": name,
        "namespace": "team",
        "uid": uid,
        "annotations": {A_REPLICA: msgspec.json.encode(said).decode()},
        "ownerReferences": [{"kind": "GpuFunction", "name": "f", "uid": owner, "controller": True}],
    }
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}}, Pod)


def report(uid: str = "p1", **facts: Any) -> ReplicaReport:
    return ReplicaReport(id="team/f-0123456789-0", pod_uid=uid, **({"state": ReplicaState.WARM} | facts))


@pytest.mark.parametrize(
    "false",
    [
        pod(owner="somebody"),
        pod(name="other"),
        pod(replica="team/g-0123456789-0"),
        pod(replica="nonsense"),
    ],
    ids=["not owned", "another name", "another function", "no id"],
)
def test_a_pod_that_only_claims_to_be_a_replica_is_none(false: Pod) -> None:
    book = PodBook(AgentBoard(), lambda _: None)
    book.see(None, pod())
    book.see(None, false)
    assert [view.uid for view in book.views().values()] == ["p1"]


def test_an_agent_speaks_for_the_pods_of_its_own_node_only() -> None:
    board = AgentBoard()
    book = PodBook(board, lambda _: None)
    book.see(None, pod())
    board.heard("elsewhere", frame(report()), 1)
    assert book.views()["team/f-0123456789-0"].state is ReplicaState.STARTING
    board.heard("n", frame(report()), 2)
    book.touch()
    assert book.views()["team/f-0123456789-0"].state is ReplicaState.WARM


def test_that_a_replica_was_warm_is_known_after_its_agent_has_forgotten_it() -> None:
    board = AgentBoard()
    book = PodBook(board, lambda _: None)
    book.see(None, pod())
    board.heard("n", frame(report(ready_ms=1_000)), 5 * S)
    book.views()
    board.heard("n", frame(), 9 * S)
    book.touch()
    assert book.views()["team/f-0123456789-0"].warm_since_us == 4 * S
    book.see(pod(), None)
    book.see(None, pod("p2"))
    assert book.views()["team/f-0123456789-0"].warm_since_us is None
