"""What is written of a function, and how often: status and the objects beside its pods, on an API that keeps count."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stoker.control.planning import FunctionMemory, PlanMemory
from stoker.model.status import Condition, FunctionStatus
from stoker.reasons import Reason
from stoker_operator.function_store import FunctionStore
from stoker_operator.function_sync import STATUS_FLIP_US, STATUS_INTERVAL_US, FunctionSync, SyncSettings
from stoker_operator.kinds import FUNCTIONS, NETWORK_POLICIES, SERVICES, Dynamic, Object
from stoker_operator.owned_objects import OwnedObjects
from stoker_operator.revisions import Revisions
from stoker_operator.status_form import Figures
from stoker_runtime.kube.errors import Conflict, Forbidden, KubeError, NotFound, ServerFailed, Unreachable
from stoker_runtime.kube.objects import Resource
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

KEY = "team/f"
SPEC = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}


class Api:
    """Objects by kind; every write makes a new version."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.loses_answers = False
        self.refuses: dict[str, KubeError] = {}
        self._version = 100

    def _write(self, verb: str, resource: Resource[Any], name: str, body: dict[str, Any]) -> Any:
        if resource.plural in self.refuses:
            raise self.refuses[resource.plural]
        self._version += 1
        uid = self.objects.get((resource.plural, name), {}).get("metadata", {}).get("uid", f"uid-{self._version}")
        content = msgspec.to_builtins(body)
        content["metadata"] = content["metadata"] | {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(self._version),
        }
        self.objects[resource.plural, name] = content
        self.writes.append(f"{verb} {resource.plural}")
        if self.loses_answers:
            raise Unreachable("the answer was lost")
        return msgspec.convert(content, resource.type, strict=False)

    async def create(self, resource: Resource[Any], body: dict[str, Any], namespace: str = "") -> Any:
        return self._write("create", resource, body["metadata"]["name"], body)

    async def apply(
        self, resource: Resource[Any], name: str, body: dict[str, Any], namespace: str = "", **options: Any
    ) -> Any:
        verb = "status" if options.get("subresource") else "apply"
        return self._write(verb, resource, name, body)

    async def get(self, resource: Resource[Any], name: str, namespace: str = "") -> Any:
        if (resource.plural, name) not in self.objects:
            raise NotFound("get", 404, "NotFound", "it is not there")
        return msgspec.convert(self.objects[resource.plural, name], resource.type, strict=False)

    async def patch(self, resource: Resource[Any], name: str, body: dict[str, Any], namespace: str = "") -> Any:
        return self._write("patch", resource, name, body)

    def cache(self, resource: Resource[Object]) -> Any:
        class Shown:
            @staticmethod
            def get(namespace: str, name: str) -> Object | None:
                found = self.objects.get((resource.plural, name))
                labelled = found is not None and "stoker.dev/function" in (found["metadata"].get("labels") or {})
                return msgspec.convert(found, Object, strict=False) if labelled else None

        return Shown()


class World:
    def __init__(self) -> None:
        self.api = Api()
        self.now_us = 1_000_000_000
        self.store = FunctionStore(lambda _: None)
        self.hostname_conflicts: tuple[str, ...] = ()
        self.image_problem: tuple[Reason, str] | None = None
        sink = PrometheusSink()
        kube: Any = self.api
        params: Callable[..., Any] = lambda *_: None  # noqa: E731  never asked for: nothing is built here
        self.revisions = Revisions(kube, params, lambda _: None)
        caches = {resource.plural: self.api.cache(resource) for resource in (SERVICES, NETWORK_POLICIES)}
        self.sync = FunctionSync(
            kube=kube,
            store=self.store,
            revisions=self.revisions,
            objects=OwnedObjects(kube, caches, sink),
            settings=SyncSettings(system_namespace="stoker", gateway_host="gw.stoker.svc", cluster_domain="c.local"),
            in_use=lambda _: frozenset(),
            hostname_conflicts=lambda _: self.hostname_conflicts,
            image_problem=lambda _: self.image_problem,
            figures=lambda _: Figures(),
            clock_us=lambda: self.now_us,
            now=lambda: "2026-01-01T00:00:00Z",
            metrics=sink,
        )
        self.applied(1)

    def applied(self, generation: int, uid: str = "u1", version: int = 0, **spec: Any) -> None:
        meta = {
            "name": "f",
            "namespace": "team",
            "uid": uid,
            "generation": generation,
            "resourceVersion": str(version or generation),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self.store.put(msgspec.convert({"metadata": meta, "spec": SPEC | spec}, Dynamic))

    def plan(self, message: str = "1 replica is warm", *, ready: bool = True) -> list[str]:
        ready_one = Condition(
            type="Ready", status=ready, reason=Reason.READY if ready else Reason.WAITING_FOR_GPU, message=message
        )
        rest = Condition(type="Stalled", status=False, reason=Reason.READY, message="nothing stands in the way")
        status = FunctionStatus(function=KEY, revision="0123456789", conditions=(ready_one, rest))
        return self.sync.planned({KEY: status}, PlanMemory(functions={KEY: FunctionMemory()}))

    def stalled(self) -> tuple[str, str, str]:
        (found,) = (each for each in self.said()["conditions"] if each["type"] == "Stalled")
        return found["status"], found["reason"], found["message"]

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.objects[FUNCTIONS.plural, "f"]["status"]
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_objects_are_made_at_once_and_the_status_with_the_first_plan(world: World) -> None:
    assert await world.sync.handle(KEY) is None
    assert world.api.writes == ["create services", "create networkpolicies"]
    assert world.plan() == [KEY]
    await world.sync.handle(KEY)
    await world.sync.handle(KEY)
    assert world.api.writes[2:] == ["status gpufunctions"]
    assert world.plan() == []


async def test_a_flip_is_written_soon_and_anything_else_every_ten_seconds(world: World) -> None:
    world.plan()
    await world.sync.handle(KEY)
    world.api.writes.clear()
    world.now_us += 1_000_000
    world.plan("2 replicas are warm")
    left_s = await world.sync.handle(KEY)
    assert (left_s, world.api.writes) == (STATUS_INTERVAL_US / 1e6 - 1, [])
    world.plan("all are held", ready=False)
    assert await world.sync.handle(KEY) is None
    assert world.api.writes == ["status gpufunctions"]
    # What flaps is no storm either.
    world.plan("1 replica is warm")
    assert await world.sync.handle(KEY) == STATUS_FLIP_US / 1e6
    world.now_us += STATUS_FLIP_US
    assert await world.sync.handle(KEY) is None
    world.plan("2 replicas are warm")
    world.now_us += STATUS_INTERVAL_US
    assert await world.sync.handle(KEY) is None
    assert world.api.writes == ["status gpufunctions"] * 3


async def test_the_status_says_which_generation_it_is_about(world: World) -> None:
    world.plan()
    await world.sync.handle(KEY)
    world.applied(2)
    world.now_us += STATUS_INTERVAL_US
    await world.sync.handle(KEY)
    assert world.said()["observedGeneration"] == 1
    assert world.plan() == [KEY]
    await world.sync.handle(KEY)
    assert world.said()["observedGeneration"] == 2


async def test_a_status_whose_answer_was_lost_is_written_again(world: World) -> None:
    await world.sync.handle(KEY)
    world.plan()
    world.api.loses_answers = True
    with pytest.raises(Unreachable):
        await world.sync.handle(KEY)
    world.api.loses_answers = False
    await world.sync.handle(KEY)
    assert world.api.writes.count("status gpufunctions") == 2


async def test_an_object_whose_answer_was_lost_is_found_and_taken(world: World) -> None:
    world.api.loses_answers = True
    with pytest.raises(Unreachable):
        await world.sync.handle(KEY)
    world.api.loses_answers = False
    await world.sync.handle(KEY)
    assert world.api.writes == [
        "create services",
        "create networkpolicies",
        "apply services",
        "apply networkpolicies",
    ]


async def test_a_foreign_object_is_looked_for_again_and_not_touched(world: World) -> None:
    foreign = {"metadata": {"name": "f", "namespace": "team", "uid": "x", "resourceVersion": "1"}}
    world.api.objects["services", "f"] = foreign
    world.plan()
    assert await world.sync.handle(KEY) == 30.0
    assert world.api.objects["services", "f"] is foreign
    stalled = next(each for each in world.said()["conditions"] if each["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "NameConflict")
    assert world.said()["url"] == "http://gw.stoker.svc/team/f/"


async def test_an_object_that_is_refused_hides_nothing_and_is_told(world: World) -> None:
    world.api.refuses["services"] = Forbidden("create", 403, "Forbidden", "policy x wants a label y")
    world.plan()
    with pytest.raises(Forbidden):
        await world.sync.handle(KEY)
    # The rest is written all the same.
    assert world.api.writes == ["create networkpolicies", "status gpufunctions"]
    assert world.stalled() == ("True", "ObjectRefused", "its Service is refused: policy x wants a label y")
    with pytest.raises(Forbidden):
        await world.sync.handle(KEY)
    assert world.api.writes.count("status gpufunctions") == 1
    world.api.refuses.clear()
    world.now_us += STATUS_FLIP_US
    await world.sync.handle(KEY)
    assert world.stalled()[:2] == ("False", "Ready")
    assert world.api.writes.count("create services") == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Forbidden("create", 403, "Forbidden", "exceeded quota: objects"), ("True", "QuotaExceeded")),
        (ServerFailed("create", 500, "InternalError", "failed calling webhook"), ("False", "ControlPlaneUnavailable")),
        # Somebody else was quicker: the next run looks again.
        (Conflict("apply", 409, "Conflict", "it changed"), ("False", "Ready")),
        (Unreachable("no answer"), ("False", "Ready")),
    ],
)
async def test_why_an_object_is_not_there_is_told_by_what_can_be_done(
    world: World, error: KubeError, told: tuple[str, str]
) -> None:
    world.api.refuses["networkpolicies"] = error
    world.plan()
    with pytest.raises(type(error)):
        await world.sync.handle(KEY)
    assert world.stalled()[:2] == told


async def test_what_an_older_function_of_the_name_left_gets_the_new_owner(world: World) -> None:
    owner = {"kind": "GpuFunction", "name": "f", "uid": "older", "controller": True}
    left = {"name": "f", "namespace": "team", "uid": "x", "resourceVersion": "1", "ownerReferences": [owner]}
    world.api.objects["services", "f"] = {"metadata": left}
    await world.sync.handle(KEY)
    assert world.api.writes == ["patch services", "apply services", "create networkpolicies"]


async def test_a_field_that_does_not_act_is_told(world: World) -> None:
    world.applied(2, rollout={"canaryPercent": 10})
    world.plan()
    await world.sync.handle(KEY)
    assert world.stalled()[:2] == ("False", "Ready")
    assert "spec.rollout.canaryPercent does not act yet" in world.stalled()[2]


async def test_images_that_are_not_kept_are_told_and_stall_nothing(world: World) -> None:
    world.image_problem = (Reason.PRE_PULL_UNSUPPORTED, "this cluster has no image volumes")
    world.plan()
    await world.sync.handle(KEY)
    stalled = next(each for each in world.said()["conditions"] if each["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("False", "PrePullUnsupported")


async def test_a_function_that_is_made_anew_is_told_of_as_it_is_and_not_as_the_one_before(world: World) -> None:
    world.plan()
    await world.sync.handle(KEY)
    world.store.remove("team", "f")
    world.applied(1, "u2", version=500)
    world.api.writes.clear()
    world.now_us += STATUS_INTERVAL_US
    await world.sync.handle(KEY)
    # What is known is about the old one.
    assert "status gpufunctions" not in world.api.writes
    # The plan says the same of the new one: it is news all the same.
    assert world.plan() == [KEY]
    await world.sync.handle(KEY)
    assert world.api.writes.count("status gpufunctions") == 1
    assert world.plan() == []


async def test_a_function_that_is_gone_leaves_nothing_here(world: World) -> None:
    world.plan()
    await world.sync.handle(KEY)
    world.store.remove("team", "f")
    await world.sync.handle(KEY)
    assert world.sync.status(KEY) is None
    writes = len(world.api.writes)
    await world.sync.handle(KEY)
    assert len(world.api.writes) == writes
