"""Which request runs next, and what is refused: slack order, bounds, slow and large bodies, streams."""

import asyncio
import hashlib
from typing import Any

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
SHARED = {"memory": "4Gi", "sharing": "Shared"}


async def test_two_functions_on_one_shared_gpu_run_in_slack_order_and_late_ones_last(platform: Platform) -> None:
    platform.apply(function("loose", gpu=SHARED, slo={"latency": "30s"}, scaling={"minReplicas": 1}))
    platform.apply(
        function(
            "tight",
            gpu=SHARED,
            slo={"latency": "10s", "classes": {"hopeless": "1ms"}},
            scaling={"minReplicas": 1, "maxReplicas": 1},
        )
    )
    await platform.start(gpus="1xA100-40GB")
    await platform.until_warm("loose")
    await platform.until_warm("tight")
    await asyncio.gather(*(platform.call(name, "/sleep?ms=10") for name in ("loose", "tight") for _ in range(3)))
    blocker = asyncio.create_task(platform.call("loose", "/sleep?ms=1500&id=blocker"))
    await platform.until(lambda: any("blocker" in event for event in platform.events("begin")), "the blocker runs")
    queued = []
    for name, identity, headers in [
        ("tight", "late-1", {"Stoker-Class": "hopeless"}),
        ("loose", "loose-1", {}),
        ("tight", "tight-1", {}),
        ("loose", "loose-2", {}),
        ("tight", "late-2", {"Stoker-Class": "hopeless"}),
        ("tight", "tight-2", {}),
    ]:
        queued.append(asyncio.create_task(platform.call(name, f"/sleep?ms=20&id={identity}", headers=headers)))
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(blocker, *queued)
    assert [answer.status for answer in answers] == [200] * 7
    order = [event[4] for event in platform.events("begin") if event[4] != "-"]
    assert order == ["blocker", "tight-1", "tight-2", "loose-1", "loose-2", "late-1", "late-2"]


async def test_policies_are_exchanged_live_without_losing_a_request(platform: Platform) -> None:
    platform.apply(function("busy", scaling={"minReplicas": 1, "maxReplicas": 1}))
    await platform.start()
    await platform.until_warm("busy")
    calls = [asyncio.create_task(platform.call("busy", f"/sleep?ms=40&id={number}")) for number in range(30)]
    for name in ("fcfs", "edf", "least-slack", "fcfs"):
        await asyncio.sleep(0.2)
        platform.apply(
            {
                "apiVersion": "stoker.dev/v1alpha1",
                "kind": "GpuPolicy",
                "metadata": {"name": "default"},
                "spec": {"queueing": name},
            },
            file="policy.yaml",
        )
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 30
    assert len(platform.events("begin")) == 30

    async def exchanged() -> bool:
        return bool((await platform.state())["queueing"] == "fcfs")

    await platform.until(exchanged, "the last policy is in force")


async def test_a_full_queue_is_429_with_retry_after_and_explain_says_why(platform: Platform) -> None:
    platform.apply(function("small", queue={"maxRequests": 2}, scaling={"minReplicas": 1, "maxReplicas": 1}))
    await platform.start()
    await platform.until_warm("small")
    calls = [asyncio.create_task(platform.call("small", "/sleep?ms=1500"))]
    await platform.until(lambda: len(platform.events("begin")) == 1, "one runs")
    calls += [asyncio.create_task(platform.call("small", "/sleep?ms=10")) for _ in range(2)]

    async def queued() -> bool:
        return await platform.metric("stoker_requests_queued", function="small") == 2

    await platform.until(queued, "two queue")
    refused = await platform.call("small", "/sleep?ms=1")
    assert refused.status == 429
    assert refused.problem["reason"] == "QueueFull"
    assert refused.headers["Stoker-Outcome"] == "refused"
    assert int(refused.headers["Retry-After"]) * 1000 >= int(refused.headers["Stoker-Retry-After-Ms"]) > 0
    code, out, err = await platform.cli("explain", refused.headers["Stoker-Request-Id"])
    assert code == 0, err
    assert "refused" in out.lower()
    assert "queue" in out.lower()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 3


async def test_a_predicted_miss_is_refused_or_diverted_or_served_late_as_the_function_says(platform: Platform) -> None:
    common: dict[str, Any] = {"slo": {"latency": "300ms"}, "scaling": {"minReplicas": 1, "maxReplicas": 1}}
    platform.apply(function("refuses", onPredictedMiss=["Refuse"], **common))
    platform.apply(function("late", onPredictedMiss=["ServeLate"], **common))
    platform.apply(function("diverts", onPredictedMiss=["Divert", "Refuse"], cpuVariant={}, **common))
    await platform.start(gpus="3xA100-40GB")
    for name in ("refuses", "late", "diverts"):
        await platform.until_warm(name)
        await platform.call(name, "/sleep?ms=200")  # teaches the execution time
    blockers = [asyncio.create_task(platform.call(name, "/sleep?ms=2500")) for name in ("refuses", "late", "diverts")]
    await platform.until(lambda: len(platform.events("begin")) == 6, "all three devices are busy")
    queued = {
        name: [asyncio.create_task(platform.call(name, "/sleep?ms=200")) for _ in range(4)]
        for name in ("refuses", "late")
    }
    refused = [await call for call in queued["refuses"]]
    assert "PredictedMiss" in {answer.problem["reason"] for answer in refused if answer.status == 429}
    assert not any(answer.problem.get("estimated") for answer in refused), "least-slack has a schedule"
    diverted = [await platform.call("diverts", "/sleep?ms=5") for _ in range(2)]
    assert "cpu" in {answer.headers.get("Stoker-Device") for answer in diverted} or any(
        answer.status == 429 for answer in diverted
    ), "neither diverted nor refused"

    async def woken() -> bool:
        return await platform.metric("stoker_replicas", function="diverts", variant="cpu", state="warm") == 1

    await platform.until(woken, "the CPU variant is warm")
    await asyncio.sleep(0.6)  # by now the blocker has visibly overrun its prediction
    second = await platform.call("diverts", "/sleep?ms=5")
    assert second.status == 200
    assert second.headers["Stoker-Device"] == "cpu"
    assert [(await call).status for call in queued["late"]] == [200] * 4
    assert [(await blocker).status for blocker in blockers] == [200] * 3


async def test_a_100_mib_body_passes_at_flat_memory(platform: Platform) -> None:
    platform.apply(function("big", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("big")
    before = platform.rss_mib()
    peak = before

    async def chunks() -> object:
        nonlocal peak
        for number in range(1600):
            yield b"x" * 65536
            if number % 100 == 0:
                peak = max(peak, platform.rss_mib())

    answer = await platform.call("big", "/echo", method="POST", data=chunks())
    assert answer.status == 200
    assert answer.text.split()[1] == str(1600 * 65536)
    assert max(peak, platform.rss_mib()) - before < 32


async def test_a_slow_upload_holds_no_slot(platform: Platform) -> None:
    platform.apply(function("one", scaling={"minReplicas": 1, "maxReplicas": 1}))
    await platform.start(gpus="1xA100-40GB")
    await platform.until_warm("one")
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(b"POST /default/one/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nxx")
    await writer.drain()
    await asyncio.sleep(0.3)
    answers = [await platform.call("one", "/sleep?ms=5") for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    writer.write(b"x" * 99998)
    line = await reader.readline()
    assert b"200" in line
    writer.close()


async def test_server_sent_events_come_unbuffered_and_are_not_cut_by_the_objective(platform: Platform) -> None:
    platform.apply(function("events", slo={"latency": "100ms"}, scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("events")
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(b"GET /default/events/sse?n=6&ms=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    while len(seen) < 6:
        line = await asyncio.wait_for(reader.readline(), 5)
        if line.startswith(b"data:"):
            seen.append(loop.time())
    assert seen[-1] - seen[0] > 1.0, "the events came in one piece"
    writer.close()


async def test_an_echo_returns_every_byte_that_was_sent(platform: Platform) -> None:
    platform.apply(function("sizes", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("sizes")
    for size in (0, 1, 65535, 65536, 65537, 262143, 262144, 300_000, 1_000_000):
        answer = await platform.call("sizes", "/echo", method="POST", data=hashlib.sha256(b"").digest()[:1] * size)
        assert answer.text.split()[1] == str(size)
