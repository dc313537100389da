"""Replicas that crash, refuse, hang, answer garbage or half; the agent's answers and the state after them."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, function, gpu

from stoker.model.function import Probe
from stoker.reasons import Reason
from stoker_runtime.http_client import ConnectionLost

pytestmark = pytest.mark.unit


@pytest.fixture
async def agent() -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest(gpu("sim-0"), gpu("sim-1"), replica_back_off_s=0.05, cut_grace_s=0.05).start()
    under_test.apply(function())
    yield under_test
    await under_test.close()


async def test_garbage_is_502_and_the_slot_is_free_again(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.body()
        await request.raw(b"SSH-2.0-OpenSSH_9.2\r\n")

    replica, _ = await agent.warm(server=FakeReplica(handler))
    answer = await agent.call()
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (502, "BadReplicaAnswer", "1")
    assert agent.status(replica).in_flight == 0


async def test_a_crash_before_the_answer_is_502_and_is_not_tried_again(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.body()
        request.hang_up()

    _, server = await agent.warm(server=FakeReplica(handler))
    answer = await agent.call()
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (502, "ReplicaFailed", "1")
    assert len(server.seen) == 1


@pytest.mark.parametrize("framing", ["content-length: 100", "transfer-encoding: chunked"])
async def test_half_an_answer_never_looks_whole(agent: AgentUnderTest, framing: str) -> None:
    async def handler(request: Request) -> None:
        await request.raw(b"HTTP/1.1 200 OK\r\n" + framing.encode() + b"\r\n\r\n5\r\nhalf\n\r\n")
        await asyncio.sleep(0.02)
        request.hang_up()

    replica, _ = await agent.warm(server=FakeReplica(handler))
    with pytest.raises(ConnectionLost):
        await agent.call()
    await agent.until(lambda: agent.status(replica).in_flight == 0)


async def test_an_answer_that_ends_with_its_connection_is_whole(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.body()
        await request.raw(b"HTTP/1.0 200 OK\r\n\r\nold ")
        await request.raw(b"style")
        request._writer.close()

    await agent.warm(server=FakeReplica(handler))
    assert (await agent.call()).body == b"old style"


async def test_a_stale_kept_connection_costs_no_request(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    server.idle_hang_up = True
    for _ in range(5):
        assert (await agent.call("/", b"body")).status == 200


@pytest.mark.parametrize(
    ("method", "extra", "runs"), [("POST", {}, 1), ("POST", {"idempotency-key": "7"}, 2), ("GET", {}, 2)]
)
async def test_on_a_kept_connection_only_what_may_run_twice_is_sent_twice(
    agent: AgentUnderTest, method: str, extra: dict[str, str], runs: int
) -> None:
    """A connection that was stale looks like a worker that died of the request, before a server that goes on."""

    async def first_dies(request: Request) -> None:
        await request.body()
        if server.opened == opened:
            request.hang_up()
        await request.answer()

    _, server = await agent.warm()
    assert (await agent.call()).status == 200
    opened, before = server.opened, len(server.seen)
    server.handler = first_dies
    assert (await agent.call(method=method, extra=extra)).status == (200 if runs == 2 else 502)
    assert len(server.seen) - before == runs


async def test_a_replica_that_refuses_connections_loses_its_request_to_another_one(agent: AgentUnderTest) -> None:
    gates = Gate(), Gate()
    broken, _ = await agent.warm(server=FakeReplica(gates[0]))
    await agent.warm(server=FakeReplica(gates[1]), device="sim-1", ordinal=1)
    await agent.servers[0].close()
    sent = [await agent.send() for _ in range(3)]
    gates[1].let(3)
    answers = [await one.final() for one in sent]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["stoker-device"] for answer in answers} == {"A100-40GB/sim-1 (simulated)"}
    assert {answer.interim for answer in answers} == {1}
    assert agent.status(broken).in_flight == 0


async def test_a_request_to_a_lone_replica_that_refuses_connections_waits_until_it_accepts_them(
    agent: AgentUnderTest,
) -> None:
    _, server = await agent.warm()
    await server.close()
    waiting = await agent.send(body=b"kept")
    await agent.until(lambda: agent.queued() == 1)
    await server.start()
    answer = await waiting.final()
    assert (answer.status, answer.interim, answer.dispatched) == (200, 1, "1")


async def test_a_request_whose_replica_goes_before_it_accepts_a_connection_was_never_dispatched(
    agent: AgentUnderTest,
) -> None:
    replica, server = await agent.warm()
    await server.close()
    waiting = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    agent.agent.detach(replica, Reason.REPLICA_FAILED)
    answer = await waiting.final()
    assert (answer.problem["reason"], answer.interim, answer.dispatched) == ("NoReplica", 0, "0")


async def test_a_replica_that_refuses_connections_for_good_is_502(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    await server.close()
    answer = await agent.call()
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (502, "ReplicaFailed", "0")


async def test_what_a_process_that_ended_still_ran_is_502_and_its_devices_are_free(agent: AgentUnderTest) -> None:
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    running = await agent.send()
    await running.dispatched()
    queued = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    agent.agent.detach(replica, Reason.CRASH_LOOP)
    assert agent.agent.reservations() == ()
    assert agent.agent.replicas() == ()
    failed = await running.final()
    assert (failed.status, failed.problem["reason"], failed.dispatched) == (502, "ReplicaFailed", "1")
    held = await queued.final()
    assert (held.status, held.problem["reason"], held.dispatched) == (503, "NoReplica", "0")
    assert agent.agent.queued() == {}


async def test_the_last_answer_of_a_process_that_ended_still_arrives(agent: AgentUnderTest) -> None:
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    sent = await agent.send("/last")
    await sent.dispatched()
    gate.let()
    agent.agent.detach(replica)
    assert (await sent.final()).body == b"/last"


async def test_queued_requests_wait_while_a_successor_starts(agent: AgentUnderTest) -> None:
    gate = Gate()
    old, _ = await agent.warm(server=FakeReplica(gate))
    running = await agent.send()
    await running.dispatched()
    queued = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    successor = FakeReplica()
    agent.servers.append(successor)
    await successor.start()
    new = agent.reserve(ordinal=1, device="sim-1")
    draining = asyncio.create_task(agent.agent.drain(old))
    await asyncio.sleep(0.01)
    assert agent.queued() == 1
    agent.agent.attach(new, "127.0.0.1", successor.port, Probe())
    assert (await queued.final()).status == 200
    assert not draining.done()
    gate.let()
    await draining
    assert (await running.final()).status == 200


async def test_a_begun_answer_that_stalls_is_cut_after_its_timeout(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal")
        await request.gone()

    await agent.warm(server=FakeReplica(handler))
    with pytest.raises(ConnectionLost):
        await agent.call(timeout_ms=30)


async def test_a_gateway_that_does_not_read_stops_the_replica_not_the_agent(agent: AgentUnderTest) -> None:
    size = 64 * 2**20

    async def handler(request: Request) -> None:
        await request.raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            await request.raw(bytes(2**20))
            request.body_read += 2**20

    _, server = await agent.warm(server=FakeReplica(handler))
    sent = await agent.send()
    await sent.dispatched()
    await sent.next_head()
    await asyncio.sleep(0.1)
    assert server.seen[0].body_read < size // 2
    read = 0
    while chunk := await sent.connection.read():
        read += len(chunk)
    assert read == size


async def test_a_storm_of_everything_that_goes_wrong_leaks_no_slot_and_no_request(agent: AgentUnderTest) -> None:
    draw = random.Random(7)

    async def handler(request: Request) -> None:
        await request.body()
        match draw.randrange(6):
            case 0:
                request.hang_up()
            case 1:
                await request.raw(b"garbage\r\n\r\n")
            case 2:
                await request.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                request.hang_up()
            case 3:
                await asyncio.sleep(0.02)
                await request.answer()
            case _:
                await request.answer()

    agent.apply(function(concurrency=3))
    replicas = [(await agent.warm(server=FakeReplica(handler), device=f"sim-{n}", ordinal=n))[0] for n in range(2)]
    ends: list[int] = []

    async def one() -> None:
        await asyncio.sleep(draw.random() * 0.2)
        sent = await agent.send(body=b"x" * draw.choice((0, 10, 300_000)), timeout_ms=draw.choice((5, 20, 3000)))
        if draw.randrange(4) == 0:
            await asyncio.sleep(draw.random() * 0.02)
            sent.leave()
            ends.append(0)
            return
        try:
            ends.append((await sent.final()).status)
        except ConnectionLost:
            ends.append(1)

    await asyncio.gather(*(one() for _ in range(300)))
    assert set(ends) <= {0, 1, 200, 502, 504}
    assert len(ends) == 300
    await agent.until(lambda: not agent.agent._dispatcher.active)
    for replica in replicas:
        status = agent.status(replica)
        assert (status.in_flight, status.overdue_us) == (0, None)
        assert status.idle_since_us is not None
    assert agent.agent.queued() == {}
    assert agent.agent._dispatcher.policy.queued() == 0
    table = agent.agent._table
    assert [device.running for device in table.devices.values()] == [0, 0]
    assert table.flows["ns/f"].running == table.flows["ns/f"].promised_us == 0
    assert sum(len(ready) for device in table.devices.values() for ready in device.ready.values()) == 2
