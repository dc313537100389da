"""When the scheduler is asked to look again at a pod that it could not place."""

from typing import Any

import msgspec
import pytest

from stoker.model.function import Variant
from stoker.wire.cluster import PodReplica
from stoker_operator.kinds import Pod
from stoker_operator.pod_view import ReplicaPod
from stoker_operator.pokes import ANYWAY_ROUNDS, LATE_ROUNDS, PODS_PER_ROUND, Pokes
from stoker_runtime.kube.errors import NotFound
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit


class Api:
    def __init__(self) -> None:
        self.poked: list[str] = []
        self.gone: set[str] = set()

    async def patch(self, _: object, name: str, body: dict[str, Any], namespace: str = "") -> Any:
        if name in self.gone:
            raise NotFound("patch", 404, "NotFound", "it is gone")
        self.poked.append(name)


def view(name: str = "p", *, reason: str = "Unschedulable", node: str = "", status: str = "False") -> ReplicaPod:
    condition = {"type": "PodScheduled", "status": status, "reason": reason, "message": "x"}
    raw = {
        "metadata": {"name": name, "namespace": "team", "uid": name},
        "spec": {"nodeName": node},
        "status": {"conditions": [condition]},
    }
    replica = PodReplica(
        id="team/f-0123456789-0", function="team/f", function_uid="u", variant=Variant.GPU, revision="r", ordinal=0
    )
    return ReplicaPod(pod=msgspec.convert(raw, Pod), replica=replica)


async def rounds(pokes: Pokes, views: list[ReplicaPod], *changes: int) -> None:
    for count in changes:
        await pokes.round(views, count)


async def test_nothing_is_poked_while_nothing_changes() -> None:
    api = Api()
    await rounds(Pokes(api, PrometheusSink()), [view()], *([7] * (ANYWAY_ROUNDS - 1)))
    assert api.poked == []


async def test_a_change_pokes_at_once_and_once_more_when_the_extender_must_have_heard_of_it() -> None:
    api = Api()
    pokes = Pokes(api, PrometheusSink())
    await rounds(pokes, [view()], 0, 0, 0)
    await pokes.round([view()], 1)
    assert api.poked == ["p"]
    await rounds(pokes, [view()], *([1] * LATE_ROUNDS))
    assert api.poked == ["p", "p"]
    await rounds(pokes, [view()], *([1] * LATE_ROUNDS))
    assert api.poked == ["p", "p"]


async def test_a_pod_that_was_refused_just_before_the_change_is_poked_too() -> None:
    api = Api()
    pokes = Pokes(api, PrometheusSink())
    await rounds(pokes, [], 0, 0, 1)
    await pokes.round([view()], 1)
    assert api.poked == ["p"]


async def test_now_and_then_a_pod_that_waits_is_poked_anyway() -> None:
    api = Api()
    await rounds(Pokes(api, PrometheusSink()), [view()], *([0] * ANYWAY_ROUNDS))
    assert api.poked == ["p"]


async def test_only_what_the_scheduler_has_refused_is_poked_and_not_too_much_at_a_time() -> None:
    api = Api()
    pokes = Pokes(api, PrometheusSink())
    others = [view("a", reason="SchedulingGated"), view("b", node="n"), view("c", status="True")]
    many = [view(f"p{index}") for index in range(PODS_PER_ROUND + 5)]
    api.gone = {"p0"}
    await rounds(pokes, [*others, *many], 0, 1)
    assert len(api.poked) == PODS_PER_ROUND - 1
    await pokes.round([*others, *many], 1)
    assert sorted(api.poked) == sorted(f"p{index}" for index in range(1, PODS_PER_ROUND + 5))
