"""Request bodies: when a body makes a request eligible, back pressure, rate, and memory that stays flat."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, Sent, function

from stoker.wire.agent import DISPATCH_BYTES
from stoker_runtime.http_client import HttpConnection

pytestmark = pytest.mark.unit

CHUNKED = {"transfer-encoding": "chunked"}
MIB = 2**20


@pytest.fixture
async def agent() -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest(body_window_s=0.15, hang_up_poll_s=0.05).start()
    under_test.apply(function())
    yield under_test
    await under_test.close()


async def begin(agent: AgentUnderTest, size: int | None, **options: Any) -> tuple[Sent, HttpConnection]:
    """Send the head of a request whose body follows."""
    extra = CHUNKED if size is None else {"content-length": str(size)}
    sent = await agent.send(extra=extra, **options)
    return sent, sent.connection


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_slow_upload_holds_no_slot(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    sent, connection = await begin(agent, 10)
    await connection.send(b"01234")
    assert (await agent.call("/fast")).status == 200
    await connection.send(b"56789")
    assert (await sent.final()).status == 200
    assert [request.target for request in server.seen] == ["/fast", "/"]


async def test_a_request_is_queued_by_when_it_came_not_by_when_its_body_was_here(agent: AgentUnderTest) -> None:
    agent.agent.set_queueing("fcfs")
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    running = await agent.send("/running")
    await running.dispatched()
    early, connection = await begin(agent, 2)
    await connection.send(b"a")
    await agent.until(lambda: len(agent.agent._dispatcher.active) == 2)
    later = await agent.send("/later")
    await agent.until(lambda: agent.queued() == 1)
    await connection.send(b"b")
    await agent.until(lambda: agent.queued() == 2)
    gate.let(3)
    for sent in (running, early, later):
        assert (await sent.final()).status == 200
    assert gate.waiting == ["/running", "/", "/later"]


async def test_a_large_body_is_dispatched_when_enough_is_here_and_streams_on(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.answer(str(len(await request.body())).encode())

    _, server = await agent.warm(server=FakeReplica(handler))
    sent, connection = await begin(agent, MIB)
    await connection.send(bytes(DISPATCH_BYTES - 1))
    await asyncio.sleep(0.02)
    assert not server.seen
    await connection.send(b"x")
    await sent.dispatched()
    await connection.send(bytes(MIB - DISPATCH_BYTES))
    answer = await sent.final()
    assert (answer.status, answer.body) == (200, str(MIB).encode())
    assert server.seen[0].header("content-length") == str(MIB)


async def test_a_chunked_body_arrives_whole_with_or_without_known_size(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.answer(await request.body())

    _, server = await agent.warm(server=FakeReplica(handler))
    small, connection = await begin(agent, None)
    await connection.send(framed(b"hello ") + framed(b"world") + b"0\r\nx-trailer: 1\r\n\r\n")
    assert (await small.final()).body == b"hello world"
    assert server.seen[0].header("content-length") == "11"
    large, connection = await begin(agent, None)
    for _ in range(6):
        await connection.send(framed(bytes(65536)))
    await large.dispatched()
    await connection.send(framed(b"end") + b"0\r\n\r\n")
    assert len((await large.final()).body) == 6 * 65536 + 3
    assert server.seen[1].header("transfer-encoding") == "chunked"


async def test_an_undispatched_body_is_not_read_beyond_the_bound(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    running = await agent.send("/running")
    await running.dispatched()
    sent, connection = await begin(agent, 100 * MIB)
    pushing = asyncio.create_task(_push(connection, 100 * MIB))
    await agent.until(lambda: agent.queued() == 1)
    await asyncio.sleep(0.05)
    (held,) = [call for call in agent.agent._dispatcher.active if call.flow.key == "ns/f" and call.body]
    assert held.body_received < 2 * DISPATCH_BYTES
    assert not pushing.done()
    sent.leave()
    pushing.cancel()
    gate.let()
    await running.final()


async def test_a_gateway_that_leaves_is_noticed_while_its_body_is_not_read(agent: AgentUnderTest) -> None:
    gate = Gate()
    _, server = await agent.warm(server=FakeReplica(gate))
    running = await agent.send("/running")
    await running.dispatched()
    sent, connection = await begin(agent, 100 * MIB)
    await connection.send(bytes(DISPATCH_BYTES + 1000))
    await agent.until(lambda: agent.queued() == 1)
    sent.leave()
    await agent.until(lambda: agent.queued() == 0)
    gate.let()
    await running.final()
    assert len(server.seen) == 1


async def test_a_body_of_100_mib_passes_without_being_held(agent: AgentUnderTest) -> None:
    peak = 0

    async def handler(request: Request) -> None:
        nonlocal peak
        reading = asyncio.create_task(request.body(keep=False))
        while not reading.done():
            await asyncio.sleep(0.005)
            peak = max([peak, *(call.body_buffered for call in agent.agent._dispatcher.active)])
        await request.answer(str(request.body_read).encode())

    await agent.warm(server=FakeReplica(handler))
    sent, connection = await begin(agent, 100 * MIB)
    pushing = asyncio.create_task(_push(connection, 100 * MIB))
    answer = await sent.final()
    await pushing
    assert answer.body == str(100 * MIB).encode()
    assert peak < 4 * DISPATCH_BYTES


async def _push(connection: HttpConnection, size: int) -> None:
    piece = bytes(256 * 1024)
    try:
        for _ in range(size // len(piece)):
            await connection.send(piece)
    except ConnectionError:
        pass  # the test left


async def test_a_body_that_stalls_after_dispatch_is_408_and_frees_the_slot(agent: AgentUnderTest) -> None:
    replica, server = await agent.warm()
    sent, connection = await begin(agent, MIB)
    await connection.send(bytes(DISPATCH_BYTES))
    answer = await sent.final()
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (408, "BodyTooSlow", "1")
    assert not answer.head.keep_alive
    assert agent.status(replica).in_flight == 0
    assert (await agent.call()).status == 200
    assert server.opened == 2


async def test_a_replica_that_reads_slowly_is_not_the_clients_fault(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(0.4)  # longer than two windows
        await request.answer(str(len(await request.body())).encode())

    await agent.warm(server=FakeReplica(handler))
    sent, connection = await begin(agent, 16 * MIB)
    await _push(connection, 16 * MIB)
    assert (await sent.final()).body == str(16 * MIB).encode()


async def test_an_answer_before_the_body_has_ended_is_passed_on_and_ends_the_connection(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.answer(b"no", status=413)

    await agent.warm(server=FakeReplica(handler))
    sent, connection = await begin(agent, MIB)
    await connection.send(bytes(DISPATCH_BYTES))
    answer = await sent.final()
    assert (answer.status, answer.body, answer.head.keep_alive) == (413, b"no", False)
    assert (await agent.call()).status == 413


async def test_a_gateway_that_leaves_within_the_body_frees_the_slot(agent: AgentUnderTest) -> None:
    replica, _ = await agent.warm()
    sent, connection = await begin(agent, MIB)
    await connection.send(bytes(DISPATCH_BYTES))
    await sent.dispatched()
    sent.leave()
    await agent.until(lambda: agent.status(replica).in_flight == 0)


async def test_the_timeout_ends_a_body_that_never_comes(agent: AgentUnderTest) -> None:
    await agent.warm()
    sent, _ = await begin(agent, 10, timeout_ms=30)
    answer = await sent.final()
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (504, "Timeout", "0")
    assert not agent.agent._dispatcher.active


async def test_a_refused_large_body_is_not_read_but_the_refusal_arrives(agent: AgentUnderTest) -> None:
    sent, connection = await begin(agent, 100 * MIB)
    await connection.send(bytes(MIB))
    answer = await sent.final()
    assert (answer.status, answer.problem["reason"], answer.head.keep_alive) == (503, "NoReplica", False)
