"""What the kubelet says of pods that do not get on: when it is read, how often, and which word of it counts."""

import asyncio
from typing import Any

import msgspec
import pytest

from stoker.model.function import GpuOption, Variant
from stoker.reasons import Reason
from stoker.wire.cluster import PodReplica, ReplicaFrame
from stoker_operator.agent_board import AgentBoard
from stoker_operator.kinds import Event, Node, Pod
from stoker_operator.ledger import Nodes
from stoker_operator.pod_facts import waiting_of
from stoker_operator.pod_view import ReplicaPod
from stoker_operator.pod_warnings import AFTER_US, AGAIN_US, AT_ONCE, NOTHING, PODS_PER_ROUND, PodWarnings
from stoker_runtime.kube.decoding import Page
from stoker_runtime.kube.errors import Forbidden, KubeError, Unreachable

pytestmark = pytest.mark.unit

S = 1_000_000
MOUNT = 'MountVolume.SetUp failed for volume "model": rpc error'


def event(reason: str, at: str, message: str = "x", kind: str = "Warning", **times: Any) -> Event:
    raw = {"metadata": {"name": reason}, "type": kind, "reason": reason, "message": message, "lastTimestamp": at}
    return msgspec.convert(raw | times, Event)


class Api:
    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}
        self.fail: KubeError | None = None
        self.asked: list[str] = []
        self.running = 0
        self.most = 0

    async def list(self, _: object, namespace: str, *, field_selector: str) -> Page[Event]:
        assert namespace == "team"
        name, _, uid = field_selector.partition("=")
        assert name == "involvedObject.uid"
        self.asked.append(uid)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if self.fail is not None:
            raise self.fail
        return Page(tuple(self.events.get(uid, ())), "1", ())


class World:
    def __init__(self) -> None:
        self.api = Api()
        self.now_us = 1_000 * S
        self.changes = 0
        api: Any = self.api
        self.warnings = PodWarnings(api, clock_us=lambda: self.now_us, changed=self.change)

    def change(self) -> None:
        self.changes += 1

    async def after(self, passed_us: int, *views: ReplicaPod) -> None:
        self.now_us += passed_us
        await self.warnings.round(views)


def view(uid: str = "p", node: str = "n", **status: Any) -> ReplicaPod:
    raw = {
        "metadata": {"name": f"f-0123456789-{uid}", "namespace": "team", "uid": uid},
        "spec": {"nodeName": node, "containers": [{"name": "function", "image": "f:1"}]},
        "status": {"phase": "Pending"} | status,
    }
    replica = PodReplica(
        id=f"team/f-0123456789-{uid}",
        function="team/f",
        function_uid="u",
        variant=Variant.GPU,
        revision="0123456789",
        ordinal=0,
        options=(GpuOption(memory_mib=1),),
    )
    return ReplicaPod(pod=msgspec.convert(raw, Pod), replica=replica)


def container(name: str = "function", **state: Any) -> list[dict[str, Any]]:
    return [{"name": name, "image": "f:1", "restartCount": 0, "state": state}]


CREATING: dict[str, Any] = {"containerStatuses": container(waiting={"reason": "ContainerCreating"})}


@pytest.fixture
def world() -> World:
    return World()


async def test_a_pod_that_does_not_get_on_is_asked_about_after_a_while_and_not_too_often(world: World) -> None:
    stuck = view(**CREATING)
    await world.after(0, stuck)
    await world.after(AFTER_US - 1, stuck)
    assert world.api.asked == []
    await world.after(1, stuck)
    await world.after(AGAIN_US - 1, stuck)
    assert world.api.asked == ["p"]
    await world.after(1, stuck)
    assert world.api.asked == ["p", "p"]


@pytest.mark.parametrize(
    "fine",
    [
        view(node=""),
        view(containerStatuses=container(running={})),
        view(containerStatuses=container(terminated={"exitCode": 1})),
        view(containerStatuses=container(waiting={"reason": "ImagePullBackOff", "message": "no such image"})),
        view(initContainerStatuses=container("wait-for-device", running={})),
        view(phase="Failed"),
    ],
)
async def test_nobody_is_asked_about_a_pod_that_says_itself_what_it_does(world: World, fine: ReplicaPod) -> None:
    await world.after(0, fine)
    await world.after(60 * S, fine)
    assert world.api.asked == []


async def test_the_newest_warning_counts_and_a_new_one_is_news(world: World) -> None:
    world.api.events["p"] = [
        event("FailedMount", "2026-01-01T00:00:09Z", MOUNT),
        event("FailedScheduling", "2026-01-01T00:00:10Z"),
        event("Scheduled", "2026-01-01T00:00:02Z", kind="Normal"),
    ]
    for _ in range(2):
        await world.after(AGAIN_US, view())
    assert world.warnings.of("p") == ("FailedMount", MOUNT)
    assert world.changes == 1
    await world.after(AGAIN_US, view())
    assert world.changes == 1
    assert world.warnings.of("another") == NOTHING


async def test_a_warning_that_the_kubelet_has_got_over_does_not_count(world: World) -> None:
    world.api.events["p"] = [
        event("FailedMount", "2026-01-01T00:00:09Z", MOUNT),
        event("Pulling", "2026-01-01T00:00:10Z", kind="Normal"),
    ]
    for _ in range(2):
        await world.after(AGAIN_US, view())
    assert world.warnings.of("p") == NOTHING
    # Another volume, or the next try: it counts again.
    world.api.events["p"].append(event("FailedMount", "2026-01-01T00:00:11Z", MOUNT))
    await world.after(AGAIN_US, view())
    assert world.warnings.of("p") == ("FailedMount", MOUNT)


@pytest.mark.parametrize(
    "times",
    [
        {"lastTimestamp": None, "eventTime": "2026-01-01T00:00:20.000001Z"},
        {"eventTime": "2026-01-01T00:00:01Z", "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:20Z"}},
        {"lastTimestamp": "2026-01-01T00:00:20Z", "eventTime": None, "series": None},
    ],
)
async def test_the_time_of_an_event_is_that_of_its_last_repetition(world: World, times: dict[str, Any]) -> None:
    world.api.events["p"] = [
        event("FailedMount", "2026-01-01T00:00:02Z", "new", **times),
        event("FailedCreatePodSandBox", "2026-01-01T00:00:10Z", "old"),
    ]
    for _ in range(2):
        await world.after(AGAIN_US, view())
    assert world.warnings.of("p") == ("FailedMount", "new")


async def test_what_is_said_of_a_pod_that_gets_on_is_forgotten(world: World) -> None:
    world.api.events["p"] = [event("FailedMount", "2026-01-01T00:00:09Z", MOUNT)]
    for _ in range(2):
        await world.after(AGAIN_US, view())
    await world.after(1, view(containerStatuses=container(running={})))
    assert world.warnings.of("p") == NOTHING
    await world.after(AGAIN_US, view())
    assert world.api.asked == ["p"]


async def test_a_thousand_pods_are_asked_about_a_few_at_a_time_in_turn(world: World) -> None:
    stuck = [view(f"p{number}") for number in range(3 * PODS_PER_ROUND)]
    await world.after(0, *stuck)
    await world.after(AFTER_US, *stuck)
    assert len(world.api.asked) == PODS_PER_ROUND
    assert world.api.most <= AT_ONCE
    for _ in range(2):
        await world.after(S, *stuck)
    assert sorted(world.api.asked) == sorted(each.uid for each in stuck)


@pytest.mark.parametrize("fault", [Unreachable("no answer"), Forbidden("list", 403, "Forbidden", "events")])
async def test_an_api_server_that_does_not_tell_costs_a_line_and_what_was_known_stands(
    world: World, fault: KubeError, capsys: pytest.CaptureFixture[str]
) -> None:
    world.api.events["p"] = [event("FailedMount", "2026-01-01T00:00:09Z", MOUNT)]
    for _ in range(2):
        await world.after(AGAIN_US, view())
    world.api.fail = fault
    for _ in range(3):
        await world.after(AGAIN_US, view())
    assert world.warnings.of("p") == ("FailedMount", MOUNT)
    assert capsys.readouterr().out.count("pod_events_unread") == 1


def nodes() -> Nodes:
    board = AgentBoard()
    board.heard("n", ReplicaFrame(seq=1, node="n"), 1)
    made = Nodes(board)
    condition = {"type": "Ready", "status": "True"}
    made.set_node("n", msgspec.convert({"metadata": {"name": "n"}, "status": {"conditions": [condition]}}, Node), 1)
    return made


@pytest.mark.parametrize(
    ("warned", "reason"),
    [
        (NOTHING, Reason.INITIALISING),
        (("FailedMount", MOUNT), Reason.MOUNT_FAILED),
        (("FailedMount", 'MountVolume.SetUp failed: configmap "c" not found'), Reason.CONFIG_MISSING),
        (("FailedCreatePodSandBox", "no network"), Reason.INITIALISING),
    ],
)
def test_the_warning_is_the_reason_why_a_pod_waits(warned: tuple[str, str], reason: Reason) -> None:
    said = waiting_of(view(**CREATING), nodes(), warned)
    assert said is not None
    assert said[0] is reason
    assert warned[1] in said[1]
