"""More functions than devices: idle ones give way, backlogged ones take turns, memory is never promised twice."""

import asyncio
import time

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
NAMES = ["a", "b", "c", "d", "e"]


async def test_five_idle_exclusive_functions_share_two_gpus_by_giving_way(platform: Platform) -> None:
    for name in NAMES:
        platform.apply(function(name))
    await platform.start(gpus="2xA100-40GB")
    for _ in range(2):
        for name in NAMES:
            assert (await platform.call(name, "/sleep?ms=5")).status == 200
    live = sum([await platform.replicas(name) for name in NAMES])
    assert live <= 2


async def test_five_exclusive_functions_under_constant_backlog_take_turns_on_two_gpus(platform: Platform) -> None:
    for name in NAMES:
        platform.apply(function(name, slo={"latency": "60s"}, timeout="60s", scaling={"maxReplicas": 1}))
    await platform.start(gpus="2xA100-40GB", env={"STOKER_QUANTUM_S": "1"})
    end = time.monotonic() + 15
    served = dict.fromkeys(NAMES, 0)
    statuses = set()

    async def client(name: str) -> None:
        while time.monotonic() < end:
            answer = await platform.call(name, "/sleep?ms=50")
            statuses.add(answer.status)
            served[name] += 1

    await asyncio.gather(*(client(name) for name in NAMES for _ in range(2)))
    assert statuses == {200}
    assert min(served.values()) >= 10, served
    assert await platform.metric("stoker_replica_drains_total", reason="QuantumOver") >= 3


async def test_shared_functions_never_get_more_memory_than_the_device_has(platform: Platform) -> None:
    gpu = {"memory": "15Gi", "sharing": "Shared"}
    for name in ("x", "y", "z"):
        platform.apply(function(name, gpu=gpu))
    await platform.start(gpus="1xA100-40GB")
    answers = await asyncio.gather(*(platform.call(name, "/sleep?ms=300") for name in ("x", "y", "z")))
    assert [answer.status for answer in answers] == [200] * 3
    devices = (await platform.state())["devices"]
    assert all(device["reservedMib"] <= device["memoryMib"] for device in devices)
    assert await platform.replicas("x") + await platform.replicas("y") + await platform.replicas("z") <= 2


async def test_a_function_larger_than_any_gpu_is_refused_by_name_and_the_others_go_on(platform: Platform) -> None:
    platform.apply(function("fits"))
    platform.apply(function("huge", gpu={"memory": "200Gi"}))
    await platform.start()
    assert (await platform.call("fits")).status == 200
    answer = await platform.call("huge")
    assert answer.status in (404, 503)
    assert "huge.yaml" in platform.output.read_text()
