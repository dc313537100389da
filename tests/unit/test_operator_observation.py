"""What plan() is shown of pods: who counts as a replica, whose name is taken, and what is only being made."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from stoker.control.planning import PlanMemory
from stoker.model.function import GpuOption, Variant
from stoker.model.policy import NamespaceRule, default_policy
from stoker.model.replica import ReplicaState
from stoker.testing.builders import make_function, make_gpu
from stoker.wire.cluster import PodReplica, ReplicaReport
from stoker_operator.agent_board import Heard
from stoker_operator.kinds import Pod
from stoker_operator.observation import Look, observe
from stoker_operator.pod_view import ReplicaPod

pytestmark = pytest.mark.unit

FUNCTION = make_function()
DEVICE = replace(make_gpu("n/GPU-0"), node="n")
THEN = "2026-01-01T00:00:00Z"


def view(ordinal: int = 0, node: str = "n", *, ending: bool = False, phase: str = "Running") -> ReplicaPod:
    identity = f"{FUNCTION.key}-0123456789-{ordinal}"
    replica = PodReplica(
        id=identity,
        function=FUNCTION.key,
        function_uid=FUNCTION.uid,
        variant=Variant.GPU,
        revision="0123456789",
        ordinal=ordinal,
        options=(GpuOption(memory_mib=4096),),
    )
    metadata = {"name": identity.partition("/")[2], "uid": f"u{ordinal}"} | (
        {"deletionTimestamp": THEN} if ending else {}
    )
    raw = {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase}}
    report = ReplicaReport(id=identity, pod_uid=f"u{ordinal}", state=ReplicaState.WARM, devices=("GPU-0",))
    return ReplicaPod(pod=msgspec.convert(raw, Pod), replica=replica, heard=Heard(report, node, 1))


def look(*views: ReplicaPod, **changes: Any) -> Look:
    facts: dict[str, Any] = {
        "functions": {FUNCTION.key: FUNCTION},
        "policy": default_policy(),
        "views": views,
        "making": (),
        "planned": {},
        "devices": (DEVICE,),
        "demand": {},
        "queued": {},
        "start_us": {},
        "failures": (),
        "leaving": frozenset(),
        "killed": frozenset(),
        "memory": PlanMemory(),
        "nodes": {},
        "now_us": 1_000_000,
        "wall_us": 1_000_000,
    }
    return Look(**(facts | changes))


def test_a_pod_that_ends_is_a_replica_until_it_has_ended() -> None:
    seen = observe(look(view(ending=True)), lambda _: None)
    assert [status.state for status in seen.replicas] == [ReplicaState.DRAINING]
    assert [held.device_id for held in seen.reservations] == ["n/GPU-0"]


def test_what_the_policy_weighs_and_what_agents_measured_is_shown() -> None:
    rules = {FUNCTION.namespace: NamespaceRule(weight=3, max_gpus=2), "elsewhere": NamespaceRule(weight=9)}
    took = {FUNCTION.key: {Variant.GPU: 7_000}}
    seen = observe(look(view(), policy=replace(default_policy(), namespaces=rules), exec_us=took), lambda _: None)
    assert seen.namespace_weights == {FUNCTION.namespace: 3}
    assert seen.max_gpus == {FUNCTION.namespace: 2}
    assert seen.exec_us == took


def test_of_a_pod_that_has_ended_only_the_name_is_left() -> None:
    seen = observe(look(view(phase="Failed")), lambda _: None)
    assert (seen.replicas, seen.reservations) == ((), ())
    assert seen.leaving == {f"{FUNCTION.key}-0123456789-0"}


def test_a_pod_that_nobody_can_end_because_its_node_is_lost_counts_no_more() -> None:
    stuck, other = view(0, ending=True), view(1, "m", ending=True)
    seen = observe(look(stuck, other, lost=frozenset({"n"})), lambda _: None)
    assert [status.spec.ordinal for status in seen.replicas] == [1]
    assert [held.replica_id for held in seen.reservations] == [other.replica.id]
    assert stuck.replica.id in seen.leaving


def test_a_pod_on_a_lost_node_that_nobody_has_deleted_yet_still_counts() -> None:
    seen = observe(look(view(), lost=frozenset({"n"})), lambda _: None)
    assert len(seen.replicas) == 1
