"""Replicas that crash, hang, never get ready or answer garbage; clients that leave; a platform that is stopped."""

import asyncio
import signal

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


async def test_a_replica_that_crashes_is_502_and_is_replaced(platform: Platform) -> None:
    platform.apply(function("fragile"))
    await platform.start()
    answer = await platform.call("fragile", "/crash")
    assert answer.status == 502
    assert answer.problem["reason"] == "ReplicaFailed"
    assert answer.headers["Stoker-Outcome"] == "failed"
    assert (await platform.call("fragile")).status == 200


async def test_an_idempotent_request_is_tried_again_after_a_crash(platform: Platform) -> None:
    platform.apply(function("again", idempotent=True))
    await platform.start()
    assert (await platform.call("again")).status == 200
    assert (await platform.call("again", "/crash")).status == 502
    assert len([event for event in platform.events("begin") if event[3] == "/crash"]) >= 2


async def test_a_replica_that_answers_garbage_is_502(platform: Platform) -> None:
    platform.apply(function("odd"))
    await platform.start()
    answer = await platform.call("odd", "/garbage")
    assert (answer.status, answer.problem["reason"]) == (502, "BadReplicaAnswer")
    assert (await platform.call("odd")).status == 200


async def test_an_answer_that_breaks_off_never_looks_complete(platform: Platform) -> None:
    platform.apply(function("breaks"))
    await platform.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(b"GET /default/breaks/half HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    assert b"only this" in answer
    assert b"content-length: 1000" in answer.lower()
    writer.close()


async def test_a_replica_that_hangs_times_out_and_is_replaced_after_its_grace(platform: Platform) -> None:
    platform.apply(
        function(
            "hangs",
            timeout="1s",
            slo={"latency": "500ms"},
            scaling={"maxReplicas": 1},
            container={"terminationGracePeriod": "1s"},
        )
    )
    await platform.start()
    assert (await platform.call("hangs")).status == 200
    answer = await platform.call("hangs", "/hang")
    assert (answer.status, answer.headers["Stoker-Outcome"]) == (504, "expired")

    async def again() -> bool:
        return (await platform.call("hangs")).status == 200

    await platform.until(again, "a new replica answers", 20)
    assert await platform.metric("stoker_replica_failures_total", function="hangs", reason="ReplicaHung") == 1


async def test_a_replica_that_never_gets_ready_ends_the_request_at_its_timeout_saying_so(platform: Platform) -> None:
    platform.apply(
        function(
            "never", env={"NEVER_READY": "1"}, container={"startupTimeout": "1s"}, timeout="4s", slo={"latency": "1s"}
        )
    )
    await platform.start()
    answer = await platform.call("never")
    assert answer.status == 504
    assert "startupTimeout 1 s" in answer.problem["detail"]
    assert await platform.metric("stoker_replica_failures_total", function="never", reason="StartTimeout") >= 1


async def test_a_function_that_cannot_start_backs_off_and_shows_its_last_words(platform: Platform) -> None:
    platform.apply(function("dies", env={"FAIL_START": "1"}, timeout="4s", slo={"latency": "1s"}))
    await platform.start()
    answer = await platform.call("dies")
    assert answer.status == 504
    assert "FAIL_START is set" in str((await platform.state())["functions"]["default/dies"])
    assert 2 <= len(platform.events("start")) <= 8


async def test_a_client_that_disconnects_after_dispatch_leaves_the_slot_busy_to_the_true_end(
    platform: Platform,
) -> None:
    platform.apply(function("slot", scaling={"minReplicas": 1, "maxReplicas": 1}))
    await platform.start(gpus="1xA100-40GB")
    await platform.until_warm("slot")
    _, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(b"GET /default/slot/sleep?ms=1500&id=left HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await platform.until(lambda: platform.events("begin"), "it runs")
    writer.transport.abort()
    assert (await platform.call("slot", "/sleep?ms=1&id=next")).status == 200
    order = [(event[2], event[4]) for event in platform.events() if event[2] in ("begin", "end")]
    assert order.index(("end", "left")) < order.index(("begin", "next"))


async def test_sigterm_under_load_loses_nothing_that_was_accepted(platform: Platform) -> None:
    platform.apply(function("load", scaling={"minReplicas": 2, "maxReplicas": 2}))
    await platform.start()
    await platform.until_warm("load", 2)
    answers = []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        writer.write(f"GET /default/load/sleep?ms=200&id={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        line = await reader.readline()
        answers.append((number, line.split()[1] if line else b"lost"))
        writer.close()

    clients = [asyncio.create_task(client(number)) for number in range(30)]
    await platform.until(lambda: len(platform.events("begin")) >= 4, "some run, the others queue")
    platform.send_signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    assert {status for _, status in answers} == {b"200"}
    assert await platform.stop() == 0
    assert platform.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_however_serve_is_ended_no_replica_stays(platform: Platform, number: signal.Signals) -> None:
    platform.apply(function("a", scaling={"minReplicas": 2}))
    await platform.start()
    await platform.until_warm("a", 2)
    await platform.stop(number)
    await platform.until(lambda: platform.processes() == [], "nothing is left running")


async def test_malformed_http_is_refused_and_never_forwarded(platform: Platform) -> None:
    platform.apply(function("strict", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("strict")
    for request in (
        (
            b"POST /default/strict/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"POST /default/strict/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /default/strict/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET /default/strict/ HTTP/1.1\nHost: a\n\n",
        b"GET /default/strict/ HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        b"GET /default/strict/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /default/strict/\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), 5)
        assert line.split()[1:2] in ([b"400"], [b"431"]), (request[:60], line)
        writer.close()
    assert platform.events("begin") == []
