"""Which request runs when and where: slots, order, concurrency, expiry, live exchange of the policy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, cpu, function, gpu
from msgspec.structs import replace

from stoker.errors import UnknownName
from stoker.model.device import Device
from stoker.model.function import Probe, Sharing, Variant
from stoker.model.policy import default_policy
from stoker.model.replica import ReplicaState

pytestmark = pytest.mark.unit

Start = Callable[..., Awaitable[AgentUnderTest]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[AgentUnderTest] = []

    async def start(*devices: Device, **options: object) -> AgentUnderTest:
        under_test = await AgentUnderTest(*devices, **options).start()  # type: ignore[arg-type]
        running.append(under_test)
        return under_test

    yield start
    for under_test in running:
        await under_test.close()


async def test_two_functions_share_a_device_in_the_order_of_their_slack_and_late_ones_come_last(start: Start) -> None:
    agent = await start(gpu(slots=1))
    agent.apply(function("a"), function("b"))
    gate = Gate()
    await agent.warm("a", FakeReplica(gate), sharing=Sharing.SHARED)
    await agent.warm("b", FakeReplica(gate), sharing=Sharing.SHARED)
    first = await agent.send("/first", name="a")
    await first.dispatched()
    sent = [first]
    plan = [
        ("/late", "a", -50),
        ("/slow", "a", 60_000),
        ("/urgent", "b", 20_000),
        ("/late2", "b", 1),
        ("/mid", "a", 40_000),
    ]
    for number, (target, name, objective_ms) in enumerate(plan):
        sent.append(await agent.send(target, name=name, objective_ms=objective_ms, timeout_ms=90_000))
        await agent.until(lambda n=number: agent.queued("a") + agent.queued("b") == n + 1)  # type: ignore[misc]
    gate.let(6)
    await asyncio.gather(*(one.final() for one in sent))
    assert gate.waiting == ["/first", "/urgent", "/mid", "/slow", "/late", "/late2"]


async def test_a_shared_device_runs_as_many_as_it_has_slots_and_an_exclusive_one_as_its_resident_takes(
    start: Start,
) -> None:
    agent = await start(gpu("sim-0", slots=2), gpu("sim-1", slots=1))
    agent.apply(function("shared", concurrency=5), function("alone", concurrency=3))
    gates = Gate(), Gate()
    shared, _ = await agent.warm("shared", FakeReplica(gates[0]), sharing=Sharing.SHARED)
    alone, _ = await agent.warm("alone", FakeReplica(gates[1]), device="sim-1")
    sent = [await agent.send(name=name) for name in ("shared", "alone") for _ in range(4)]
    await agent.until(lambda: agent.queued("shared") == 2 and agent.queued("alone") == 1)
    assert (agent.status(shared).in_flight, agent.status(alone).in_flight) == (2, 3)
    for gate in gates:
        gate.let(4)
    assert {(await one.final()).status for one in sent} == {200}


async def test_a_replica_never_gets_more_than_its_concurrency_also_on_many_slots(start: Start) -> None:
    agent = await start(gpu(slots=8))
    agent.apply(function(concurrency=2))
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate), sharing=Sharing.SHARED)
    sent = [await agent.send() for _ in range(5)]
    await agent.until(lambda: agent.queued() == 3)
    assert agent.status(replica).in_flight == 2
    gate.let(5)
    assert {(await one.final()).status for one in sent} == {200}


async def test_no_device_idles_while_another_queues_the_same_function(start: Start) -> None:
    agent = await start(gpu("sim-0"), gpu("sim-1"))
    agent.apply(function())
    gates = Gate(), Gate()
    first, _ = await agent.warm(server=FakeReplica(gates[0]))
    sent = [await agent.send() for _ in range(2)]
    await agent.until(lambda: agent.queued() == 1)
    second, _ = await agent.warm(server=FakeReplica(gates[1]), device="sim-1", ordinal=1)
    await agent.until(lambda: agent.queued() == 0)
    assert agent.status(first).in_flight == agent.status(second).in_flight == 1
    gates[0].let()
    gates[1].let()
    assert {(await one.final()).headers["stoker-device"] for one in sent} == {
        "A100-40GB/sim-0 (simulated)",
        "A100-40GB/sim-1 (simulated)",
    }


async def test_of_free_devices_the_cheapest_that_is_on_time_runs_a_request(start: Start) -> None:
    agent = await start(replace(gpu("sim-0"), product="H200"), replace(gpu("sim-1"), product="L4"))
    agent.apply(function())
    for ordinal in (0, 1):
        await agent.warm(device=f"sim-{ordinal}", ordinal=ordinal)
    for product, exec_us in (("H200", 20_000), ("L4", 60_000)):
        agent.agent.prediction().observe_exec("ns/f", Variant.GPU, product, exec_us)

    async def runs_on(**how: float) -> str:
        return (await agent.call(**how)).headers["stoker-device"].partition("/")[0]  # type: ignore[arg-type]

    assert await runs_on() == "H200"
    agent.agent.set_shares(replace(default_policy(), prices={"H200": 9.0, "L4": 1.0}))
    assert await runs_on() == "L4"
    assert await runs_on(objective_ms=15) == "H200"
    # What a product without a price costs cannot be said.
    agent.agent.set_shares(replace(default_policy(), prices={"L4": 1.0}))
    assert await runs_on() == "H200"


async def test_the_replica_with_most_free_concurrency_is_chosen(start: Start) -> None:
    agent = await start(gpu(slots=4))
    agent.apply(function(concurrency=2))
    gate = Gate()
    ids = [
        (await agent.warm(server=FakeReplica(gate), ordinal=ordinal, sharing=Sharing.SHARED))[0] for ordinal in (1, 0)
    ]
    sent = [await agent.send() for _ in range(2)]
    await agent.until(lambda: len(gate.waiting) == 2)
    assert [agent.status(replica).in_flight for replica in ids] == [1, 1]
    gate.let(2)
    for one in sent:
        await one.final()


async def test_the_cpu_variant_has_a_queue_of_its_own(start: Start) -> None:
    agent = await start(gpu(), cpu())
    agent.apply(function(cpu_variant=True))
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    await agent.warm(server=FakeReplica(), device="cpu", variant=Variant.CPU, sharing=Sharing.SHARED)
    running = await agent.send()
    await running.dispatched()
    waiting = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    diverted = await agent.call(variant="cpu")
    assert (diverted.status, diverted.headers["stoker-device"]) == (200, "cpu")
    gate.let(2)
    assert (await waiting.final()).status == 200


async def test_requests_wait_for_a_replica_that_starts(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    replica = agent.reserve()
    sent = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    server = FakeReplica()
    agent.servers.append(server)
    await server.start()
    agent.agent.attach(replica, "127.0.0.1", server.port, Probe())
    assert (await sent.final()).status == 200


async def test_a_queued_request_is_dropped_when_its_timeout_passes(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    gate = Gate()
    _, server = await agent.warm(server=FakeReplica(gate))
    running = await agent.send()
    await running.dispatched()
    dropped = await agent.call("/dropped", timeout_ms=30)
    assert (dropped.status, dropped.problem["reason"], dropped.dispatched, dropped.interim) == (504, "Timeout", "0", 0)
    gate.let()
    assert (await running.final()).status == 200
    assert len(server.seen) == 1


async def test_a_gateway_that_leaves_takes_its_queued_request_with_it(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    gate = Gate()
    _, server = await agent.warm(server=FakeReplica(gate))
    running = await agent.send("/running")
    await running.dispatched()
    leaver = await agent.send("/leaver")
    stayer = await agent.send("/stayer")
    await agent.until(lambda: agent.queued() == 2)
    leaver.leave()
    await agent.until(lambda: agent.queued() == 1)
    gate.let(2)
    assert (await stayer.final()).status == 200
    assert [request.target for request in server.seen] == ["/running", "/stayer"]


async def test_the_slot_is_held_to_the_true_end_when_the_timeout_passes_meanwhile(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    gate = Gate()
    replica, server = await agent.warm(server=FakeReplica(gate))
    overrun = await agent.call("/overrun", timeout_ms=40)
    assert (overrun.status, overrun.problem["reason"], overrun.dispatched) == (504, "Timeout", "1")
    waiting = await agent.send("/next")
    await agent.until(lambda: agent.queued() == 1)
    status = agent.status(replica)
    assert status.in_flight == 1
    assert status.overdue_us is not None
    assert status.overdue_us >= 0
    gate.let(2)
    assert (await waiting.final()).status == 200
    assert agent.status(replica).overdue_us is None
    assert server.opened == 1  # what came too late was read off: the connection is used again


async def test_the_slot_is_held_to_the_true_end_when_the_gateway_leaves_meanwhile(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    gate = Gate()
    replica, server = await agent.warm(server=FakeReplica(gate))
    leaver = await agent.send("/left")
    await leaver.dispatched()
    leaver.leave()
    waiting = await agent.send("/next")
    await agent.until(lambda: agent.queued() == 1)
    assert agent.status(replica).in_flight == 1
    gate.let(2)
    assert (await waiting.final()).status == 200
    assert server.opened == 1


async def test_cancel_on_disconnect_ends_the_work_and_frees_the_slot(start: Start) -> None:
    agent = await start()
    agent.apply(function(cancel_on_disconnect=True))
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    leaver = await agent.send()
    await leaver.dispatched()
    leaver.leave()
    await agent.until(lambda: agent.status(replica).in_flight == 0)


async def test_the_policy_is_exchanged_live_without_losing_a_request(start: Start) -> None:
    agent = await start(queueing="least-slack")
    agent.apply(function())
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    sent = [await agent.send("/0")]
    await sent[0].dispatched()
    for number in range(1, 6):
        sent.append(await agent.send(f"/{number}", objective_ms=60_000 - number * 1000, timeout_ms=90_000))
        await agent.until(lambda n=number: agent.queued() == n)  # type: ignore[misc]
    agent.agent.set_queueing("fcfs")
    with pytest.raises(UnknownName):
        agent.agent.set_queueing("first-come")
    gate.let(6)
    answers = await asyncio.gather(*(one.final() for one in sent))
    assert {answer.status for answer in answers} == {200}
    assert gate.waiting == [f"/{number}" for number in range(6)]


async def test_concurrency_and_removal_act_live(start: Start) -> None:
    agent = await start()
    agent.apply(function(concurrency=1))
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    sent = [await agent.send() for _ in range(3)]
    await agent.until(lambda: agent.queued() == 2)
    agent.apply(function(concurrency=2))
    await agent.until(lambda: agent.queued() == 1)
    assert agent.status(replica).in_flight == 2
    agent.agent.set_functions({})
    assert (await agent.call()).problem["reason"] == "FunctionNotFound"
    gate.let(3)
    assert {(await one.final()).status for one in sent} == {200}


async def test_idleness_is_told_and_counts_the_queue(start: Start) -> None:
    agent = await start()
    agent.apply(function())
    changes: list[int] = []
    agent.agent.on_change(lambda: changes.append(1))
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    idle_since_us = agent.status(replica).idle_since_us
    assert idle_since_us is not None
    sent = await agent.send()
    await sent.dispatched()
    assert agent.status(replica).idle_since_us is None
    gate.let()
    await sent.final()
    await agent.until(lambda: agent.status(replica).idle_since_us is not None)
    assert (agent.status(replica).idle_since_us or 0) > idle_since_us
    assert agent.status(replica).state is ReplicaState.WARM
    await agent.until(lambda: len(changes) >= 2)
    assert len(changes) < 20
