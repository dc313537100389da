"""Replicas from reservation to gone, the load stream, and the end of the agent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, clock_us, cpu, function, gpu

from stoker import metrics as m
from stoker.model.device import Device
from stoker.model.function import GpuOption, Probe, Sharing, Variant
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason
from stoker_node import load_stream
from stoker_node.probing import probe_once
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

Start = Callable[..., Awaitable[AgentUnderTest]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[AgentUnderTest] = []

    async def start(*devices: Device, **options: object) -> AgentUnderTest:
        under_test = await AgentUnderTest(*devices, **options).start()  # type: ignore[arg-type]
        under_test.apply(function())
        running.append(under_test)
        return under_test

    yield start
    for under_test in running:
        await under_test.close()


async def test_a_replica_is_warm_when_its_path_answers_2xx_and_its_start_was_measured(start: Start) -> None:
    agent = await start()
    ready = False

    async def handler(request: Request) -> None:
        await request.answer(status=200 if ready else 503)

    changed = function("slow")
    agent.apply(changed)
    server = FakeReplica(handler)
    agent.servers.append(server)
    await server.start()
    before_us = clock_us()
    replica = agent.reserve("slow")
    agent.agent.attach(replica, "127.0.0.1", server.port, Probe(path="/ready"))
    agent.agent.attach(replica, "127.0.0.1", server.port, Probe(path="/ready"))  # comes twice: nothing
    await server.request(2)
    assert agent.status(replica).state is ReplicaState.STARTING
    ready = True
    await agent.until(lambda: agent.status(replica).state is ReplicaState.WARM)
    assert {request.target for request in server.seen} == {"/ready"}
    status = agent.status(replica)
    assert status.ready_us is not None
    assert before_us <= status.started_us < status.ready_us
    estimate = agent.agent.prediction().start_us(changed, Variant.GPU)
    assert (estimate.samples, estimate.us) == (1, status.ready_us - status.started_us)


async def test_a_probe_that_hangs_is_given_up_and_tried_again(start: Start) -> None:
    agent = await start(probe_timeout_s=0.05)
    hung = 0

    async def handler(request: Request) -> None:
        nonlocal hung
        hung += 1
        if hung == 1:
            await request.gone()
        await request.raw(b"HTTP/1.1 302 Found\r\n\r\n")

    agent.apply(function("probed"))
    await agent.warm("probed", FakeReplica(handler), readiness=Probe(path="/"))
    assert hung == 2


@pytest.mark.parametrize(("address", "named"), [("fd00::7", "[fd00::7]"), ("10.0.0.7", "10.0.0.7")])
async def test_a_probe_names_the_host_as_http_writes_addresses(
    address: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeReplica()
    await server.start()
    asked, connect = [], asyncio.open_connection

    async def connect_here(host: str, port: int, **more: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        asked.append(host)
        return await connect("127.0.0.1", port, **more)

    monkeypatch.setattr(asyncio, "open_connection", connect_here)
    assert await probe_once(address, server.port, Probe(path="/ready"), timeout_s=5)
    await server.close()
    assert asked == [address]
    assert ("host", f"{named}:{server.port}") in server.seen[0].headers


async def test_a_replica_that_is_drained_while_it_starts_never_gets_warm(start: Start) -> None:
    agent = await start()
    server = FakeReplica()
    agent.servers.append(server)
    await server.start()
    replica = agent.reserve()
    waiting = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    agent.agent.attach(replica, "127.0.0.1", server.port, Probe())
    await agent.agent.drain(replica)
    assert (await waiting.final()).problem["reason"] == "NoReplica"
    await asyncio.sleep(0.02)
    assert agent.status(replica).state is ReplicaState.DRAINING


async def test_drain_ends_when_nothing_is_in_flight_and_takes_nothing_new(start: Start) -> None:
    agent = await start()
    gate = Gate()
    replica, _ = await agent.warm(server=FakeReplica(gate))
    running = await agent.send()
    await running.dispatched()
    drains = [asyncio.create_task(agent.agent.drain(replica)) for _ in range(2)]  # asked twice
    await asyncio.sleep(0.01)
    assert not any(drain.done() for drain in drains)
    assert (await agent.call()).problem["reason"] == "NoReplica"
    gate.let()
    await asyncio.gather(*drains)
    assert (await running.final()).status == 200
    agent.agent.detach(replica)
    agent.agent.detach(replica)
    await agent.agent.drain(replica)
    assert agent.agent.reservations() == ()


async def test_reservations_are_all_or_none_and_bounded_by_the_device(start: Start) -> None:
    agent = await start(gpu(memory_mib=4096))
    agent.reserve("f", sharing=Sharing.SHARED, memory_mib=3000)
    with pytest.raises(AssertionError, match="WaitingForGpu"):
        agent.reserve("f", ordinal=1, sharing=Sharing.SHARED, memory_mib=2000)
    agent.agent.set_devices([msgspec.structs.replace(gpu(memory_mib=4096), healthy=False, reason="lost")])
    with pytest.raises(AssertionError, match=Reason.WAITING_FOR_GPU.value):
        agent.reserve("f", ordinal=1, sharing=Sharing.SHARED, memory_mib=100)
    assert agent.agent.devices()[0].reason == "lost"
    assert len(agent.agent.reservations()) == 1


async def test_the_load_stream_begins_full_and_then_tells_what_changed(start: Start) -> None:
    agent = await start(gpu(), cpu())
    agent.apply(function(cpu_variant=True), function("other"))
    gate = Gate()
    await agent.warm("other")
    load = await agent.load()
    first = await load.frame()
    assert first.full
    assert first.accepting
    assert set(first.functions) == {"ns/f", "ns/other"}
    assert first.functions["ns/other"][Variant.GPU].free == 1
    assert (first.functions["ns/f"][Variant.CPU].warm, first.functions["ns/f"][Variant.CPU].start_samples) == (0, 0)
    assert first.functions["ns/f"][Variant.CPU].start_ms > 0, "what is not known is assumed, never zero"
    agent.agent.detach(agent.agent.replicas()[0].spec.id)
    del agent.functions["ns/other"]
    agent.apply()
    gone = await load.until(lambda frame: bool(frame.removed))
    assert (gone.removed, gone.full, gone.functions) == (("ns/other",), False, {})
    replica, _ = await agent.warm(server=FakeReplica(gate))
    warm = await load.until(
        lambda frame: frame.functions.get("ns/f", {}) != {} and frame.functions["ns/f"][Variant.GPU].warm == 1
    )
    assert warm.seq > gone.seq
    assert warm.functions["ns/f"][Variant.GPU].start_samples == 1
    sent = [await agent.send() for _ in range(2)]
    busy = await load.until(lambda frame: any(v.queued for v in frame.functions.get("ns/f", {}).values()))
    entry = busy.functions["ns/f"][Variant.GPU]
    assert (entry.running, entry.queued, entry.free) == (1, 1, 0)
    assert entry.wait_ms > 0
    gate.let(2)
    for one in sent:
        await one.final()
    drain = asyncio.create_task(agent.agent.drain(replica))
    draining = await load.until(lambda frame: any(v.draining for v in frame.functions.get("ns/f", {}).values()))
    assert draining.functions["ns/f"][Variant.GPU].warm == 0
    await drain


async def test_the_load_stream_has_a_heartbeat(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_stream, "LOAD_HEARTBEAT_S", 0.05)
    agent = await start()
    load = await agent.load()
    first, second = await load.frame(), await load.frame()
    assert (second.seq, second.functions) == (first.seq + 1, {})


async def test_load_is_told_at_most_ten_times_a_second_but_states_at_once(start: Start) -> None:
    agent = await start()
    await agent.warm()
    load = await agent.load()
    await load.frame()
    frames = 0

    async def count() -> None:
        nonlocal frames
        while True:
            await load.frame()
            frames += 1

    counting = asyncio.create_task(count())
    for _ in range(100):
        await agent.call()
    assert frames < 50
    counting.cancel()
    await asyncio.wait([counting])


async def test_a_reader_that_is_slow_gets_the_latest_state_and_no_backlog(start: Start) -> None:
    agent = await start()
    stream = agent.agent._load

    class Slow:
        write_paused = True

        def __init__(self) -> None:
            self.written: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.written.append(data)

        def close(self) -> None: ...

    reader = Slow()
    stream.add(reader)
    for ordinal in range(3):
        replica = agent.reserve(ordinal=ordinal)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        agent.agent.detach(replica)
    assert len(reader.written) == 1
    agent.reserve(ordinal=9)
    await asyncio.sleep(0.01)
    reader.write_paused = False
    stream.caught_up(reader)
    assert len(reader.written) == 2
    assert b'"full":true' in reader.written[1]
    assert b'"starting":1' in reader.written[1]


async def test_a_stop_under_load_finishes_what_was_accepted_and_refuses_the_rest(start: Start) -> None:
    agent = await start()
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    load = await agent.load()
    sent = [await agent.send() for _ in range(5)]
    late = await agent.pool.connect()
    await agent.until(lambda: agent.queued() == 4)
    stopping = asyncio.create_task(agent.agent.stop(drain_s=5))
    assert not (await load.until(lambda frame: not frame.accepting)).accepting
    refused = await agent.call(on=late)
    assert (refused.status, refused.problem["reason"], refused.dispatched) == (503, "Draining", "0")
    gate.let(5)
    assert [(await one.final()).status for one in sent] == [200] * 5
    await stopping
    with pytest.raises(EOFError):
        await load.until(lambda _: False)


async def test_a_stop_that_takes_too_long_ends_what_is_left_with_an_answer(start: Start) -> None:
    agent = await start()
    await agent.warm(server=FakeReplica(Gate()))
    running = await agent.send()
    await running.dispatched()
    queued = await agent.send()
    await agent.until(lambda: agent.queued() == 1)
    await agent.agent.stop(drain_s=0.02)
    assert (await running.final()).problem["reason"] == "ReplicaFailed"
    assert (await queued.final()).problem["reason"] == "Draining"
    await agent.agent.stop(drain_s=1)


async def test_figures_are_exported_under_the_catalogue_s_names(start: Start) -> None:
    sink = PrometheusSink(process=False)
    agent = await start(metrics=sink)
    replica, _ = await agent.warm()
    assert (await agent.call()).status == 200
    await agent.until(lambda: 'stoker_device_busy_seconds_total{device="sim-0"' in sink.text().decode())
    text = sink.text().decode()
    labels = 'function="f",namespace="ns"'
    assert f"stoker_request_queue_seconds_count{{{labels}}} 1.0" in text
    assert f'stoker_request_exec_seconds_count{{{labels},variant="gpu"}} 1.0' in text
    assert f'stoker_replica_starts_total{{{labels},variant="gpu"}} 1.0' in text
    assert f'stoker_replicas{{{labels},state="warm",variant="gpu"}} 1.0' in text
    assert 'stoker_device_reserved_memory_bytes{device="sim-0",product="A100-40GB"} 1.073741824e+09' in text
    agent.agent.detach(replica, Reason.CRASH_LOOP)
    await asyncio.sleep(0.01)
    text = sink.text().decode()
    assert f'stoker_replica_failures_total{{{labels},reason="CrashLoop",variant="gpu"}} 1.0' in text
    assert m.REPLICAS.name + "{" not in text


async def test_health_paths_and_failures_stay_out_of_the_profile(start: Start) -> None:
    agent = await start()

    async def handler(request: Request) -> None:
        await request.body()
        await request.answer(status=500 if request.target == "/fail" else 200)

    await agent.warm(server=FakeReplica(handler))
    await agent.call("/fail")
    await agent.call("/health", extra={"stoker-profile": "0"})
    predictions, f = agent.agent.prediction(), agent.functions["ns/f"]
    assert predictions.exec_us(f, Variant.GPU).samples == 0
    await agent.call("/work")
    assert predictions.exec_us(f, Variant.GPU, "A100-40GB").samples == 1


async def test_a_function_that_has_several_options_is_nothing_special_to_the_agent(start: Start) -> None:
    agent = await start()
    agent.apply(function("any", gpu=(GpuOption(memory_mib=9), GpuOption(memory_mib=1))))
    await agent.warm("any")
    assert (await agent.call(name="any", variant=None)).status == 200
