"""What the node agent writes to the API server: its FunctionNode's status and its Lease. And who may act: the lock."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from node_on_kubernetes import CPU, NodeWorld, card

from stoker.model.device import DeviceKind
from stoker.model.replica import ReplicaState
from stoker.wire.function_node import AgentStatus, FunctionNodeStatus, NodeCondition
from stoker_node.kubernetes import ledger as ledger_module
from stoker_node.kubernetes.ledger import Ledger, device_statuses, residents, status_of
from stoker_node.kubernetes.node_lease import NodeLease
from stoker_node.kubernetes.node_lock import NodeLock
from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.errors import Conflict, NotFound, Unreachable
from stoker_runtime.kube.objects import Seen, SmallMeta
from stoker_runtime.own_kinds import FunctionNode

pytestmark = pytest.mark.unit


class FakeApi:
    """Takes applies, or fails as told."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, Any, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.tries = 0
        self.uid = "first"

    async def apply(self, resource: Any, name: str, body: Any, namespace: str = "", **how: Any) -> FunctionNode:
        self.tries += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.applied.append((f"{resource.plural} {namespace}/{name}", body, how))
        return FunctionNode(metadata=SmallMeta(name=name, uid=self.uid, resource_version=f"v{self.tries}"))


def status(**changes: Any) -> FunctionNodeStatus:
    condition = NodeCondition(type="Ready", status="True", reason="Ready", message="", last_transition_time="t")
    given: dict[str, Any] = {
        "agent": AgentStatus(pod="p", address="10.0.0.1"),
        "devices": device_statuses([card(), CPU], {}),
        "residents": (),
        "images": (),
        "condition": condition,
        "generation": 1,
    }
    return status_of(**(given | changes))


class Writer:
    """A ledger with its clock in the test's hand."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.now_us = 0
        self.status = status()
        self.ledger = Ledger(
            self.api,
            "n",
            lambda: self.status,
            clock_us=lambda: self.now_us,
            backoff=Backoff(first_s=0.01, most_s=0.01),
            look_s=0.005,
            rng=Random(1),
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
async def writer() -> Any:
    writer = Writer()
    yield writer
    await writer.ledger.stop()


async def test_the_status_is_applied_to_its_subresource_and_again_only_when_it_is_worth_it(writer: Writer) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    what, body, how = writer.api.applied[0]
    assert what == "functionnodes /n"
    assert how == {"manager": "stoker-node", "force": True, "subresource": "status", "seen": None}
    assert body["status"]["counts"]["gpus"] == 1
    writer.now_us = 60_000_000
    writer.ledger.changed()
    await asyncio.sleep(0.03)
    assert writer.ledger.writes == 1  # nothing is different
    writer.status = status(devices=device_statuses([card(healthy=False), CPU], {}))
    await writer.until(lambda: writer.ledger.writes == 2)


async def test_measured_memory_waits_for_its_time_and_health_does_not(writer: Writer) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    writer.now_us = 1_000_000
    writer.status = status(devices=device_statuses([card(), CPU], {"GPU-a": 9000}))
    await asyncio.sleep(0.03)
    assert writer.ledger.writes == 1
    writer.status = status(devices=device_statuses([card(healthy=False), CPU], {"GPU-a": 9000}))
    writer.ledger.changed()
    await writer.until(lambda: writer.ledger.writes == 2)


async def test_an_object_that_is_missing_or_a_server_that_is_away_is_tried_again(writer: Writer) -> None:
    writer.api.error = NotFound("PATCH", 404, "NotFound", "not found")
    writer.ledger.start()
    await writer.until(lambda: writer.api.tries >= 2)
    assert "does not exist" in writer.ledger.problem
    writer.api.error = Unreachable("no connection")
    await writer.until(lambda: "cannot be written" in writer.ledger.problem)
    writer.api.error = None
    await writer.until(lambda: writer.ledger.writes == 1)
    assert writer.ledger.problem == ""


async def test_an_object_that_was_made_anew_gets_its_status(writer: Writer) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    writer.ledger.object_is("first")
    await asyncio.sleep(0.02)
    assert writer.ledger.writes == 1
    writer.api.uid = "second"
    writer.ledger.object_is("second")
    await writer.until(lambda: writer.ledger.writes == 2)


async def test_a_status_that_cannot_be_made_does_not_end_the_writer(writer: Writer) -> None:
    good, broken = writer.status, [True]

    def make() -> FunctionNodeStatus:
        if broken.pop() if broken else False:
            raise RuntimeError("boom")
        return good

    writer.ledger._status = make
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)


async def test_a_writer_that_is_ended_in_the_moment_of_news_ends(writer: Writer) -> None:
    writer.ledger._look_s = 60
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    await asyncio.sleep(0.15)  # it waits for news by now
    writer.ledger.changed()
    async with asyncio.timeout(1):
        await writer.ledger.stop()


async def test_a_writer_that_is_ended_in_the_moment_its_object_appears_ends(writer: Writer) -> None:
    writer.ledger._backoff = Backoff(first_s=60, most_s=60)
    writer.api.error = NotFound("PATCH", 404, "NotFound", "not found")
    writer.ledger.start()
    await writer.until(lambda: bool(writer.ledger.problem))
    await asyncio.sleep(0)
    writer.ledger.object_is("first")
    async with asyncio.timeout(1):
        await writer.ledger.stop()


def draining() -> FunctionNodeStatus:
    condition = NodeCondition(type="Ready", status="False", reason="Draining", message="", last_transition_time="t")
    return status(condition=condition)


async def test_the_last_word_is_written_without_waiting_its_turn_and_only_over_ones_own(writer: Writer) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    writer.status = draining()
    await writer.ledger.stop()
    assert [body["status"]["conditions"][0]["reason"] for _, body, _ in writer.api.applied] == ["Ready", "Draining"]
    # Were it late, it would otherwise stand over what the node's next agent has written.
    assert writer.api.applied[1][2]["seen"] == Seen("first", "v1")


@pytest.mark.parametrize("error", [Conflict("PATCH", 409, "Conflict", "changed"), Unreachable("away"), ValueError()])
async def test_a_last_word_that_fails_ends_the_writer_all_the_same(writer: Writer, error: Exception) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    writer.status = draining()
    writer.api.error = error
    await writer.ledger.stop()
    assert (writer.api.tries, writer.ledger.writes) == (2, 1)


async def test_the_end_waits_for_the_last_word_no_longer_than_a_moment(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_LAST_S", 0.01)
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    writer.status = draining()
    writer.api.gate.clear()
    async with asyncio.timeout(1):
        await writer.ledger.stop()
    writer.api.gate.set()


async def test_who_has_nothing_new_to_say_or_never_spoke_has_no_last_word(writer: Writer) -> None:
    writer.ledger.start()
    await writer.until(lambda: writer.ledger.writes == 1)
    await writer.ledger.stop()
    assert writer.api.tries == 1
    silent = Writer()
    silent.api.error = Unreachable("away")
    silent.ledger.start()
    await silent.until(lambda: silent.api.tries == 1)
    silent.api.error = None
    await silent.ledger.stop()
    assert silent.api.tries == 1


async def test_residents_are_the_pods_with_what_is_reserved_for_them() -> None:
    world = await NodeWorld().start()
    pod = (await world.pod(world.apply())).devices("GPU-a")
    world.step()
    found = residents(world.sync.tracked(), world.sync.reports())
    await world.close()
    assert [(one.pod_uid, one.function, one.devices, one.state, one.memory_mib) for one in found] == [
        (pod.uid, "f", ("GPU-a",), ReplicaState.STARTING, 1024)
    ]
    made = status(residents=found)
    assert (made.counts.free, made.counts.gpus) == (0, 1)
    assert {device.kind for device in made.devices} == {DeviceKind.GPU, DeviceKind.CPU}


async def test_the_lease_is_renewed_whatever_the_server_answers() -> None:
    api = FakeApi()
    times = iter(range(1000))
    lease = NodeLease(api, "stoker-system", "n", "pod-1", renew_s=0.005, now=lambda: str(next(times)))
    api.error = Unreachable("away")
    lease.start()
    async with asyncio.timeout(5):
        while api.tries < 2:
            await asyncio.sleep(0.002)
        assert "cannot be renewed" in lease.problem
        api.error = None
        while len(api.applied) < 2:
            await asyncio.sleep(0.002)
    await lease.stop()
    assert lease.problem == ""
    assert {what for what, _, _ in api.applied} == {"leases stoker-system/stoker-node-n"}
    spec = [body["spec"] for _, body, _ in api.applied]
    assert spec[0]["holderIdentity"] == "pod-1"
    assert spec[0]["renewTime"] != spec[1]["renewTime"]


async def test_one_agent_of_a_node_acts_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "stoker.dev"
    old, new = NodeLock(folder, "old"), NodeLock(folder, "new")
    assert await old.acquire() is False  # nobody was here before
    waiting = asyncio.ensure_future(new.acquire())
    async with asyncio.timeout(5):
        while not new.waits:
            await asyncio.sleep(0.002)
    assert (folder / "agent.lock").read_text() == "old"
    old.release()
    assert await waiting is True
    assert (folder / "agent.lock").read_text() == "new"
    new.release()
    new.release()


async def test_a_lock_that_is_waited_for_no_more_is_left_alone(tmp_path: Path) -> None:
    old, new = NodeLock(tmp_path, "old"), NodeLock(tmp_path, "new")
    await old.acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await new.acquire()
    old.release()
    third = NodeLock(tmp_path, "third")
    assert await third.acquire() is True
    third.release()


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        await NodeLock(tmp_path / "file", "a").acquire()
