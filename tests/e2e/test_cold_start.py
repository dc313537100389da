"""From zero: one start per missing replica, cold answers, wake, hold, timeouts while held."""

import asyncio

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


async def test_fifty_concurrent_requests_from_zero_are_all_answered_by_one_start_per_replica(
    platform: Platform,
) -> None:
    platform.apply(function("many", env={"START_S": "1"}, scaling={"maxReplicas": 2}))
    await platform.start()
    answers = await asyncio.gather(*(platform.call("many", "/sleep?ms=20") for _ in range(50)))
    assert [answer.status for answer in answers] == [200] * 50
    starts = platform.events("start")
    assert len(starts) <= 2
    assert len({start[1] for start in starts}) == len(starts), "a replica was started twice"
    assert {answer.headers["Stoker-Cold-Start"] for answer in answers} == {"1"}
    assert len({answer.headers["Stoker-Request-Id"] for answer in answers}) == 50


async def test_a_250_ms_function_with_an_8_s_start_answers_200_and_counts_a_cold_miss(platform: Platform) -> None:
    platform.apply(function("slow-start", env={"START_S": "8"}, slo={"latency": "250ms"}))
    await platform.start()
    answer = await platform.call("slow-start")
    assert answer.status == 200
    assert answer.headers["Stoker-Cold-Start"] == "1"
    assert answer.headers["Stoker-Outcome"] == "served"
    assert answer.seconds >= 8
    assert await platform.metric("stoker_requests_late_total", function="slow-start", cold="true") == 1
    assert await platform.metric("stoker_cold_requests_total", function="slow-start") == 1
    assert await platform.metric("stoker_cold_requests_on_time_total", function="slow-start") == 1
    warm = await platform.call("slow-start")
    assert (warm.status, warm.headers["Stoker-Cold-Start"]) == (200, "0")
    assert await platform.metric("stoker_requests_on_time_total", function="slow-start") == 1


async def test_a_refused_request_wakes_the_function_too(platform: Platform) -> None:
    platform.apply(
        function(
            "strict",
            slo={"latency": "100ms", "coldLatency": "150ms"},
            onPredictedMiss=["Refuse"],
            env={"START_S": "0.5"},
        )
    )
    await platform.start()
    answer = await platform.call("strict")
    assert answer.status == 429
    assert answer.problem["reason"] == "PredictedMiss"
    assert int(answer.headers["Stoker-Retry-After-Ms"]) > 0
    assert int(answer.headers["Retry-After"]) >= 1
    await platform.until_warm("strict")
    assert (await platform.call("strict")).status == 200


async def test_a_request_held_past_its_timeout_is_answered_504_at_its_timeout(platform: Platform) -> None:
    platform.apply(function("asleep", env={"START_S": "30"}, timeout="1s", slo={"latency": "250ms"}))
    await platform.start()
    answer = await platform.call("asleep")
    assert answer.status == 504
    assert answer.problem["reason"] == "Timeout"
    assert answer.headers["Stoker-Outcome"] == "expired"
    assert 1.0 <= answer.seconds < 2.0
    tightened = await platform.call("asleep", headers={"Stoker-Deadline-Ms": "200"})
    assert tightened.status == 504
    assert 0.2 <= tightened.seconds < 1.0


async def test_health_paths_wake_nothing(platform: Platform) -> None:
    platform.apply(function("quiet", container={"noWakePaths": ["/health", "/meta/*"]}))
    await platform.start()
    for path in ("/health", "/meta/anything"):
        answer = await platform.call("quiet", path)
        assert (answer.status, answer.problem["reason"]) == (503, "ScaledToZero")
    await asyncio.sleep(0.5)
    assert platform.events("start") == []
    assert (await platform.call("quiet")).status == 200
    assert (await platform.call("quiet", "/health")).status == 200


async def test_an_idle_function_scales_to_zero_and_wakes_again(platform: Platform) -> None:
    platform.apply(function("nap", scaling={"keepAlive": {"policy": "FixedTTL", "ttl": "1s"}}))
    await platform.start()
    assert (await platform.call("nap")).status == 200

    async def gone() -> bool:
        return await platform.replicas("nap") == 0

    await platform.until(gone, "scale to zero")
    await platform.until(lambda: len(platform.processes()) <= 2, "the process of the replica is gone")
    assert (await platform.call("nap")).status == 200
    assert len(platform.events("start")) == 2


async def test_min_replicas_are_warm_before_the_first_request(platform: Platform) -> None:
    platform.apply(function("ready", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("ready")
    assert (await platform.call("ready")).headers["Stoker-Cold-Start"] == "0"


@pytest.mark.parametrize("unread_body", [False, True])
async def test_a_client_that_leaves_while_held_frees_its_place(platform: Platform, *, unread_body: bool) -> None:
    platform.apply(function("waits", env={"START_S": "25"}, queue={"maxRequests": 1}, timeout="40s"))
    await platform.start()
    _, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    head = b"POST /default/waits/ HTTP/1.1\r\nHost: localhost\r\n"
    if unread_body:
        writer.write(head + b"Content-Length: 10000000\r\n\r\n" + b"x" * 300_000)
    else:
        writer.write(head + b"Content-Length: 0\r\n\r\n")

    async def full() -> bool:
        return (await platform.call("waits", headers={"Stoker-Deadline-Ms": "50"})).status == 429

    await platform.until(full, "the one place is taken")
    writer.transport.abort()

    async def free() -> bool:
        return (await platform.call("waits", headers={"Stoker-Deadline-Ms": "50"})).status == 504

    await platform.until(free, "the place is free again")
