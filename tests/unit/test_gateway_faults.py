"""Agents that refuse, vanish and lie; clients that leave; and what a request may cost then."""

import asyncio

import pytest
from gateway_fake_agent import Run, Start, chunk, function, request, serve, starting

from stoker.model.function import OnMiss, Variant
from stoker.reasons import Outcome, Reason
from stoker.wire.agent import LoadFrame

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)


async def hang_up(run: Run) -> None:
    await run.body()
    run.hang_up()


async def dispatch_and_hang_up(run: Run) -> None:
    await run.body()
    await run.processing()
    run.hang_up()


async def hang(run: Run) -> None:
    await run.processing()
    await run.gone()


async def test_a_predicted_miss_is_served_late_by_default(start: Start) -> None:
    g = await start()

    async def strict(run: Run) -> None:
        if run.header("stoker-late-ok") == "0":
            await run.refuse(Reason.PREDICTED_MISS, predicted_finish_ms=900, estimated=True)
        else:
            await serve(run)

    g.agent.on_run = strict
    answer = await g.call(method="POST", body=b"kept")
    assert (answer.status, answer.body) == (200, b"kept")
    assert [run.header("stoker-late-ok") for run in g.agent.runs] == ["0", "1"]


async def test_a_predicted_miss_is_refused_with_the_agents_figures(start: Start) -> None:
    g = await start(function(on_predicted_miss=(OnMiss.REFUSE,)))
    await g.warm(wait_ms=700.0)
    g.agent.on_run = lambda run: run.refuse(Reason.PREDICTED_MISS, predicted_finish_ms=900, estimated=True)
    answer = await g.call()
    problem = answer.problem()
    assert (answer.status, problem.reason, problem.predicted_finish_ms, problem.estimated) == (
        429,
        "PredictedMiss",
        900,
        True,
    )
    assert 50 <= int(answer.headers["stoker-retry-after-ms"]) <= 700, "what was told, less what has passed since"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["stoker-outcome"] == "refused"
    assert (await g.ended()).predicted_finish_us == 900_000
    assert g.metrics.values["stoker_requests_total", "ns", "f", "gpu", "refused", "PredictedMiss"] == 1


async def test_a_predicted_miss_is_diverted_to_the_cpu_variant_that_is_on_time(start: Start) -> None:
    g = await start(function(cpu_variant=True))
    await g.warm("ns/f", Variant.CPU, exec_ms=50.0)

    async def no_gpu(run: Run) -> None:
        if run.header("stoker-variant") == "gpu":
            await run.refuse(Reason.PREDICTED_MISS)
        else:
            await serve(run)

    g.agent.on_run = no_gpu
    assert (await g.call()).status == 200
    assert [run.header("stoker-variant") for run in g.agent.runs] == ["gpu", "cpu"]
    record = await g.ended()
    assert record.diverted
    assert any("on time there" in step.what for step in record.steps)


async def test_other_agents_are_asked_when_one_refuses_three_in_all(start: Start) -> None:
    g = await start(agents=4)
    for agent in g.agents:
        agent.on_run = lambda run: run.refuse(Reason.PREDICTED_MISS)
    g.agents[3].load("ns/f", warm=1, wait_ms=99.0)
    g.agents[1].load("ns/f", warm=1, wait_ms=0.0)
    g.gateway.set_functions({"ns/f": function(on_predicted_miss=(OnMiss.REFUSE,))})
    await asyncio.sleep(0.02)
    assert (await g.call()).status == 429
    assert [len(agent.runs) for agent in g.agents] == [1, 1, 1, 0]


async def test_a_draining_agent_is_passed_over_for_the_next(start: Start) -> None:
    g = await start(agents=2)
    g.agents[0].on_run = lambda run: run.refuse(Reason.DRAINING)
    assert (await g.call(method="POST", body=b"x")).body == b"x"
    assert len(g.agents[1].runs) == 1


async def test_a_connection_lost_before_dispatch_is_tried_again_with_the_kept_body(start: Start) -> None:
    g = await start(agents=2)
    g.agents[0].on_run = hang_up
    answer = await g.call(method="POST", body=b"kept")
    assert (answer.status, answer.body) == (200, b"kept")
    assert (await g.ended()).outcome is Outcome.SERVED


async def test_a_request_that_kills_agents_before_dispatch_ends_after_three(start: Start) -> None:
    g = await start()
    g.agent.on_run = hang_up
    calling = asyncio.create_task(g.call())
    while not calling.done():
        g.agent.heartbeat()
        await asyncio.sleep(0.005)
    answer = await calling
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert len(g.agent.runs) == 3


async def test_a_stale_kept_connection_costs_nothing(start: Start) -> None:
    g = await start()
    await g.call()
    await g.until(lambda: g.gateway._view._links[0].pool.idle == 1)
    dropped = 0

    async def drop_first(run: Run) -> None:
        nonlocal dropped
        if not dropped:
            dropped = 1
            run.hang_up()
        else:
            await serve(run)

    g.agent.on_run = drop_first
    assert (await g.call()).status == 200
    assert (await g.ended(2)).cold is False


async def test_a_connection_lost_after_dispatch_is_unknown(start: Start) -> None:
    g = await start()
    g.agent.on_run = dispatch_and_hang_up
    answer = await g.call(method="POST", body=b"x")
    assert (answer.status, answer.headers["stoker-outcome"]) == (502, "unknown")
    assert len(g.agent.runs) == 1
    assert (await g.ended()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("how", ["function", "key"])
async def test_after_dispatch_it_is_repeated_only_where_that_is_declared_harmless(start: Start, how: str) -> None:
    g = await start(function(idempotent=how == "function"), agents=2)
    g.agents[0].on_run = dispatch_and_hang_up
    headers = "idempotency-key: 7\r\n" if how == "key" else ""
    answer = await g.call(method="POST", headers=headers, body=b"x")
    assert (answer.status, answer.body) == (200, b"x")


async def test_a_repetition_goes_at_once_where_a_replica_is_warm_and_is_not_cold(start: Start) -> None:
    g = await start(function(idempotent=True))

    async def first_fails(run: Run) -> None:
        await run.body()
        if len(g.agent.runs) == 1:
            await run.processing()
            await run.refuse(Reason.REPLICA_FAILED, dispatched=1)
        elif len(g.agent.runs) == 2:
            run.hang_up()
        else:
            await serve(run)

    g.agent.on_run = first_fails
    assert (await g.call()).status == 200  # No frame of the load stream comes meanwhile.
    record = await g.ended()
    assert (record.outcome, record.cold) == (Outcome.SERVED, False)


async def test_a_streamed_body_is_never_sent_twice(start: Start) -> None:
    g = await start(agents=2)

    async def eat_and_hang_up(run: Run) -> None:
        await run.reader.readexactly(100_000)
        run.hang_up()

    g.agents[0].on_run = eat_and_hang_up
    answer = await g.call(method="POST", body=b"x" * 200_000)
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert "cannot be sent again" in answer.problem().detail
    assert not g.agents[1].runs


async def test_a_failed_replica_is_passed_on_as_the_agent_says_it(start: Start) -> None:
    g = await start()

    async def failed(run: Run) -> None:
        await run.processing()
        await run.refuse(Reason.REPLICA_FAILED, dispatched=1, detail="exit code 1")

    g.agent.on_run = failed
    answer = await g.call()
    assert (answer.status, answer.headers["stoker-outcome"]) == (502, "failed")
    assert (answer.problem().reason, answer.problem().detail) == ("ReplicaFailed", "exit code 1")
    assert "stoker-dispatched" not in answer.headers


async def test_an_expiry_at_the_agent_is_an_expiry(start: Start) -> None:
    g = await start()
    g.agent.on_run = lambda run: run.refuse(Reason.TIMEOUT)
    answer = await g.call()
    assert (answer.status, answer.headers["stoker-outcome"]) == (504, "expired")


async def test_a_replicas_own_errors_are_answers_like_any_other(start: Start) -> None:
    g = await start()

    async def own_error(run: Run) -> None:
        await run.processing()
        await run.answer(b"{}", 503, "content-type: application/problem+json\r\nretry-after: 9\r\n")

    g.agent.on_run = own_error
    answer = await g.call()
    assert (answer.status, answer.headers["stoker-outcome"]) == (503, "served")
    assert answer.headers["retry-after"] == "9"


async def test_an_answer_that_breaks_off_breaks_off_at_the_client_too(start: Start) -> None:
    g = await start()

    async def broken(run: Run) -> None:
        await run.processing()
        await run.raw(
            b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\ntransfer-encoding: chunked\r\n\r\n"
            + chunk(b"half")
        )
        await asyncio.sleep(0.01)
        run.hang_up()

    g.agent.on_run = broken
    client = await g.client()
    await client.send(request())
    assert b"200" in await client.head()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.reader.readuntil(b"0\r\n\r\n")
    record = await g.ended()
    assert (record.outcome, record.reason) == (Outcome.FAILED, Reason.REPLICA_FAILED)


async def test_garbage_from_an_agent_is_a_lost_agent(start: Start) -> None:
    g = await start(agents=2)

    async def garbage(run: Run) -> None:
        await run.raw(b"it is a nice day\r\n\r\n")

    async def refusal_that_is_none(run: Run) -> None:
        await run.raw(b"HTTP/1.1 200 OK\r\nstoker-dispatched: 0\r\ncontent-length: 2\r\n\r\n{}")

    for handler in (garbage, refusal_that_is_none):
        g.agents[0].on_run = handler
        assert (await g.call()).status == 200


async def test_the_timeout_after_dispatch_is_504_and_hangs_up_on_the_agent(start: Start) -> None:
    g = await start(function(timeout_us=50_000))
    g.agent.on_run = hang
    answer = await g.call()
    assert (answer.status, answer.headers["stoker-outcome"]) == (504, "expired")
    assert "did not answer" in answer.problem().detail
    await g.until(lambda: g.gateway._view._links[0].pool.idle == 0)
    assert g.at_rest()


async def test_the_timeout_cuts_an_answer_that_has_begun(start: Start) -> None:
    g = await start(function(timeout_us=50_000))

    async def endless(run: Run) -> None:
        await run.processing()
        await run.raw(
            b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        while True:
            await run.raw(chunk(b"tick"))
            await asyncio.sleep(0.005)

    g.agent.on_run = endless
    client = await g.client()
    await client.send(request())
    assert b"200" in await client.head()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.reader.readuntil(b"0\r\n\r\n")
    record = await g.ended()
    assert (record.outcome, record.reason) == (Outcome.EXPIRED, Reason.TIMEOUT)


async def test_a_client_that_leaves_while_queued_hangs_up_on_the_agent(start: Start) -> None:
    g = await start()
    gone = asyncio.Event()

    async def queued(run: Run) -> None:
        await run.gone()
        gone.set()

    g.agent.on_run = queued
    client = await g.client()
    await client.send(request())
    await g.agent.run_number(1)
    client.hang_up()
    await gone.wait()
    record = await g.ended()
    assert (record.reason, record.status) == (Reason.CLIENT_GONE, 0)
    await g.until(g.at_rest)


async def test_a_client_that_leaves_during_its_upload_is_noticed_though_reading_is_paused(start: Start) -> None:
    g = await start()

    async def never_reads(run: Run) -> None:
        await asyncio.sleep(30)

    g.agent.on_run = never_reads
    client = await g.client()
    client.writer.write(b"POST /ns/f/ HTTP/1.1\r\nhost: h\r\ncontent-length: 50000000\r\n\r\n" + b"x" * 350_000)
    await g.agent.run_number(1)
    await asyncio.sleep(0.05)
    client.hang_up()
    assert (await g.ended()).reason is Reason.CLIENT_GONE
    await g.until(g.at_rest)


async def test_a_body_with_broken_framing_is_400_and_never_whole_at_the_agent(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    g = await start()
    for begin in (b"", chunk(b"x" * 70_000)):
        client = await g.client()
        await client.send(request(method="POST", headers="transfer-encoding: chunked\r\n") + begin)
        if begin:
            await g.agent.run_number(1)
        await client.send(b"zz\r\nnot a chunk\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
    await g.until(g.at_rest)
    assert not any(run.body_done for run in g.agent.runs)
    assert not caplog.records  # A client's mistake is no error of ours.


async def test_a_gap_in_the_load_stream_is_healed_by_a_full_frame(start: Start) -> None:
    g = await start()
    g.agent._seq += 5
    g.agent.functions["ns/f"][Variant.GPU].warm = 3
    g.agent.heartbeat()
    await g.until(lambda: g.gateway._view.warm("ns/f", Variant.GPU) == 3)


@pytest.mark.parametrize("garbage", [b"nonsense\n", b'{"seq": "x"}\n', b"\n"])
async def test_garbage_on_the_load_stream_is_a_new_stream(start: Start, garbage: bytes) -> None:
    g = await start()
    g.agent.functions["ns/f"][Variant.GPU].warm = 2
    g.agent.say_raw(garbage)
    await g.until(lambda: g.gateway._view.warm("ns/f", Variant.GPU) == 2)


async def test_an_agent_that_stops_accepting_gets_no_new_requests(start: Start) -> None:
    g = await start(agents=2)
    g.agents[0].say(LoadFrame(seq=0, accepting=False))
    await g.until(lambda: g.gateway._view.warm("ns/f", Variant.GPU) == 1)
    assert (await g.call()).status == 200
    assert not g.agents[0].runs


async def test_a_lost_load_stream_holds_requests_until_it_is_back(start: Start) -> None:
    g = await start()
    link = g.gateway._view._links[0]
    link._stream._stale_s = 0.05
    g.agent.heartbeat()
    await asyncio.sleep(0.01)
    g.agent.accepts = False
    g.agent.hang_up_streams()
    await g.until(lambda: not link.usable)
    assert g.gateway._view.warm("ns/f", Variant.GPU) == 0
    calling = asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 1)
    link._stream._stale_s = 3.0
    g.agent.accepts = True
    assert (await calling).status == 200


async def test_without_any_agent_for_long_new_requests_are_told_so(start: Start) -> None:
    g = await start(warm=False, control_plane_grace_s=0.02)
    link = g.gateway._view._links[0]
    link._stream._stale_s = 0.02
    g.agent.heartbeat()
    g.agent.accepts = False
    await g.until(lambda: not link.usable)
    await asyncio.sleep(0.03)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert g.gateway.demand()["ns/f"][Variant.GPU].last_wake_us is not None
