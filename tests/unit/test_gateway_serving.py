"""Warm requests through the gateway: routing, headers, bodies both ways, and what it says in its answers."""

import asyncio
import re
import socket

import pytest
from gateway_fake_agent import Run, Start, chunk, function, request, starting

from stoker.model.function import Measure, Slo
from stoker.reasons import Outcome, Reason
from stoker_runtime.http_client import MAX_HEADERS

pytestmark = pytest.mark.unit

start = pytest.fixture(starting)


async def test_a_warm_request_is_served_in_one_exchange_and_its_answer_says_everything(start: Start) -> None:
    g = await start()
    answer = await g.call("/ns/f/predict?x=1", method="POST", body=b"picture")
    assert (answer.status, answer.body) == (200, b"picture")
    assert not g.agent.admissions
    assert len(g.agent.runs) == 1
    assert answer.headers["stoker-outcome"] == "served"
    assert answer.headers["stoker-cold-start"] == "0"
    assert answer.headers["stoker-device"] == "A100/sim-0"
    assert answer.headers["server-timing"] == "queue;dur=1.5, exec;dur=2.25, start;dur=0.0"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["stoker-request-id"])
    assert answer.headers["server"] == "stoker"
    assert "stoker-dispatched" not in answer.headers
    record = await g.ended()
    assert (record.outcome, record.on_time, record.cold, record.status) == (Outcome.SERVED, True, False, 200)
    assert record.id == answer.headers["stoker-request-id"]
    assert (record.function, record.path, record.device) == ("ns/f", "/ns/f/predict?x=1", "A100/sim-0")
    assert (record.queue_us, record.exec_us) == (1500, 2250)
    await g.until(g.at_rest)


async def test_the_prefix_is_stripped_and_the_platform_tells_the_agent_what_it_needs(start: Start) -> None:
    g = await start()
    await g.call("/ns/f/a/b?c=d", method="POST", headers="x-own: 1\r\nContent-Type: text/x\r\n", body=b"12345")
    run = g.agent.runs[0]
    assert (run.method, run.target) == ("POST", "/v1/run/a/b?c=d")
    assert run.header("x-own") == "1"
    assert run.header("content-type") == "text/x"
    assert run.header("content-length") == "5"
    assert run.header("stoker-function") == "ns/f"
    assert run.header("stoker-variant") == "gpu"
    assert run.header("stoker-cold") == "0"
    assert run.header("stoker-late-ok") == "0"
    assert run.header("stoker-body-bytes") == "5"
    assert run.header("stoker-profile") is None
    assert 0 < int(run.header("stoker-objective-ms") or 0) <= 250
    assert 59_000 < int(run.header("stoker-timeout-ms") or 0) <= 60_000
    assert run.header("x-forwarded-for") == "127.0.0.1"
    assert run.header("x-forwarded-proto") == "http"
    assert run.header("x-forwarded-host") == "127.0.0.1"


async def test_what_a_client_may_not_say_is_stripped(start: Start) -> None:
    g = await start()
    spoofed = (
        "stoker-function: other/one\r\nStoker-Variant: cpu\r\nstoker-late-ok: 1\r\nstoker-timeout-ms: 999999\r\n"
        "stoker_variant: cpu\r\nkeep-alive: 5\r\nproxy-authorization: x\r\nte: trailers\r\ntrailer: x\r\n"
        "connection: keep-alive, x-hop\r\nx-hop: 1\r\nx-forwarded-proto: https\r\nx-forwarded-host: bank\r\n"
        "x-forwarded-for: 9.9.9.9\r\nforwarded: for=1.1.1.1\r\nidempotency-key: k\r\nstoker-class: fast\r\n"
    )
    g.gateway.set_functions({"ns/f": function(slo=Slo(latency_us=250_000, classes={"fast": 100_000}))})
    assert (await g.call(headers=spoofed)).status == 200
    run = g.agent.runs[0]
    names = [name for name, _ in run.headers]
    assert len(names) == len(set(names))
    assert (run.header("stoker-function"), run.header("stoker-variant")) == ("ns/f", "gpu")
    assert run.header("stoker-late-ok") == "0"
    assert not {"stoker_variant", "keep-alive", "proxy-authorization", "te", "trailer", "x-hop", "forwarded"} & {*names}
    assert run.header("x-forwarded-for") == "9.9.9.9, 127.0.0.1"
    assert run.header("x-forwarded-proto") == "http"
    assert run.header("x-forwarded-host") == "127.0.0.1"
    assert run.header("idempotency-key") == "k"
    assert run.header("stoker-class") is None
    assert int(run.header("stoker-objective-ms") or 0) <= 100


@pytest.mark.parametrize(("given", "kept"), [("a.B_c-1", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)])
async def test_a_request_id_of_the_client_is_kept_if_it_is_fit_for_headers_and_logs(
    start: Start, given: str, kept: bool
) -> None:
    g = await start()
    answer = await g.call(headers=f"stoker-request-id: {given}\r\n")
    assert (answer.headers["stoker-request-id"] == given) is kept
    assert g.agent.runs[0].header("stoker-request-id") == answer.headers["stoker-request-id"]


async def test_hosts_name_functions_too_and_keep_their_whole_path(start: Start) -> None:
    g = await start(function(), function("g"))
    for host in ("f.ns", "f.ns.svc", "f.ns.svc.cluster.local", "F.ns.svc.cluster.local.:80"):
        client = await g.client()
        await client.send(request("/ns/g/x", host=host))
        assert (await client.answer()).status == 200
        assert g.agent.runs[-1].header("stoker-function") == "ns/f"
        assert g.agent.runs[-1].target == "/v1/run/ns/g/x"


async def test_a_bare_function_name_as_host_is_misdirected_and_told_the_full_url(start: Start) -> None:
    g = await start()
    client = await g.client()
    await client.send(request("/x", host="f"))
    answer = await client.answer()
    assert answer.status == 421
    assert "http://f.ns.svc.cluster.local/x" in answer.problem().detail


@pytest.mark.parametrize("target", ["/", "/ns", "/ns/", "/ns/unknown/x", "/other/f/", "/ns%2ff/", "//ns/f", "/NS/f/"])
async def test_what_names_no_function_is_not_found(start: Start, target: str) -> None:
    g = await start()
    answer = await g.call(target)
    assert answer.status == 404
    assert answer.problem().reason == "FunctionNotFound"
    assert answer.headers["stoker-outcome"] == "refused"
    assert not g.agent.runs


async def test_wishes_that_make_no_sense_are_refused_before_anything_runs(start: Start) -> None:
    g = await start()
    for bad in ("0", "-5", "1.5", "abc", "", "9999999999"):
        assert (await g.call(headers=f"stoker-deadline-ms: {bad}\r\n")).status == 400
    answer = await g.call(headers="stoker-class: nope\r\n")
    assert (answer.status, answer.problem().reason) == (400, "UnknownClass")
    assert not g.agent.runs


async def test_a_deadline_may_only_tighten_the_timeout(start: Start) -> None:
    g = await start(function(timeout_us=5_000_000))
    await g.call(headers="stoker-deadline-ms: 999999\r\n")
    await g.call(headers="stoker-deadline-ms: 100\r\n")
    assert 4_000 < int(g.agent.runs[0].header("stoker-timeout-ms") or 0) <= 5_000
    assert int(g.agent.runs[1].header("stoker-timeout-ms") or 0) <= 100
    assert int(g.agent.runs[1].header("stoker-objective-ms") or 0) <= 100


async def test_connections_to_clients_and_to_the_agent_are_kept(start: Start) -> None:
    g = await start()
    client = await g.client()
    for _ in range(3):
        await client.send(request())
        answer = await client.answer()
        assert answer.status == 200
        assert "connection" not in answer.headers
    assert len({run.writer for run in g.agent.runs}) == 1


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    g = await start()
    client = await g.client()
    await client.send(b"".join(request(method="POST", body=b"%d" % i) for i in range(5)))
    assert [(await client.answer()).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_client_that_pipelines_and_reads_nothing_is_not_answered_into_memory(start: Start) -> None:
    g = await start(keep_alive_s=0.3)
    client = await g.client()
    # Small buffers in the kernel, so that they are full soon.
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    await g.until(lambda: bool(g.gateway._server.connections))  # type: ignore[union-attr]
    (served,) = g.gateway._server.connections  # type: ignore[union-attr]
    assert served.transport is not None
    served.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(request("/ns/nobody/") * 4_000)
    await g.until(lambda: bool(g.records))
    before = -1
    while before != len(g.records):
        before = len(g.records)
        await asyncio.sleep(0.1)
    assert len(g.records) < 2_000
    await g.until(lambda: not g.gateway._server.connections)  # type: ignore[union-attr]


async def test_one_connection_more_than_there_may_be_gets_one_answer_that_says_so(start: Start) -> None:
    g = await start(max_connections=1)
    first = await g.client()
    await first.send(request())
    assert (await first.answer()).status == 200
    answer = await g.call()
    assert (answer.status, answer.problem().reason, answer.headers["connection"]) == (503, "HoldFull", "close")
    await first.send(request())
    assert (await first.answer()).status == 200
    first.hang_up()
    await g.until(lambda: not g.gateway._server.connections)  # type: ignore[union-attr]
    assert (await g.call()).status == 200


async def test_as_many_headers_as_an_agent_lets_through_come_through(start: Start) -> None:
    g = await start()

    async def many(run: Run) -> None:
        await run.processing()
        await run.answer(headers="".join(f"x-{number}: {'h' * 200}\r\n" for number in range(MAX_HEADERS)))

    g.agent.on_run = many
    answer = await g.call()
    assert (answer.status, answer.body) == (200, b"ok")
    assert sum(name.startswith("x-") for name in answer.headers) == MAX_HEADERS


async def test_http_1_0_and_connection_close_end_the_connection(start: Start) -> None:
    g = await start()
    for data in (b"GET /ns/f/ HTTP/1.0\r\n\r\n", request(headers="connection: close\r\n")):
        client = await g.client()
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.closed()


async def test_a_head_request_gets_the_head_only(start: Start) -> None:
    g = await start()
    client = await g.client()
    await client.send(request(method="HEAD"))
    answer = await client.answer(bodiless=True)
    assert (answer.status, answer.headers["content-length"]) == (200, "2")
    await client.send(request())
    assert (await client.answer()).body == b"ok"


async def test_a_large_body_is_admitted_first_and_then_streamed(start: Start) -> None:
    g = await start()
    body = bytes(range(256)) * 4096
    answer = await g.call(method="POST", body=body)
    assert answer.body == body
    (admission,) = g.agent.admissions
    assert admission.header("stoker-body-bytes") == str(len(body))
    assert admission.header("stoker-function") == "ns/f"
    assert admission.writer is g.agent.runs[0].writer
    assert g.agent.runs[0].header("content-length") == str(len(body))


async def test_a_small_chunked_body_goes_inline_and_a_large_one_is_streamed(start: Start) -> None:
    g = await start()
    small = chunk(b"ab") + chunk(b"cd") + b"0\r\n\r\n"
    client = await g.client()
    await client.send(request(method="POST", headers="transfer-encoding: chunked\r\n") + small)
    assert (await client.answer()).body == b"abcd"
    assert g.agent.runs[0].header("content-length") == "4"
    assert not g.agent.admissions
    parts = [b"x" * 50_000, b"y" * 50_000, b"z" * 50_000]
    await client.send(request(method="POST", headers="transfer-encoding: chunked\r\n"))
    for part in parts:
        await client.send(chunk(part))
        await asyncio.sleep(0.005)
    await client.send(b"0\r\n\r\n")
    assert (await client.answer()).body == b"".join(parts)
    assert g.agent.admissions[0].header("stoker-body-bytes") == "-1"
    assert g.agent.runs[1].header("transfer-encoding") == "chunked"


async def test_100_continue_comes_after_admission_only(start: Start) -> None:
    g = await start()
    admit = asyncio.Event()

    async def on_admit(run: Run) -> None:
        await admit.wait()
        await run.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    g.agent.on_admit = on_admit
    client = await g.client()
    await client.send(b"POST /ns/f/ HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
    reading = asyncio.create_task(client.head())
    await g.until(lambda: len(g.agent.admissions) == 1)
    assert not reading.done()
    admit.set()
    assert (await reading).startswith(b"HTTP/1.1 100 ")
    await client.send(b"body")
    assert (await client.answer()).body == b"body"


async def test_a_refused_admission_never_asks_for_the_body(start: Start) -> None:
    g = await start()
    g.agent.on_admit = lambda run: run.refuse(Reason.QUEUE_FULL, retry_after_ms=1200)
    client = await g.client()
    await client.send(b"POST /ns/f/ HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 2\r\nstoker-retry-after-ms: 1200\r\n" in head
    assert not g.agent.runs


async def test_an_upload_goes_no_faster_than_the_agent_takes_it(start: Start) -> None:
    g = await start()
    go = asyncio.Event()

    async def slow(run: Run) -> None:
        await go.wait()
        await run.body(keep=False)
        await run.processing()
        await run.answer(b"%d" % run.body_read)

    g.agent.on_run = slow
    size = 32 * 2**20
    client = await g.client()
    await client.send(f"POST /ns/f/ HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n".encode())
    sent = 0

    async def upload() -> None:
        nonlocal sent
        for _ in range(size // 65536):
            await client.send(b"x" * 65536)
            sent += 65536

    uploading = asyncio.create_task(upload())
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.1)
    assert sent < size
    visit = next(iter(g.gateway._live))
    assert visit.inbound.payload._size <= 512 * 1024
    go.set()
    await uploading
    assert (await client.answer()).body == b"%d" % size


async def test_an_early_answer_passes_while_the_body_is_still_being_sent(start: Start) -> None:
    g = await start()

    async def early(run: Run) -> None:
        await run.processing()
        await run.answer(b"too large", 413)
        await run.gone()

    g.agent.on_run = early
    client = await g.client()
    await client.send(b"POST /ns/f/ HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 100_000)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too large", "close")
    assert answer.headers["stoker-outcome"] == "served"
    await g.until(g.at_rest)


async def test_events_pass_one_by_one_and_the_objective_never_cuts_them(start: Start) -> None:
    g = await start(function(slo=Slo(latency_us=20_000, measure=Measure.FIRST_BYTE)))
    tick = asyncio.Queue[bytes]()

    async def events(run: Run) -> None:
        await run.processing()
        await run.raw(
            b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        while event := await tick.get():
            await run.raw(chunk(event))
        await run.raw(b"0\r\n\r\n")

    g.agent.on_run = events
    client = await g.client()
    await client.send(request())
    head = await client.head()
    assert b"transfer-encoding: chunked" in head
    for i in range(3):
        tick.put_nowait(b"data: %d\n\n" % i)
        assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % i
        await asyncio.sleep(0.01)
    tick.put_nowait(b"")
    assert await client.reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
    record = await g.ended()
    assert record.outcome is Outcome.SERVED
    assert (record.total_us or 0) > record.latency_us


async def test_an_answer_without_length_is_chunked_to_1_1_and_closes_for_1_0(start: Start) -> None:
    g = await start()

    async def close_delimited(run: Run) -> None:
        await run.processing()
        await run.raw(b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\n\r\nto the end")
        run.writer.close()

    g.agent.on_run = close_delimited
    answer = await g.call()
    assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"to the end")
    client = await g.client()
    await client.send(b"GET /ns/f/ HTTP/1.0\r\nhost: h\r\n\r\n")
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.body == b"to the end"


async def test_a_large_download_goes_no_faster_than_the_client_takes_it(start: Start) -> None:
    g = await start()
    size = 32 * 2**20
    sent = 0

    async def flood(run: Run) -> None:
        nonlocal sent
        await run.processing()
        await run.raw(
            b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\ncontent-length: %d\r\n\r\n" % size
        )
        while sent < size:
            await run.raw(b"x" * 65536)
            sent += 65536

    g.agent.on_run = flood
    client = await g.client()
    await client.send(request())
    await client.head()
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.1)
    assert sent < size
    assert len(await client.reader.readexactly(size)) == size


async def test_a_late_answer_is_served_and_counted_as_late(start: Start) -> None:
    g = await start(function(slo=Slo(latency_us=1_000)))

    async def slow(run: Run) -> None:
        await run.processing()
        await asyncio.sleep(0.02)
        await run.answer()

    g.agent.on_run = slow
    assert (await g.call()).status == 200
    assert (await g.ended()).on_time is False
    assert g.metrics.values["stoker_requests_late_total", "ns", "f", "false"] == 1
    assert g.metrics.values["stoker_requests_total", "ns", "f", "gpu", "served", ""] == 1


async def test_health_paths_are_marked_and_kept_out_of_the_figures(start: Start) -> None:
    g = await start()
    assert (await g.call("/ns/f/healthz?x")).status == 200
    assert g.agent.runs[0].header("stoker-profile") == "0"
    assert (await g.ended()).on_time is None
    assert ("stoker_requests_on_time_total", "ns", "f") not in g.metrics.values
    assert ("stoker_requests_offered_total", "ns", "f") not in g.metrics.values
    assert g.gateway.demand() == {}
