"""Pods made, drained and deleted as plan() orders, on an API that refuses, loses answers and lags."""

import asyncio
from typing import Any

import msgspec
import pytest

from stoker.control.planning import Drain, Kill, Start
from stoker.model.function import Function, GpuOption, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState
from stoker.reasons import Reason
from stoker.testing.builders import make_function
from stoker.wire.cluster import PodReplica, ReplicaReport
from stoker_operator import pod_births, pod_lives
from stoker_operator.agent_board import Heard
from stoker_operator.agent_calls import Drained
from stoker_operator.kinds import Pod
from stoker_operator.leader_client import NotLeading
from stoker_operator.not_made import NotMade
from stoker_operator.pod_lives import PodLives
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    KubeError,
    NotFound,
    ServerFailed,
    Unreachable,
)
from stoker_runtime.kube.objects import ObjectMeta, OwnerReference, Resource, Seen
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

FUNCTION = make_function()
ID = f"{FUNCTION.key}-0123456789-0"


class Api:
    """Pods by name; `fail` is raised once by the next call of that verb."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.fail: dict[str, KubeError] = {}
        self.calls: list[str] = []

    def _raise(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.fail:
            raise self.fail.pop(verb)

    async def create(self, _: object, body: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        self._raise("create")
        name = body["metadata"]["name"]
        if name in self.pods:
            raise AlreadyExists("create", 409, "AlreadyExists", "it is there")
        made = {**body, "metadata": {**body["metadata"], "namespace": namespace, "uid": "u1", "resourceVersion": "1"}}
        self.pods[name] = made
        return made

    async def get(self, resource: Resource[Any], name: str, namespace: str = "") -> Any:
        self._raise("get")
        if name not in self.pods:
            raise NotFound("get", 404, "NotFound", "it is gone")
        return msgspec.convert(self.pods[name], resource.type)

    async def delete(
        self, _: object, name: str, namespace: str = "", *, seen: Seen | None = None, grace_s: int | None = None
    ) -> None:
        self._raise("delete")
        self.calls[-1] = f"delete grace={grace_s} version={seen.resource_version if seen else None}"
        self.pods.pop(name, None)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pod_lives, "ASK_AGAIN_S", 0.0)
        monkeypatch.setattr(pod_lives, "NOT_YET_S", 0.0)
        monkeypatch.setattr(pod_births, "LOST_ANSWER_S", 0.0)
        self.api = Api()
        self.shown: dict[str, ReplicaPod] = {}
        self.drains = [Drained.YES]
        self.asked: list[str] = []
        self.now_us = 1
        self.refuse: NotMade | None = None
        self.spoiled = False
        self.lives = PodLives(
            kube=self.api,
            body_of=self.body_of,
            check=self.check,
            ask_to_drain=self.drain,
            pods=lambda: self.shown,
            clock_us=lambda: self.now_us,
            metrics=PrometheusSink(),
            changed=lambda: None,
        )

    async def body_of(self, start: Start) -> dict[str, Any]:
        if self.refuse is not None:
            raise self.refuse
        return {"metadata": {"name": start.spec.id.partition("/")[2]}, "spec": {}}

    def check(self, _: object, pod: dict[str, Any]) -> None:
        if self.spoiled and "uid" in pod["metadata"]:
            raise NotMade(Reason.POD_REFUSED, "a webhook made it privileged")

    async def drain(self, node: str, uid: str) -> Drained:
        self.asked.append(f"{node} {uid}")
        await asyncio.sleep(0)
        return self.drains.pop(0)

    def seen(self, **functions: Function) -> None:
        """A round of the fleet looks at what the caches show."""
        self.lives.seen(self.shown, functions or {FUNCTION.key: FUNCTION})

    def start(self) -> Start:
        spec = ReplicaSpec(
            id=ID, function=FUNCTION.key, variant=Variant.GPU, revision="0123456789", ordinal=0, devices=("n/GPU-0",)
        )
        return Start(spec=spec, reservations=(), function=FUNCTION)

    def show(self, *, node: str = "n", heard: bool = True, state: ReplicaState = ReplicaState.WARM) -> ReplicaPod:
        name = ID.partition("/")[2]
        meta = ObjectMeta(name=name, namespace=FUNCTION.namespace, uid="u1", resource_version="1")
        replica = PodReplica(
            id=ID,
            function=FUNCTION.key,
            function_uid=FUNCTION.uid,
            variant=Variant.GPU,
            revision="0123456789",
            ordinal=0,
            options=(GpuOption(memory_mib=1),),
        )
        pod = msgspec.convert({"metadata": msgspec.to_builtins(meta), "spec": {"nodeName": node}}, Pod)
        report = Heard(ReplicaReport(id=ID, pod_uid="u1", state=state), node, 1) if heard else None
        warm_us = 1 if heard and state is ReplicaState.WARM else None
        view = ReplicaPod(pod=pod, replica=replica, heard=report, warm_since_us=warm_us)
        self.shown = {ID: view}
        self.api.pods[name] = {"metadata": {"name": name, "uid": "u1", "resourceVersion": "7"}}
        return view

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_a_pod_that_was_made_counts_before_the_cache_shows_it(world: World) -> None:
    assert world.lives.act(world.start())
    await world.settle()
    assert [start.spec.id for start in world.lives.making()] == [ID]
    assert not world.lives.act(world.start())
    assert world.api.calls == ["create"]
    world.show()
    world.seen()
    assert world.lives.making() == ()


async def test_a_quota_is_told_as_such_and_counts_as_a_failure(world: World) -> None:
    world.api.fail["create"] = Forbidden("create", 403, "Forbidden", "exceeded quota: pods")
    world.lives.act(world.start())
    await world.settle()
    (failure,) = world.lives.failures
    assert failure.reason is Reason.QUOTA_EXCEEDED
    assert world.lives.making() == ()


async def test_an_answer_that_was_lost_is_no_failure_and_is_asked_again(world: World) -> None:
    world.api.fail["create"] = Unreachable("the answer was lost")
    world.lives.act(world.start())
    await world.settle()
    assert world.lives.failures == []
    assert world.lives.act(world.start())


async def test_a_pod_that_is_ours_already_is_waited_for(world: World) -> None:
    view = world.show()
    world.shown = {}
    name = view.pod.metadata.name
    owner = OwnerReference(kind="GpuFunction", uid=FUNCTION.uid, controller=True)
    world.api.pods[name]["metadata"]["ownerReferences"] = [msgspec.to_builtins(owner)]
    world.lives.act(world.start())
    await world.settle()
    assert world.lives.failures == []


async def test_a_name_that_somebody_else_has_is_told(world: World) -> None:
    world.show()
    world.shown = {}
    world.lives.act(world.start())
    await world.settle()
    assert [failure.reason for failure in world.lives.failures] == [Reason.NAME_CONFLICT]


async def test_a_pod_that_a_webhook_spoiled_does_not_live(world: World) -> None:
    world.spoiled = True
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls == ["create", "delete grace=0 version="]
    assert [failure.reason for failure in world.lives.failures] == [Reason.POD_REFUSED]


async def test_a_pod_that_would_be_spoiled_again_is_not_made_again(world: World) -> None:
    world.spoiled = True
    world.lives.act(world.start())
    await world.settle()
    world.api.calls.clear()
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls == []
    assert [failure.reason for failure in world.lives.failures] == [Reason.POD_REFUSED] * 2
    # Until somebody changes what is allowed, or for ten minutes.
    world.lives.forgive()
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls == ["create", "delete grace=0 version="]
    world.now_us += pod_births.SPOILED_US
    world.spoiled = False
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls[2:] == ["create"]


@pytest.mark.parametrize(
    "fault", [Unreachable("the answer was lost"), ServerFailed("create", 504, "Timeout", "it took too long")]
)
async def test_a_pod_that_was_made_although_nobody_heard_of_it_is_looked_at_when_it_shows(
    world: World, fault: KubeError
) -> None:
    world.seen()
    world.api.fail["create"] = fault
    world.lives.act(world.start())
    await world.settle()
    world.spoiled = True
    world.show()
    world.seen()
    await world.settle()
    assert world.api.calls == ["create", "get", "delete grace=0 version="]
    world.shown = {}
    assert world.lives.act(world.start())
    await world.settle()
    assert world.lives.failures[-1].reason is Reason.POD_REFUSED


async def test_a_pod_that_is_as_it_should_be_is_looked_at_once(world: World) -> None:
    world.seen()
    world.show()
    for _ in range(3):
        world.seen()
        await world.settle()
    assert world.api.calls == ["get"]
    # What was made here was looked at as it came back.
    world.api.pods.clear()
    world.shown = {}
    world.seen()
    world.api.calls.clear()
    world.lives.act(world.start())
    await world.settle()
    world.show()
    world.seen()
    await world.settle()
    assert world.api.calls == ["create"]


async def test_a_pod_that_shows_before_the_answer_to_its_making_is_not_read_again(world: World) -> None:
    world.seen()
    world.lives.act(world.start())
    world.show()
    world.seen()
    world.api.pods.clear()
    await world.settle()
    world.seen()
    await world.settle()
    assert world.api.calls == ["create"]


async def test_a_pod_that_cannot_be_looked_at_now_is_looked_at_later(world: World) -> None:
    world.seen()
    world.show()
    world.spoiled = True
    world.api.fail["get"] = Unreachable("no answer")
    for _ in range(2):
        world.seen()
        await world.settle()
    assert world.api.calls == ["get", "get", "delete grace=0 version="]


async def test_a_spoiled_pod_whose_deletion_fails_is_ended_again_until_it_is_gone(world: World) -> None:
    world.seen()
    world.spoiled = True
    world.api.fail["delete"] = ServerFailed("delete", 500, "InternalError", "etcd has no leader")
    world.lives.act(world.start())
    await world.settle()
    # It is refused for what it is, whatever became of its deletion.
    assert [failure.reason for failure in world.lives.failures] == [Reason.POD_REFUSED]
    view = world.show()
    for _ in range(2):
        world.seen()
        assert world.lives.is_spoiled(view)
        world.lives.bury(view)
        assert world.lives.leaving() == {ID}
        world.api.fail["delete"] = Unreachable("no answer")
        await world.settle()
    assert world.api.calls == ["create", *["delete"] * 3]
    world.shown = {}
    world.seen()
    assert not world.lives.is_spoiled(view)


async def test_a_spoiled_pod_that_shows_late_is_ended_all_the_same(world: World) -> None:
    world.seen()
    world.spoiled = True
    world.api.fail["delete"] = Unreachable("no answer")
    world.lives.act(world.start())
    await world.settle()
    world.seen()
    world.show()
    world.seen()
    await world.settle()
    assert world.api.calls[2:] == ["get", "delete grace=0 version="]


async def test_what_functions_that_are_no_more_had_refused_is_forgotten(world: World) -> None:
    world.spoiled = True
    world.lives.act(world.start())
    await world.settle()
    world.spoiled = False
    world.seen(other=FUNCTION)
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls[2:] == ["create"]


async def test_pods_that_were_warm_before_this_leader_are_not_all_read_again(world: World) -> None:
    world.show()
    world.seen()
    await world.settle()
    assert world.api.calls == []


async def test_a_pod_that_a_dead_leader_did_not_look_at_is_looked_at(world: World) -> None:
    world.show(node="", heard=False)
    world.spoiled = True
    world.seen()
    await world.settle()
    assert world.api.calls == ["get", "delete grace=0 version="]


async def test_an_api_server_that_fails_is_a_reason_and_not_asked_in_a_tight_loop(world: World) -> None:
    world.api.fail["create"] = ServerFailed("create", 500, "InternalError", "failed calling webhook")
    world.lives.act(world.start())
    await world.settle()
    assert [failure.reason for failure in world.lives.failures] == [Reason.CONTROL_PLANE_UNAVAILABLE]


async def test_a_name_that_is_about_to_be_free_is_waited_for(world: World) -> None:
    world.show()
    world.shown = {}
    name = ID.partition("/")[2]
    for meta in (
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        # Of a function of the same name that was deleted.
        {"ownerReferences": [{"kind": "GpuFunction", "name": FUNCTION.name, "uid": "older", "controller": True}]},
    ):
        world.api.pods[name]["metadata"] = {"name": name, "uid": "u1", "resourceVersion": "7"} | meta
        world.lives.act(world.start())
        await world.settle()
        assert world.lives.failures == []
        assert world.lives.making() == ()


async def test_a_pod_whose_agent_has_not_told_of_it_is_drained_all_the_same(world: World) -> None:
    world.show(heard=False)
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    assert world.asked == ["n u1"]


async def test_what_the_administrator_does_not_allow_is_told(world: World) -> None:
    world.refuse = NotMade(Reason.POD_REFUSED, "no such account")
    world.lives.act(world.start())
    await world.settle()
    assert world.api.calls == []
    assert world.lives.failures[0].detail == "no such account"


async def test_nothing_is_written_by_one_that_does_not_lead(world: World) -> None:
    world.api.fail["create"] = NotLeading("another one may lead")
    world.lives.act(world.start())
    await world.settle()
    assert world.lives.failures == []
    assert world.lives.making() == ()
    world.show()
    world.api.fail["delete"] = NotLeading("another one may lead")
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    assert len(world.api.pods) == 1


async def test_a_drain_is_acknowledged_before_the_pod_is_deleted(world: World) -> None:
    world.show()
    world.drains = [Drained.NOT_YET, Drained.NO_ANSWER, Drained.YES]
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    assert world.lives.leaving() == {ID}
    await world.settle()
    assert world.asked == ["n u1"] * 3
    # The version is that after the acknowledgement: a pod that changed since is looked at again.
    assert world.api.calls == ["get", "delete grace=None version=7"]


async def test_what_is_drained_has_its_own_grace_to_end_and_not_the_timeout_of_requests(world: World) -> None:
    world.seen()  # from now on the function is known: terminationGracePeriod 30 s
    world.show()
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    assert world.api.calls[-1] == "delete grace=30 version=7"


async def test_what_never_got_warm_has_nothing_to_end(world: World) -> None:
    # While it starts it ignores SIGTERM, as process 1 of a container without a handler does, and holds its device.
    world.seen()
    world.show(state=ReplicaState.STARTING)
    world.lives.act(Drain(replica_id=ID, reason=Reason.UNFIT_DEVICE))
    await world.settle()
    assert world.api.calls[-1] == "delete grace=1 version=7"


async def test_a_drain_that_is_ordered_twice_is_begun_once(world: World) -> None:
    world.show()
    for _ in range(3):
        world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    assert world.asked == ["n u1"]


async def test_a_pod_without_a_node_needs_no_drain(world: World) -> None:
    world.show(node="", heard=False)
    world.lives.act(Drain(replica_id=ID, reason=Reason.SCALED_DOWN))
    await world.settle()
    assert world.asked == []
    assert world.api.calls == ["delete grace=None version="]


async def test_a_pod_that_changed_since_is_left_for_the_next_plan(world: World) -> None:
    world.show()
    world.api.fail["delete"] = Conflict("delete", 409, "Conflict", "it changed")
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    assert world.lives.leaving() == frozenset()
    assert ID.partition("/")[2] in world.api.pods


async def test_a_kill_does_not_wait_for_a_drain(world: World) -> None:
    world.show()
    world.drains = [Drained.NO_ANSWER] * 1000
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    world.lives.act(Kill(replica_id=ID, reason=Reason.REPLICA_HUNG))
    assert world.lives.killed() == {ID}
    await world.settle()
    assert world.api.calls == ["delete grace=1 version="]


async def test_stop_leaves_what_is_under_way_to_the_next_leader(world: World) -> None:
    world.show()
    world.drains = [Drained.NOT_YET] * 1000
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    await world.settle()
    await world.lives.stop()
    assert world.api.calls == []


async def test_an_agent_that_stays_away_does_not_keep_a_replica_for_ever(world: World) -> None:
    world.show()
    world.drains = [Drained.NO_ANSWER] * 1000
    world.lives.act(Drain(replica_id=ID, reason=Reason.IDLE))
    for _ in range(5):
        await world.settle()
    assert world.api.calls == ["delete grace=None version="]
    assert len(world.asked) == pod_lives.SILENT_ASKS
