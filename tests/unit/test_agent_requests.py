"""What the agent answers: heads, headers, refusals, predictions, grants."""

from collections.abc import AsyncIterator

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, function

from stoker.wire.agent import H_DISPATCHED
from stoker_runtime.http_client import ConnectFailed, HttpPool
from stoker_runtime.mtls import make_authority

pytestmark = pytest.mark.unit


@pytest.fixture
async def agent() -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest().start()
    under_test.apply(function())
    yield under_test
    await under_test.close()


async def test_a_request_is_answered_by_the_replica_with_device_and_timing(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    answer = await agent.call("/read?page=2", b"picture")
    assert (answer.status, answer.body, answer.interim, answer.dispatched) == (200, b"ok", 1, "1")
    assert answer.headers["stoker-device"] == "A100-40GB/sim-0 (simulated)"
    assert answer.headers["server-timing"].startswith("queue;dur=")
    assert (server.seen[0].method, server.seen[0].target) == ("POST", "/read?page=2")


async def test_the_gateway_hears_of_the_dispatch_before_the_replica_has_answered(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    sent = await agent.send()
    await sent.dispatched()
    gate.let()
    assert (await sent.final()).status == 200


async def test_the_replica_sees_the_client_s_headers_and_none_of_the_hop(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    hop = {
        "X-Own": "kept",
        "Idempotency-Key": "k1",
        "Connection": "x-listed, keep-alive",
        "X-Listed": "dropped",
        "TE": "trailers",
        "Expect": "100-continue",
    }
    await agent.call(extra=hop, request_id="id-7")
    names = {name for name, _ in server.seen[0].headers}
    assert names == {"host", "x-own", "idempotency-key", "stoker-request-id"}
    assert server.seen[0].header("host") == "f.ns"
    assert server.seen[0].header("stoker-request-id") == "id-7"


async def test_platform_headers_of_a_replica_are_dropped_and_others_pass(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.body()
        headers = "Server: own\r\nStoker-Dispatched: 0\r\nStoker-Outcome: lies\r\nConnection: close, x-a\r\nX-A: 1\r\n"
        await request.answer(headers=headers)

    await agent.warm(server=FakeReplica(handler))
    answer = await agent.call()
    assert answer.headers["server"] == "own"
    assert [value for name, value in answer.head.headers if name == H_DISPATCHED.encode()] == [b"1"]
    assert not answer.headers.keys() & {"stoker-outcome", "connection", "x-a"}


@pytest.mark.parametrize("target", ["", "?q=1"])
async def test_a_path_that_is_empty_becomes_the_root(agent: AgentUnderTest, target: str) -> None:
    _, server = await agent.warm()
    assert (await agent.call(target)).status == 200
    assert server.seen[0].target == "/" + target


async def test_answers_without_a_body_keep_the_connection_in_step(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        if request.method == "HEAD":
            await request.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        else:
            await request.raw(b"HTTP/1.1 204 No Content\r\n\r\n")

    await agent.warm(server=FakeReplica(handler))
    for _ in range(2):
        head = await agent.call(method="HEAD")
        assert (head.status, head.headers["content-length"], head.body) == (200, "1000", b"")
        assert (await agent.call(method="DELETE")).status == 204
    assert agent.pool.idle == 1


async def test_interim_answers_of_the_replica_stay_there(agent: AgentUnderTest) -> None:
    async def handler(request: Request) -> None:
        await request.body()
        await request.raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await request.answer()

    await agent.warm(server=FakeReplica(handler))
    answer = await agent.call()
    assert (answer.status, answer.interim) == (200, 1)


async def test_events_reach_the_gateway_one_by_one(agent: AgentUnderTest) -> None:
    steps: list[str] = []
    gate = Gate()

    async def handler(request: Request) -> None:
        await request.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in (b"one", b"two"):
            await request.raw(b"3\r\n" + event + b"\r\n")
            steps.append(event.decode())
            await gate._permits.acquire()
        await request.raw(b"0\r\n\r\n")

    await agent.warm(server=FakeReplica(handler))
    sent = await agent.send()
    await sent.dispatched()
    assert (await sent.next_head()).chunked
    assert (await sent.connection.read(), steps) == (b"one", ["one"])
    gate.let()
    assert await sent.connection.read() == b"two"
    gate.let()
    assert await sent.connection.read() == b""


async def test_what_the_agent_cannot_serve_is_refused_by_name(agent: AgentUnderTest) -> None:
    unknown = await agent.call(name="other")
    assert (unknown.status, unknown.problem["reason"], unknown.dispatched) == (404, "FunctionNotFound", "0")
    cold = await agent.call()
    assert (cold.status, cold.problem["reason"], cold.dispatched) == (503, "NoReplica", "0")
    variant = await agent.call(variant="cpu")
    assert (variant.status, variant.problem["reason"]) == (503, "NoReplica")
    assert agent.pool.idle == 1  # none of it cost the connection


@pytest.mark.parametrize("value", ["", "soon", "nan", "1e400", "--1"])
async def test_a_remaining_time_that_is_no_number_is_malformed(agent: AgentUnderTest, value: str) -> None:
    await agent.warm()
    answer = await agent.call(extra={"stoker-objective-ms": value})
    assert (answer.status, answer.problem["reason"]) == (400, "MalformedRequest")


async def test_a_timeout_that_has_passed_is_not_dispatched(agent: AgentUnderTest) -> None:
    _, server = await agent.warm()
    answer = await agent.call(timeout_ms=-3)
    assert (answer.status, answer.problem["reason"], answer.dispatched) == (504, "Timeout", "0")
    assert not server.seen


async def test_a_path_that_agents_do_not_have_is_404(agent: AgentUnderTest) -> None:
    assert (await agent.call(path="/v1/runaway")).status == 404


async def test_garbage_instead_of_a_request_is_400(agent: AgentUnderTest) -> None:
    connection = await agent.pool.connect()
    connection.start(b"GARBAGE\r\n\r\n")
    assert (await connection.head()).status == 400


async def test_a_predicted_miss_is_refused_with_when_it_would_end_unless_late_is_fine(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    predictions = agent.agent.prediction()
    for _ in range(20):
        predictions.observe_exec("ns/f", agent.functions["ns/f"].primary, "A100-40GB", 100_000)
    running = await agent.send()
    await running.dispatched()
    queued = await agent.send(objective_ms=250, late_ok=False)  # predicted: at most 200 ms
    missed = await agent.call(objective_ms=150, late_ok=False)
    assert (missed.status, missed.problem["reason"], missed.dispatched) == (429, "PredictedMiss", "0")
    assert 150 < missed.problem["predictedFinishMs"] <= 201
    assert missed.problem["retryAfterMs"] >= 50
    assert "estimated" not in missed.problem, "the policy has a schedule"
    late = await agent.send(objective_ms=150)
    await agent.until(lambda: agent.queued() == 2)
    gate.let(3)
    assert [(await sent.final()).status for sent in (running, queued, late)] == [200, 200, 200]


async def test_a_grant_is_kept_when_the_prediction_has_turned(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    status, connection = await agent.admit(request_id="granted", late_ok=False)
    assert status == 200
    other = await agent.send()  # takes the only slot meanwhile
    await other.dispatched()
    # Judged again it would be refused: what runs is predicted to take 125 ms, and so is it.
    sent = await agent.send(on=connection, request_id="granted", late_ok=False, objective_ms=200)
    await agent.until(lambda: agent.queued() == 1)
    gate.let(2)
    assert (await sent.final()).status == 200


async def test_outstanding_grants_count_as_work_ahead(agent: AgentUnderTest) -> None:
    await agent.warm()  # its prior is half of its objective: 125 ms
    # With the first margin, a quarter: 157 ms, 313 ms, 469 ms.
    granted = [await agent.admit(request_id=f"g{number}", late_ok=False, objective_ms=400) for number in range(4)]
    assert [status for status, _ in granted] == [200, 200, 429, 429]


async def test_a_grant_is_for_its_own_request_only(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    _, connection = await agent.admit(request_id="a", late_ok=False)
    running = await agent.send()
    await running.dispatched()
    answer = await agent.call(on=connection, request_id="b", late_ok=False, objective_ms=1)
    assert answer.problem["reason"] == "PredictedMiss"
    gate.let()
    await running.final()


async def test_the_same_request_id_twice_is_two_requests(agent: AgentUnderTest) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    sent = [await agent.send(request_id="same") for _ in range(3)]
    await agent.until(lambda: agent.queued() == 2)
    gate.let(3)
    assert [(await one.final()).status for one in sent] == [200, 200, 200]


async def test_with_mutual_tls_only_holders_of_the_gateway_s_certificate_are_heard() -> None:
    authority = make_authority()
    under_test = AgentUnderTest()
    under_test.apply(function())
    await under_test.agent.start(ssl=authority.server_context())
    under_test.pool = HttpPool("127.0.0.1", under_test.agent.port, ssl=authority.client_context())
    await under_test.warm()
    assert (await under_test.call("/", b"x" * 300_000)).status == 200
    stranger = HttpPool("127.0.0.1", under_test.agent.port, ssl=make_authority().client_context())
    with pytest.raises(ConnectFailed):
        await stranger.connect()
    await stranger.close()
    await under_test.close()
