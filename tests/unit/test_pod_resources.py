"""Reading device ids, and the client of the kubelet's pod-resources API against a kubelet of every temper."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fake_kubelet import FakeKubelet

from stoker.model.device import DeviceMode
from stoker.model.device_ids import DeviceId, parse_device_id, sharing_of
from stoker_node.kubelet.pod_resources import Allocatable, KubeletAway, PodDevices, PodResources

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("GPU-1f2e", DeviceId("GPU-1f2e")),
        ("GPU-1f2e::0", DeviceId("GPU-1f2e", 0)),
        ("GPU-1f2e::13", DeviceId("GPU-1f2e", 13)),
        ("MIG-77aa", DeviceId("MIG-77aa")),
        ("MIG-77aa::1", DeviceId("MIG-77aa", 1)),
        ("MIG-GPU-1f2e/1/0", DeviceId("MIG-GPU-1f2e/1/0")),
        ("GPU-1f2e::", DeviceId("GPU-1f2e::")),
        ("GPU-1f2e::x", DeviceId("GPU-1f2e::x")),
        ("::3", DeviceId("::3")),
        ("a::1::2", DeviceId("a::1::2")),
        ("", DeviceId("")),
    ],
)
def test_a_device_id_names_a_card_and_perhaps_a_share(text: str, parsed: DeviceId) -> None:
    assert parse_device_id(text) == parsed


def test_the_sharing_mode_shows_in_the_ids() -> None:
    whole = sharing_of(["GPU-a", "GPU-b"])
    assert (whole.mode, whole.shares) == (DeviceMode.WHOLE, {"GPU-a": 1, "GPU-b": 1})
    sliced = sharing_of(["GPU-a::0", "GPU-a::1", "GPU-b::0", "GPU-b::1", "GPU-b::1"])
    assert (sliced.mode, sliced.shares) == (DeviceMode.TIME_SLICED, {"GPU-a": 2, "GPU-b": 2})
    assert sharing_of(["GPU-a::0"], mps=True).mode is DeviceMode.MPS
    assert sharing_of(["MIG-a", "MIG-b"], mps=True).mode is DeviceMode.WHOLE
    assert sharing_of([]).shares == {}


@pytest.fixture
async def kubelet(tmp_path: Path) -> AsyncIterator[FakeKubelet]:
    fake = FakeKubelet(tmp_path)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def resources(kubelet: FakeKubelet) -> AsyncIterator[PodResources]:
    client = PodResources(kubelet.socket, timeout_s=2.0)
    yield client
    await client.close()


async def answered(resources: PodResources) -> tuple[PodDevices, ...]:
    """The first usable answer: a kubelet that comes back is found within a second or so."""
    async with asyncio.timeout(8):
        while isinstance(found := await resources.list(), KubeletAway):
            await asyncio.sleep(0.02)
    return found


async def test_pods_come_with_their_devices_in_a_stable_order(kubelet: FakeKubelet, resources: PodResources) -> None:
    assert await resources.list() == ()
    kubelet.hold("team", "b", "main", ["GPU-b::1", "GPU-a::3"])
    kubelet.hold("team", "a", "main", ["GPU-a::0"])
    kubelet.hold("team", "a", "side", ["x"], resource="example.com/nic")
    assert await resources.list() == (
        PodDevices("team", "a", "main", "nvidia.com/gpu", ("GPU-a::0",)),
        PodDevices("team", "a", "side", "example.com/nic", ("x",)),
        PodDevices("team", "b", "main", "nvidia.com/gpu", ("GPU-a::3", "GPU-b::1")),
    )
    kubelet.release("team", "a")
    assert [one.pod for one in await answered(resources)] == ["b"]


async def test_allocatable_devices_are_the_healthy_ones(kubelet: FakeKubelet, resources: PodResources) -> None:
    kubelet.devices = {"nvidia.com/gpu": {"GPU-b": True, "GPU-a": True, "GPU-c": False}, "example.com/nic": {"x": True}}
    assert await resources.allocatable() == (
        Allocatable("example.com/nic", ("x",)),
        Allocatable("nvidia.com/gpu", ("GPU-a", "GPU-b")),
    )


async def test_a_kubelet_that_restarts_is_away_and_then_found_again(
    kubelet: FakeKubelet, resources: PodResources
) -> None:
    kubelet.hold("team", "a", "main", ["GPU-a"])
    before = await resources.list()
    await kubelet.stop()
    away = await resources.list()
    assert isinstance(away, KubeletAway)
    assert str(kubelet.socket) in away.reason
    await kubelet.start()
    assert await answered(resources) == before


async def test_a_kubelet_that_is_not_there_yet_is_found_when_it_comes(tmp_path: Path) -> None:
    kubelet = FakeKubelet(tmp_path)
    resources = PodResources(kubelet.socket)
    assert isinstance(await resources.allocatable(), KubeletAway)
    await kubelet.start()
    assert await answered(resources) == ()
    await resources.close()
    await resources.close()
    await kubelet.stop()


async def test_a_slow_kubelet_costs_the_timeout_and_no_more(kubelet: FakeKubelet) -> None:
    resources = PodResources(kubelet.socket, timeout_s=0.1)
    kubelet.delay_s = 1.0
    both = await asyncio.gather(resources.list(), resources.allocatable())
    assert all(isinstance(one, KubeletAway) and "DEADLINE" in one.reason for one in both)
    kubelet.delay_s = 0.0
    assert await answered(resources) == ()
    await resources.close()


async def test_an_answer_that_makes_no_sense_counts_as_away(kubelet: FakeKubelet, resources: PodResources) -> None:
    kubelet.garbage = True
    away = await resources.list()
    assert isinstance(away, KubeletAway)
    assert "makes no sense" in away.reason
    kubelet.garbage = False
    assert await resources.list() == ()


async def test_something_that_does_not_speak_grpc_counts_as_away(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"

    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        writer.close()

    server = await asyncio.start_unix_server(chatter, path)
    resources = PodResources(path, timeout_s=0.5)
    assert isinstance(await resources.list(), KubeletAway)
    await resources.close()
    server.close()


async def test_a_socket_that_nobody_reads_costs_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        resources = PodResources(path, timeout_s=0.2)
        assert isinstance(await resources.list(), KubeletAway)
        await resources.close()
