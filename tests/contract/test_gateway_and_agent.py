"""Both ends of the wire: the real gateway against the real agent, with and without TLS between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, clock_us, function
from gateway_fake_agent import Client, CountingSink, chunk, request

from stoker.decisions import RequestRecord
from stoker.model.function import OnMiss, Slo, Variant
from stoker.reasons import Outcome
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.gateway import Gateway
from stoker_runtime.mtls import make_authority

pytestmark = pytest.mark.contract


class Pair:
    """A gateway before a real agent."""

    def __init__(self) -> None:
        self.node = AgentUnderTest()
        self.records: list[RequestRecord] = []
        self.gateway = Gateway(
            clock_us=clock_us,
            metrics=CountingSink(),
            settings=GatewaySettings(hangup_poll_s=0.05, lingering_s=0.1),
            on_record=self.records.append,
            why_waiting=lambda _key: "It waits.",
        )
        self.clients: list[Client] = []

    async def start(self, *, tls: bool) -> None:
        authority = make_authority() if tls else None
        await self.node.agent.start(ssl=authority.server_context() if authority else None)
        address = AgentAddress("127.0.0.1", self.node.agent.port)
        await self.gateway.start("127.0.0.1", 0, [address], authority.client_context() if authority else None)

    def apply(self, **spec: Any) -> None:
        applied = function(**spec)
        self.node.apply(applied)
        self.gateway.set_functions({applied.key: applied})

    async def close(self) -> None:
        for client in self.clients:
            client.hang_up()
        await self.gateway.stop(drain_s=0)
        await self.node.agent.stop(drain_s=0)
        for server in self.node.servers:
            await server.close()

    async def warm(self, server: FakeReplica | None = None, **where: Any) -> tuple[str, FakeReplica]:
        replica = await self.node.warm("f", server, **where)
        variant = where.get("variant", Variant.GPU)
        await self.node.until(lambda: self.gateway._view.warm("ns/f", variant) > 0)
        return replica

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.gateway.port))
        self.clients.append(client)
        return client

    async def call(self, target: str = "/ns/f/", **options: Any) -> Any:
        client = await self.client()
        await client.send(request(target, **options))
        return await client.answer()


StartPair = Callable[[], Coroutine[Any, Any, Pair]]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def start(request: pytest.FixtureRequest) -> AsyncIterator[StartPair]:
    running: list[Pair] = []

    async def begin() -> Pair:
        pair = Pair()
        running.append(pair)
        await pair.start(tls=request.param)
        return pair

    yield begin
    for pair in running:
        await pair.close()


async def echo(seen: Request) -> None:
    await seen.answer(await seen.body())


async def test_a_cold_request_waits_for_its_replica_and_is_answered_by_it(start: StartPair) -> None:
    pair = await start()
    pair.apply()
    calling = asyncio.create_task(pair.call("/ns/f/a?b", method="POST", body=b"picture"))
    await pair.node.until(lambda: bool(pair.gateway.demand()))
    _, server = await pair.warm(FakeReplica(echo))
    answer = await calling
    assert (answer.status, answer.body) == (200, b"picture")
    assert answer.headers["stoker-cold-start"] == "1"
    assert answer.headers["stoker-outcome"] == "served"
    assert "simulated" in answer.headers["stoker-device"]
    assert {part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")} == {
        "queue",
        "start",
        "exec",
    }
    seen = next(r for r in server.seen if r.method == "POST")
    assert seen.target == "/a?b"
    assert seen.header("stoker-request-id") == answer.headers["stoker-request-id"]
    assert pair.records[0].outcome is Outcome.SERVED
    assert pair.records[0].exec_us is not None


async def test_warm_requests_keep_their_connections_and_their_order(start: StartPair) -> None:
    pair = await start()
    pair.apply()
    await pair.warm(FakeReplica(echo))
    client = await pair.client()
    for i in range(20):
        await client.send(request(method="POST", body=b"%d" % i))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.headers["stoker-cold-start"]) == (200, b"%d" % i, "0")


async def test_a_large_body_goes_through_whole(start: StartPair) -> None:
    pair = await start()
    pair.apply()
    await pair.warm(FakeReplica(echo))
    body = bytes(range(256)) * 8192
    assert (await pair.call(method="POST", body=body)).body == body
    client = await pair.client()
    await client.send(request(method="POST", headers="transfer-encoding: chunked\r\nexpect: 100-continue\r\n"))
    assert b" 100 " in await client.head()
    for i in range(0, len(body), 300_000):
        await client.send(chunk(body[i : i + 300_000]))
    await client.send(b"0\r\n\r\n")
    assert (await client.answer()).body == body


async def test_a_predicted_miss_is_refused_with_a_time_to_come_back(start: StartPair) -> None:
    pair = await start()
    pair.apply(on_predicted_miss=(OnMiss.REFUSE,), slo=Slo(latency_us=30_000))
    gate = Gate()
    await pair.warm(FakeReplica(gate))
    calls = [asyncio.create_task(pair.call())]
    await pair.node.until(lambda: len(gate.waiting) == 1)
    await asyncio.sleep(0.05)
    refused = await pair.call()
    while refused.status == 200:
        refused = await pair.call()
    assert (refused.status, refused.problem().reason) == (429, "PredictedMiss")
    assert int(refused.headers["stoker-retry-after-ms"]) >= 50
    gate.let(1)
    assert (await calls[0]).status == 200


async def test_a_replica_that_dies_after_dispatch_is_502_and_one_that_is_gone_is_waited_for(start: StartPair) -> None:
    pair = await start()
    pair.apply()

    async def die(seen: Request) -> None:
        if seen.method == "POST":
            seen.hang_up()
        else:
            await seen.answer()

    replica, _ = await pair.warm(FakeReplica(die))
    answer = await pair.call(method="POST", body=b"x")
    assert answer.status == 502
    assert answer.headers["stoker-outcome"] == "failed"
    pair.node.agent.detach(replica)
    calling = asyncio.create_task(pair.call(method="POST", body=b"x"))
    await pair.node.until(lambda: bool(pair.gateway._live))
    await pair.warm(FakeReplica(echo), ordinal=1)
    assert (await calling).status == 200


async def test_a_client_that_leaves_gives_its_place_in_the_agents_queue_back(start: StartPair) -> None:
    pair = await start()
    pair.apply()
    gate = Gate()
    await pair.warm(FakeReplica(gate))
    first = asyncio.create_task(pair.call(method="POST", body=b"x"))
    await pair.node.until(lambda: len(gate.waiting) == 1)
    client = await pair.client()
    await client.send(request(method="POST", body=b"y"))
    await pair.node.until(lambda: pair.node.queued() == 1)
    client.hang_up()
    await pair.node.until(lambda: pair.node.queued() == 0)
    gate.let(1)
    assert (await first).status == 200


async def test_events_pass_one_by_one(start: StartPair) -> None:
    pair = await start()
    pair.apply()
    tick: asyncio.Queue[bytes] = asyncio.Queue()

    async def events(seen: Request) -> None:
        await seen.body()
        if seen.target != "/events":
            await seen.answer()
            return
        await seen.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while event := await tick.get():
            await seen.raw(chunk(event))
        await seen.raw(b"0\r\n\r\n")

    await pair.warm(FakeReplica(events))
    client = await pair.client()
    await client.send(request("/ns/f/events"))
    assert b"text/event-stream" in await client.head()
    for i in range(3):
        tick.put_nowait(b"data: %d\n\n" % i)
        assert (await client.reader.readuntil(b"\n\n\r\n")).endswith(b"data: %d\n\n\r\n" % i)
    tick.put_nowait(b"")
    assert (await client.reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
