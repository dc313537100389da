"""Requests that find nothing warm: held, released, refused, given up, and what the control plane hears of it."""

import asyncio
import time

import pytest
from gateway_fake_agent import Run, Start, function, request, serve, starting
from msgspec.structs import replace

from stoker.model.function import OnMiss, QueueBounds, Slo, Variant
from stoker.reasons import Outcome, Reason

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)


async def test_a_cold_request_is_held_and_released_when_its_replica_is_ready(start: Start) -> None:
    g = await start(warm=False)
    calling = asyncio.create_task(g.call(method="POST", body=b"x"))
    await g.until(lambda: bool(g.gateway.demand()))
    demand = g.gateway.demand()["ns/f"][Variant.GPU]
    assert (demand.held, demand.in_system) == (1, 1)
    assert demand.last_wake_us is not None
    assert demand.oldest_held_us is not None
    assert g.demand_calls >= 2
    assert g.metrics.values["stoker_requests_held", "ns", "f"] == 1
    await asyncio.sleep(0.02)
    assert not g.agent.runs
    await g.warm()
    answer = await calling
    assert (answer.status, answer.headers["stoker-cold-start"]) == (200, "1")
    run = g.agent.runs[0]
    assert (run.header("stoker-cold"), run.header("stoker-late-ok")) == ("1", "1")
    assert 200 < int(run.header("stoker-objective-ms") or 0) <= 250  # From the release, not from the arrival.
    start_ms = float(answer.headers["server-timing"].rpartition("start;dur=")[2])
    assert start_ms >= 20
    record = await g.ended()
    assert record.cold
    assert record.objective_us == 60_000_000
    assert [step.what for step in record.steps][-2:] == ["held for a gpu replica", "released to an agent"]
    await g.until(g.at_rest)
    assert g.metrics.values["stoker_requests_held", "ns", "f"] == 0
    assert g.metrics.values["stoker_cold_requests_total", "ns", "f"] == 1
    assert g.metrics.values["stoker_cold_requests_on_time_total", "ns", "f"] == 1


async def test_a_request_under_way_has_a_record_until_it_has_ended(start: Start) -> None:
    g = await start(warm=False)
    calling = asyncio.create_task(g.call(headers="stoker-request-id: 0a-mine\r\n"))
    await g.until(lambda: bool(g.gateway.demand()))
    record = g.gateway.under_way("0a-mine")
    assert record is not None
    assert (record.function, record.outcome, record.cold, record.dispatched) == ("ns/f", None, True, False)
    assert record.steps[-1].what == "held for a gpu replica"
    assert g.gateway.under_way("yours") is None
    await g.warm()
    await calling
    ended = await g.ended()
    assert ended.dispatched
    assert g.gateway.under_way(ended.id) is None


async def test_all_held_requests_of_a_function_go_at_once_and_others_stay(start: Start) -> None:
    g = await start(function(), function("g"), warm=False)
    calls = [asyncio.create_task(g.call()) for _ in range(20)]
    other = asyncio.create_task(g.call("/ns/g/"))
    await g.until(lambda: len(g.gateway._live) == 21)
    await g.warm("ns/f")
    assert all(answer.status == 200 for answer in await asyncio.gather(*calls))
    assert not other.done()
    await g.warm("ns/g")
    assert (await other).status == 200


async def test_a_timeout_while_held_is_504_in_time_and_says_what_it_waited_for(start: Start) -> None:
    g = await start(function(timeout_us=100_000), warm=False)
    began = time.monotonic()
    answer = await g.call()
    took = time.monotonic() - began
    assert answer.status == 504
    assert answer.headers["stoker-outcome"] == "expired"
    assert answer.problem().reason == "Timeout"
    assert "ns/f waits for a GPU." in answer.problem().detail
    assert 0.1 <= took < 1.0
    record = await g.ended()
    assert (record.total_us or 0) >= 100_000
    assert record.outcome is Outcome.EXPIRED
    assert g.at_rest()


@pytest.mark.parametrize("unread_body", [0, 10_000_000])
async def test_a_client_that_leaves_while_held_frees_its_place(start: Start, unread_body: int) -> None:
    g = await start(warm=False)
    client = await g.client()
    head = f"POST /ns/f/ HTTP/1.1\r\nhost: h\r\ncontent-length: {unread_body}\r\n\r\n".encode()
    # More than is read ahead, and little enough for the kernel: a hang-up behind data that does not fit into the
    # receive window cannot be seen by anybody.
    client.writer.write(head + b"x" * min(unread_body, 180_000))
    await g.until(lambda: g.gateway.demand().get("ns/f", {}).get(Variant.GPU) is not None)
    await asyncio.sleep(0.05)  # Enough to fill what is read ahead, so that reading is paused.
    client.hang_up()
    record = await g.ended()
    assert record.reason is Reason.CLIENT_GONE
    await g.until(g.at_rest)
    assert not g.agent.runs


async def test_the_queue_of_a_function_counts_what_is_held_and_refusals_wake_too(start: Start) -> None:
    g = await start(function(queue=QueueBounds(max_requests=2)), warm=False)
    calls = [asyncio.create_task(g.call()) for _ in range(2)]
    await g.until(lambda: len(g.gateway._live) == 2)
    before = g.gateway.demand()["ns/f"][Variant.GPU].last_wake_us or 0
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "QueueFull")
    assert answer.headers["stoker-outcome"] == "refused"
    assert int(answer.headers["stoker-retry-after-ms"]) >= 50
    assert int(answer.headers["retry-after"]) >= 1
    demand = g.gateway.demand()["ns/f"][Variant.GPU]
    assert (demand.last_wake_us or 0) > before
    # Refused ones are demand too, or nobody would scale for them.
    assert demand.arrivals == 3
    await g.warm()
    assert [a.status for a in await asyncio.gather(*calls)] == [200, 200]


async def test_the_queue_counts_bytes_and_is_left_at_dispatch(start: Start) -> None:
    g = await start(function(queue=QueueBounds(max_bytes=100)))
    dispatch, finish = asyncio.Event(), asyncio.Event()

    async def slow(run: Run) -> None:
        await run.body()
        await dispatch.wait()
        await run.processing()
        await finish.wait()
        await run.answer()

    g.agent.on_run = slow
    first = asyncio.create_task(g.call(method="POST", body=b"x" * 80))
    await g.agent.run_number(1)
    assert (await g.call(method="POST", body=b"x" * 80)).status == 429
    dispatch.set()
    await g.until(lambda: g.gateway._states["ns/f"].undispatched_bytes == 0)
    assert g.gateway.demand()["ns/f"][Variant.GPU].in_system == 1
    second = asyncio.create_task(g.call(method="POST", body=b"x" * 80))
    await g.agent.run_number(2)
    finish.set()
    assert [(await first).status, (await second).status] == [200, 200]


async def test_the_gateway_holds_no_more_than_it_may(start: Start) -> None:
    g = await start(function(), function("g"), warm=False, hold_requests=1)
    held = asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 1)
    answer = await g.call("/ns/g/")
    assert (answer.status, answer.problem().reason) == (503, "HoldFull")
    assert g.gateway.demand()["ns/g"][Variant.GPU].last_wake_us is not None
    await g.warm()
    assert (await held).status == 200


async def test_a_namespace_that_floods_leaves_room_for_others(start: Start) -> None:
    other = replace(function(), namespace="other")
    g = await start(function(), other, warm=False, hold_requests=6)
    flood = [asyncio.create_task(g.call()) for _ in range(5)]
    await g.until(lambda: sum(call.done() for call in flood) == 2)
    assert {(await call).status for call in flood if call.done()} == {503}
    patient = asyncio.create_task(g.call("/other/f/"))
    await g.until(lambda: bool(g.gateway.demand().get("other/f")))
    await asyncio.sleep(0.02)
    assert not patient.done()
    await g.warm()
    assert sorted([(await call).status for call in flood]) == [200, 200, 200, 503, 503]
    await g.warm("other/f")
    assert (await patient).status == 200
    assert not g.gateway._room._shares._of


async def test_a_health_path_at_zero_is_refused_and_wakes_nothing(start: Start) -> None:
    g = await start(warm=False)
    answer = await g.call("/ns/f/healthz")
    assert (answer.status, answer.problem().reason) == (503, "ScaledToZero")
    assert "retry-after" in answer.headers
    assert g.gateway.demand() == {}


async def test_a_predicted_cold_miss_is_refused_where_the_function_says_so_and_still_wakes(start: Start) -> None:
    slo = Slo(latency_us=250_000, cold_latency_us=1_000_000)
    g = await start(function(slo=slo, on_predicted_miss=(OnMiss.REFUSE,)), warm=False)
    g.agent.load("ns/f", start_ms=8_000.0, exec_ms=100.0)
    await g.until(lambda: bool(g.gateway._view.forecasts("ns/f")))
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "PredictedMiss")
    assert answer.problem().predicted_finish_ms == 8_100
    assert answer.problem().estimated
    assert answer.headers["stoker-retry-after-ms"] == "8000"
    assert g.gateway.demand()["ns/f"][Variant.GPU].last_wake_us is not None


async def test_a_predicted_cold_miss_is_diverted_to_a_cpu_variant_that_is_on_time(start: Start) -> None:
    slo = Slo(latency_us=250_000, cold_latency_us=1_000_000)
    g = await start(function(slo=slo, cpu_variant=True), warm=False)
    g.agent.load("ns/f", start_ms=8_000.0)
    await g.warm("ns/f", Variant.CPU, exec_ms=500.0)
    answer = await g.call()
    assert answer.status == 200
    assert g.agent.runs[0].header("stoker-variant") == "cpu"
    record = await g.ended()
    assert record.diverted
    assert record.variant is Variant.CPU
    demand = g.gateway.demand()["ns/f"]
    assert demand[Variant.CPU].last_wake_us is not None
    assert demand[Variant.GPU].last_wake_us is not None
    # It is demand for the GPU too: had it been warm, the request would have stayed there.
    assert (demand[Variant.GPU].arrivals, demand[Variant.CPU].arrivals) == (1, 1)


async def test_a_diverted_request_waits_for_a_cold_cpu_variant_that_will_be_on_time(start: Start) -> None:
    slo = Slo(latency_us=250_000, cold_latency_us=1_000_000)
    g = await start(function(slo=slo, cpu_variant=True), warm=False)
    g.agent.load("ns/f", start_ms=8_000.0)
    g.agent.load("ns/f", Variant.CPU, start_ms=300.0, exec_ms=500.0)
    await g.until(lambda: Variant.CPU in g.gateway._view.forecasts("ns/f"))
    calling = asyncio.create_task(g.call())
    await g.until(lambda: Variant.CPU in g.gateway.demand().get("ns/f", {}))
    demand = g.gateway.demand()["ns/f"]
    assert (demand[Variant.CPU].held, demand[Variant.GPU].in_system) == (1, 0)
    await g.warm("ns/f", Variant.CPU)
    assert (await calling).status == 200


async def test_a_function_that_no_device_could_hold_is_refused_at_once(start: Start) -> None:
    g = await start(warm=False)
    g.gateway.set_unplaceable({"ns/f": {Variant.GPU: "No GPU has 80 GiB."}})
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (503, "NoFittingDevice")
    assert answer.problem().detail == "No GPU has 80 GiB."
    assert answer.headers["retry-after"] == "60"


async def test_a_removed_function_answers_404_to_the_held_and_lets_the_running_finish(start: Start) -> None:
    g = await start(function(), function("g"), warm=False)
    await g.warm("ns/g")
    finish = asyncio.Event()

    async def slow(run: Run) -> None:
        await run.processing()
        await finish.wait()
        await run.answer()

    g.agent.on_run = slow
    held, running = asyncio.create_task(g.call()), asyncio.create_task(g.call("/ns/g/"))
    await g.agent.run_number(1)
    await g.until(lambda: len(g.gateway._live) == 2)
    g.gateway.set_functions({})
    assert (await held).status == 404
    assert (await g.call("/ns/g/")).status == 404
    finish.set()
    assert (await running).status == 200


async def test_a_changed_function_acts_on_the_next_request(start: Start) -> None:
    g = await start()
    g.gateway.set_functions({"ns/f": function(timeout_us=2_000_000)})
    await g.call()
    assert int(g.agent.runs[0].header("stoker-timeout-ms") or 0) <= 2_000


async def test_no_replica_at_the_agent_holds_again_until_the_next_frame(start: Start) -> None:
    g = await start()
    g.agent.on_run = lambda run: run.refuse(Reason.NO_REPLICA)
    calling = asyncio.create_task(g.call(method="POST", body=b""))
    await g.until(lambda: len(g.gateway._states["ns/f"].gpu.held) == 1)
    assert len(g.agent.runs) == 1
    g.agent.heartbeat()  # Still nothing: it is asked once more and held once more, as often as it takes.
    await g.agent.run_number(2)
    await g.until(lambda: len(g.gateway._states["ns/f"].gpu.held) == 1)
    for count in (3, 4, 5):
        g.agent.heartbeat()
        await g.agent.run_number(count)
        await g.until(lambda: len(g.gateway._states["ns/f"].gpu.held) == 1)
    g.agent.on_run = serve
    g.agent.heartbeat()
    assert (await calling).status == 200
    assert (await g.ended()).cold


async def test_stopping_refuses_the_new_and_finishes_what_was_let_in(start: Start) -> None:
    g = await start(function(), function("g"), warm=False)
    await g.warm("ns/g")
    finish = asyncio.Event()

    async def slow(run: Run) -> None:
        await run.processing()
        await finish.wait()
        await run.answer()

    g.agent.on_run = slow
    idle = await g.client()
    running, held = asyncio.create_task(g.call("/ns/g/")), asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 2 and len(g.agent.runs) == 1)
    stopping = asyncio.create_task(g.gateway.stop(drain_s=5))
    await asyncio.sleep(0)
    await idle.send(request())
    for answer in (await idle.answer(), await g.call()):
        assert (answer.status, answer.problem().reason) == (503, "Draining")
        assert answer.headers["connection"] == "close"
    finish.set()
    assert (await running).status == 200
    assert not stopping.done()
    g.agent.on_run = serve
    await g.warm()
    answer = await held
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await stopping


async def test_what_does_not_finish_in_the_drain_is_told_so(start: Start) -> None:
    g = await start(warm=False)
    held = asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 1)
    await g.gateway.stop(drain_s=0.02)
    answer = await held
    assert (answer.status, answer.problem().reason) == (503, "Draining")


async def test_a_namespace_whose_functions_all_hang_leaves_connections_to_others(start: Start) -> None:
    hung = [function(f"f{number}", namespace="noisy", timeout_us=20_000_000) for number in range(6)]
    g = await start(*hung, function("g", namespace="quiet"), max_connections=12)

    async def hang(run: Run) -> None:
        if run.header("stoker-function") == "quiet/g":
            await serve(run)
        else:
            await run.gone()

    g.agent.on_run = hang
    clients = [await g.client() for _ in range(8)]
    for number, client in enumerate(clients):
        await client.send(request(f"/noisy/f{number % 6}/"))
    refused = [await asyncio.wait_for(client.answer(), 5) for client in clients[6:]]
    assert [(answer.status, answer.problem().reason) for answer in refused] == [(503, "HoldFull")] * 2
    assert "room for others" in refused[0].problem().detail
    assert (await g.call("/quiet/g/")).status == 200
    clients[0].hang_up()
    await g.ended(4)
    again = await g.client()
    await again.send(request("/noisy/f0/"))
    await g.agent.run_number(8)


async def test_bodies_of_a_namespace_whose_functions_hang_leave_memory_to_others(start: Start) -> None:
    """The bound of bodies is over what is queued at agents too, not only over what is held."""
    hung = [function(f"f{number}", namespace="noisy", timeout_us=20_000_000) for number in range(3)]
    g = await start(*hung, function("g", namespace="quiet"), hold_bytes=100_000)

    async def hang(run: Run) -> None:
        if run.header("stoker-function") == "quiet/g":
            await serve(run)
        else:
            await run.body()
            await run.gone()

    g.agent.on_run = hang
    body = b"x" * 30_000
    for number in range(2):
        client = await g.client()
        await client.send(request(f"/noisy/f{number}/", method="POST", body=body))
        await g.agent.run_number(number + 1)
    refused = await asyncio.wait_for(g.call("/noisy/f2/", method="POST", body=body), 5)
    assert (refused.status, refused.problem().reason) == (503, "HoldFull")
    assert (await g.call("/quiet/g/", method="POST", body=body)).status == 200
