"""Simulated GPUs by text, the CPU device, product names, and the watch over a driver that may hang."""

import asyncio
from threading import Event

import msgspec
import pytest

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind
from stoker.model.gpu_fault import FaultCode
from stoker_node.devices import DevicesUnavailable, DeviceWatch, cpu_device
from stoker_node.nvml import product_of
from stoker_node.simulated import parse_gpus

pytestmark = pytest.mark.unit


def test_gpus_are_named_in_the_order_of_the_text() -> None:
    devices = parse_gpus("2xA100-40GB, L4-24GB")
    assert [(d.id, d.product, d.memory_mib) for d in devices] == [
        ("sim-0", "A100-40GB", 40960),
        ("sim-1", "A100-40GB", 40960),
        ("sim-2", "L4-24GB", 24576),
    ]
    assert all(d.simulated and d.healthy and d.kind is DeviceKind.GPU for d in devices)
    assert devices[0].label == "A100-40GB/sim-0 (simulated)"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a number of GPUs"),
        ("2", "is not a number of GPUs"),
        ("A100", "is not a number of GPUs"),
        ("2xA100-40", "is not a number of GPUs"),
        ("-1xA100-40GB", "is not a number of GPUs"),
        ("2xA100-40GB,,", "is not a number of GPUs"),
        ("２xA100-40GB", "is not a number of GPUs"),
        ("1xA100-0GB", "1 to 4096"),
        ("1xA100-9999GB", "1 to 4096"),
        ("0xA100-40GB", "1 to 64"),
        ("65xA100-40GB", "1 to 64"),
        ("60xA100-40GB,5xL4-24GB", "65 GPUs"),
    ],
)
def test_a_text_that_is_no_list_of_gpus_is_refused_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(InvalidObject, match=told) as refused:
        parse_gpus(text)
    assert str(refused.value).startswith("--gpus: ")


def test_the_platform_keeps_a_share_of_the_cores() -> None:
    assert cpu_device(cores=1, memory_mib=2048).millicores == 750
    assert cpu_device(cores=3, memory_mib=2048).millicores == 2625
    assert cpu_device(cores=64, memory_mib=2048).millicores == 63_500
    here = cpu_device()
    assert here.millicores > 0
    assert here.memory_mib > 0
    assert here.label == "cpu"


@pytest.mark.parametrize(
    ("name", "memory_mib", "product"),
    [
        ("NVIDIA A100-SXM4-40GB", 40_000, "A100-SXM4-40GB"),
        ("NVIDIA H100 80GB HBM3", 81_000, "H100-80GB-HBM3"),
        ("NVIDIA L4", 23_034, "L4-24GB"),
        ("Tesla T4", 15_360, "T4-16GB"),
        ("NVIDIA GeForce RTX 4090", 24_564, "GeForce-RTX-4090-24GB"),
        ("NVIDIA GB10", 0, "GB10"),
        ("NVIDIA H200 MIG 1g.18gb", 16_384, "H200-MIG-1g.18gb"),
    ],
)
def test_products_are_named_with_their_memory(name: str, memory_mib: int, product: str) -> None:
    assert product_of(name, memory_mib) == product


class ScriptedProbe:
    """A probe whose answers a test writes."""

    def __init__(self, *answers: tuple[Device, ...] | Exception | Event) -> None:
        self.answers = list(answers)

    def list(self) -> tuple[Device, ...]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Event):
            answer.wait(5)
            return ()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None: ...


async def published(probe: ScriptedProbe, first: tuple[Device, ...], count: int) -> list[tuple[Device, ...]]:
    seen: list[tuple[Device, ...]] = []
    enough = asyncio.Event()

    def on_devices(devices: tuple[Device, ...]) -> None:
        seen.append(devices)
        if len(seen) == count:
            enough.set()

    watch = DeviceWatch(probe, first, on_devices, poll_s=0.005, stale_s=0.05)
    watch.start()
    await asyncio.wait_for(enough.wait(), 5)
    await watch.stop()
    return seen


async def test_the_watch_tells_changes_of_health_and_losses_only() -> None:
    good = parse_gpus("2xL4-24GB")
    bad = msgspec.structs.replace(good[1], healthy=False, reason="hot")
    probe = ScriptedProbe(good, good, (good[0], bad), (good[0], bad), (good[0],), good)
    seen = await published(probe, good, 3)
    assert [[device.reason for device in devices] for devices in seen] == [
        ["", "hot"],
        ["", "the driver does not list it any more"],
        ["", ""],
    ]


async def test_a_driver_that_fails_makes_its_devices_unhealthy_until_it_answers() -> None:
    good = parse_gpus("1xL4-24GB")
    seen = await published(ScriptedProbe(DevicesUnavailable("no driver"), ValueError("odd"), good), good, 3)
    assert [devices[0].healthy for devices in seen] == [False, False, True]
    assert seen[0][0].reason == "no driver"
    assert "odd" in seen[1][0].reason


async def test_a_driver_that_hangs_makes_its_devices_unhealthy_and_does_not_hold_the_loop() -> None:
    good = parse_gpus("1xL4-24GB")
    hang = Event()
    (seen,) = await published(ScriptedProbe(hang), good, 1)
    hang.set()
    assert not seen[0].healthy
    assert "has not answered" in seen[0].reason


async def test_a_poke_polls_at_once() -> None:
    good = parse_gpus("1xL4-24GB")
    lost = msgspec.structs.replace(good[0], healthy=False, reason="lost", fault=FaultCode.LOST)
    told = asyncio.Event()
    seen: list[tuple[Device, ...]] = []

    def on_devices(devices: tuple[Device, ...]) -> None:
        seen.append(devices)
        told.set()

    watch = DeviceWatch(ScriptedProbe((lost,)), good, on_devices, poll_s=3600, stale_s=5)
    watch.start()
    watch.poke()
    await asyncio.wait_for(told.wait(), 5)
    await watch.stop()
    assert seen == [(lost,)]


async def test_a_watch_that_is_ended_in_the_moment_of_a_poke_ends() -> None:
    watch = DeviceWatch(ScriptedProbe(()), parse_gpus("1xL4-24GB"), lambda _: None, poll_s=3600, stale_s=5)
    watch.start()
    await asyncio.sleep(0)
    watch.poke()
    async with asyncio.timeout(1):
        await watch.stop()


async def test_a_listener_that_fails_does_not_end_the_watch() -> None:
    good = parse_gpus("1xL4-24GB")
    lost = msgspec.structs.replace(good[0], healthy=False, reason="lost", fault=FaultCode.LOST)
    told: list[tuple[Device, ...]] = []
    twice = asyncio.Event()

    def on_devices(devices: tuple[Device, ...]) -> None:
        told.append(devices)
        if len(told) == 1:
            raise RuntimeError("boom")
        twice.set()

    watch = DeviceWatch(ScriptedProbe((lost,), good), good, on_devices, poll_s=0.005, stale_s=5)
    watch.start()
    async with asyncio.timeout(5):
        await twice.wait()
    await watch.stop()
    assert told == [(lost,), good]


async def test_what_the_watch_finds_wrong_itself_has_a_code() -> None:
    good = parse_gpus("1xL4-24GB")
    seen = await published(ScriptedProbe(DevicesUnavailable("no driver"), (), good), good, 3)
    assert [devices[0].fault for devices in seen] == [FaultCode.DRIVER_ERROR, FaultCode.NOT_LISTED, None]
