"""Since when a replica's pod starts, on the operator's clock."""

from typing import Any

import msgspec
import pytest

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import PodReplica, ReplicaFrame, ReplicaReport
from stoker_operator.agent_board import AgentBoard
from stoker_operator.kinds import Pod
from stoker_operator.pod_view import ReplicaPod, started_us

pytestmark = pytest.mark.unit

S = 1_000_000
MADE = "2026-01-01T00:00:00Z"
MADE_WALL_US = 1_767_225_600 * S
REPLICA = PodReplica(
    id="team/fn-0123456789-0",
    function="team/fn",
    function_uid="f",
    variant=Variant.GPU,
    revision="0123456789",
    ordinal=0,
)


def view(spec: dict[str, Any] | None = None, **status: Any) -> ReplicaPod:
    meta = {"name": "fn-0123456789-0", "namespace": "team", "uid": "u", "creationTimestamp": MADE}
    pod = msgspec.convert({"metadata": meta, "spec": spec or {}, "status": status}, Pod)
    return ReplicaPod(pod=pod, replica=REPLICA)


def test_a_pod_without_a_node_has_waited_since_it_was_made() -> None:
    assert started_us(view(), now_us=100 * S, wall_us=MADE_WALL_US + 40 * S) == 60 * S


def test_one_with_a_node_since_it_got_it() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}
    seen = view({"nodeName": "n"}, conditions=[scheduled])
    assert started_us(seen, now_us=100 * S, wall_us=MADE_WALL_US + 40 * S) == 90 * S


def test_no_clock_of_another_machine_makes_it_start_in_the_future() -> None:
    assert started_us(view(), now_us=100 * S, wall_us=MADE_WALL_US - 40 * S) == 100 * S


def test_it_is_the_same_start_in_every_report_however_long_each_was_under_way() -> None:
    board = AgentBoard()
    seen = []
    for now_us, age_ms in ((10 * S, 4_000), (11 * S, 4_996), (12 * S, 6_040)):
        report = ReplicaReport(id=REPLICA.id, pod_uid="u", state=ReplicaState.WARM, started_ms=age_ms)
        board.heard("n", ReplicaFrame(seq=1, node="n", replicas=(report,)), now_us)
        heard = board.report("u")
        assert heard is not None
        seen.append(started_us(msgspec.structs.replace(view(), heard=heard), now_us, now_us))
    assert seen == [6 * S] * 3


def test_an_agent_that_has_begun_anew_counts_anew() -> None:
    board = AgentBoard()
    for now_us, age_ms in ((10 * S, 9_000), (20 * S, 500)):
        report = ReplicaReport(id=REPLICA.id, pod_uid="u", state=ReplicaState.WARM, started_ms=age_ms)
        board.heard("n", ReplicaFrame(seq=1, node="n", replicas=(report,)), now_us)
    heard = board.report("u")
    assert heard is not None
    assert started_us(msgspec.structs.replace(view(), heard=heard), 20 * S, 0) == 19_500_000
