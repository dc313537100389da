"""From a pod, its node and its agent's word to the reason why it is not warm, or why it has ended."""

from typing import Any

import msgspec
import pytest

from stoker.model.function import GpuOption, Variant
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason
from stoker.wire.cluster import PodReplica, ReplicaFrame, ReplicaReport
from stoker.wire.function_node import AgentStatus, DeviceStatus, FunctionNodeStatus, ImageStatus, encode_status
from stoker_operator.agent_board import AgentBoard, Heard
from stoker_operator.kinds import Node, Pod
from stoker_operator.ledger import Nodes
from stoker_operator.pod_facts import failure_of, waiting_of
from stoker_operator.pod_view import ReplicaPod

pytestmark = pytest.mark.unit

REPLICA = PodReplica(
    id="team/f-0123456789-0",
    function="team/f",
    function_uid="u",
    variant=Variant.GPU,
    revision="0123456789",
    ordinal=0,
    options=(GpuOption(memory_mib=1),),
)


def nodes(*, ready: bool = True, speaks: bool = True, image: str = "f:1", healthy: bool = True) -> Nodes:
    board = AgentBoard()
    if speaks:
        board.heard("n", ReplicaFrame(seq=1, node="n"), 1)
    made = Nodes(board)
    condition = {"type": "Ready", "status": "True" if ready else "Unknown"}
    made.set_node("n", msgspec.convert({"metadata": {"name": "n"}, "status": {"conditions": [condition]}}, Node), 1)
    device = DeviceStatus(id="GPU-0", kind="gpu", product="A100", memory_mib=1, healthy=healthy)  # type: ignore[arg-type]
    status = FunctionNodeStatus(
        agent=AgentStatus(pod="a", address="x"), devices=(device,), images=(ImageStatus(reference=image),)
    )
    made.set_status("n", encode_status("n", status))
    return made


def view(node: str = "n", *, heard: dict[str, Any] | None = None, warm: int | None = None, **status: Any) -> ReplicaPod:
    raw = {
        "metadata": {"name": "f-0123456789-0", "namespace": "team", "uid": "p"},
        "spec": {"nodeName": node, "containers": [{"name": "function", "image": "f:1"}]},
        "status": {"phase": "Pending"} | status,
    }
    report = None
    if heard is not None:
        given = {"state": ReplicaState.STARTING} | heard
        report = Heard(ReplicaReport(id=REPLICA.id, pod_uid="p", **given), "n", 1)
    return ReplicaPod(pod=msgspec.convert(raw, Pod), replica=REPLICA, heard=report, warm_since_us=warm)


def unscheduled(message: str, reason: str = "Unschedulable") -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]


def container(name: str = "function", **state: Any) -> list[dict[str, Any]]:
    return [{"name": name, "image": "f:1", "restartCount": 0, "state": state}]


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("pod", "world", "reason"),
    [
        (view(""), nodes(), Reason.WAITING_FOR_NODE),
        (view("", conditions=unscheduled("0/1: Insufficient nvidia.com/gpu")), nodes(), Reason.WAITING_FOR_GPU),
        (view("", conditions=unscheduled("0/1: Quarantined: hot")), nodes(), Reason.QUARANTINED),
        (view("", conditions=unscheduled("gates", "SchedulingGated")), nodes(), Reason.WAITING_FOR_NODE),
        (view("", nominatedNodeName="n"), nodes(), Reason.WAITING_FOR_NODE),
        (view(), nodes(ready=False), Reason.NODE_LOST),
        (view("new"), nodes(), Reason.AGENT_UNAVAILABLE),
        (view(), nodes(image="other:1"), Reason.PULLING_IMAGE),
        (view(), nodes(), Reason.INITIALISING),
        (view(), nodes(speaks=False), Reason.AGENT_UNAVAILABLE),
        (view(containerStatuses=container(waiting={"reason": "ImagePullBackOff"})), nodes(), Reason.IMAGE_PULL_FAILED),
        (view(initContainerStatuses=container("wait-for-device", **RUNNING)), nodes(), Reason.WAITING_FOR_DEVICE),
        (view(containerStatuses=container(**RUNNING)), nodes(), Reason.INITIALISING),
        (view(containerStatuses=container(**RUNNING), heard={}), nodes(), Reason.INITIALISING),
        (view(heard={"unfit": "too small", "devices": ("GPU-0",)}), nodes(), Reason.UNFIT_DEVICE),
        (view(heard={"unfit": "hot", "devices": ("GPU-0",)}), nodes(healthy=False), Reason.QUARANTINED),
    ],
)
def test_every_pod_that_is_not_warm_has_a_reason(pod: ReplicaPod, world: Nodes, reason: Reason) -> None:
    found = waiting_of(pod, world)
    assert found is not None
    assert found[0] is reason
    assert found[1]


@pytest.mark.parametrize(
    ("pod", "reason", "warm_us"),
    [
        (view(phase="Failed", reason="Evicted", message="no disk"), Reason.EVICTED, None),
        (view(phase="Failed", reason="UnexpectedAdmissionError", message="x"), Reason.ADMISSION_ERROR, None),
        (view(phase="Failed", reason="NodeLost"), Reason.NODE_LOST, None),
        (view(phase="Failed", containerStatuses=container(terminated={"exitCode": 1})), Reason.START_FAILED, None),
        (view(phase="Succeeded", containerStatuses=container(terminated={"exitCode": 0})), Reason.START_FAILED, None),
        (view(phase="Failed", warm=3, containerStatuses=container(terminated={})), Reason.REPLICA_FAILED, 7),
    ],
)
def test_an_end_is_told_apart_by_whose_it_was(pod: ReplicaPod, reason: Reason, warm_us: int | None) -> None:
    failure = failure_of(pod, nodes(), 10)
    assert (failure.reason, failure.warm_us) == (reason, warm_us)
    assert failure.detail


def test_the_last_words_of_a_container_are_kept() -> None:
    ended = container(terminated={"exitCode": 3, "message": "Traceback: no model\n"})
    assert failure_of(view(phase="Failed", containerStatuses=ended), nodes(), 1).detail == (
        "its container ended with exit code 3: Traceback: no model"
    )
