"""The simulated GPUs' plugin and the agent's pod-resources client against a kubelet: a fake one, and a real one.

STOKER_KUBELET_DIR names the folder that a real kubelet has at /var/lib/kubelet (dev/cluster prints it); no other
plugin may serve nvidia.com/gpu there meanwhile.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_kubelet import AdmissionFailed, FakeKubelet
from settings_of_tests import KUBELET_DIR
from simulated_driver import simulated_driver

from gpus import state as states
from gpus.changes import apply
from gpus.state import gpu_uuid
from stoker.model.device import DeviceMode
from stoker.model.device_ids import sharing_of
from stoker.model.gpu_fault import FaultCode
from stoker_node.devices import cpu_device
from stoker_node.kubelet.pod_resources import KubeletAway, PodResources
from stoker_node.kubernetes.device_view import DeviceView
from stoker_node.nvml import NvmlProbe

pytestmark = pytest.mark.contract

GPU = "nvidia.com/gpu"
NODE = "contract-test"
CARDS = [gpu_uuid(NODE, index) for index in range(3)]
REAL = KUBELET_DIR


class Plugin:
    """The plugin as a process of its own, as it runs on a host."""

    def __init__(self, kubelet: Path, states_folder: Path) -> None:
        self.states = states_folder
        self._arguments = ["--plugins", str(kubelet / "device-plugins"), "--state", str(states_folder), "--node", NODE]
        self.process: subprocess.Popen[str] | None = None

    def start(self, *words: str) -> None:
        dev = str(Path(__file__).parents[2] / "dev")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpus", "run", *self._arguments, *words],
            env={**os.environ, "PYTHONPATH": dev},
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, how: int = signal.SIGTERM) -> str:
        """What it said."""
        process, self.process = self.process, None
        if process is None:
            return ""
        process.send_signal(how)
        _, said = process.communicate(timeout=5)
        assert process.returncode == (0 if how == signal.SIGTERM else -how), said
        return said

    def set(self, *words: str) -> None:
        states.change(self.states, lambda state: apply(state, words))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """The path of a Unix socket has 108 bytes: too few for a test's own folder."""
    with tempfile.TemporaryDirectory(prefix="stoker-") as folder:
        yield Path(folder)


@pytest.fixture
async def fake(short_path: Path) -> AsyncIterator[FakeKubelet]:
    kubelet = FakeKubelet(short_path)
    await kubelet.start()
    yield kubelet
    await kubelet.stop()


@pytest.fixture
def kubelet_dir(request: pytest.FixtureRequest) -> Path:
    """What is /var/lib/kubelet on a node: of a kubelet that runs."""
    if request.param == "real":
        assert REAL
        return Path(REAL)
    request.getfixturevalue("fake")
    folder: Path = request.getfixturevalue("short_path")
    return folder


@contextmanager
def plugin_at(kubelet: Path, states_folder: Path) -> Iterator[Plugin]:
    plugin = Plugin(kubelet, states_folder)
    plugin.states.mkdir(parents=True, exist_ok=True)
    try:
        yield plugin
    finally:
        plugin.end()


@pytest.fixture
def plugin(kubelet_dir: Path, tmp_path: Path) -> Iterator[Plugin]:
    with plugin_at(kubelet_dir, tmp_path / "states") as plugin:
        yield plugin


async def allocatable(resources: PodResources) -> tuple[str, ...] | None:
    found = await resources.allocatable()
    if isinstance(found, KubeletAway):
        return None
    return next((one.device_ids for one in found if one.resource == GPU), ())


async def until(resources: PodResources, wanted: list[str]) -> None:
    found: tuple[str, ...] | None = ()
    try:
        async with asyncio.timeout(20):
            while (found := await allocatable(resources)) != tuple(sorted(wanted)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"allocatable are {found}, not {sorted(wanted)}") from None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kubelet_dir", ["fake", *(["real"] if REAL else [])], indirect=True)
async def test_gpus_are_allocatable_live_and_gone_with_the_plugin(kubelet_dir: Path, plugin: Plugin) -> None:
    resources = PodResources(kubelet_dir / "pod-resources" / "kubelet.sock")
    try:
        plugin.start("--gpus", "2")
        await until(resources, CARDS[:2])
        plugin.set("gpus=3")
        await until(resources, CARDS)
        plugin.set("1.health=lost")
        await until(resources, [CARDS[0], CARDS[2]])
        plugin.set("1.plugin=healthy", "0.plugin=unhealthy")
        await until(resources, CARDS[1:])
        plugin.set("gpus=2", "*.plugin=healthy", "shares=2")
        shares = [f"{card}::{share}" for card in CARDS[:2] for share in (0, 1)]
        await until(resources, shares)
        sharing = sharing_of(await allocatable(resources) or ())
        assert (sharing.mode, sharing.shares) == (DeviceMode.TIME_SLICED, dict.fromkeys(CARDS[:2], 2))
        plugin.set("gpus=0")
        await until(resources, [])
        plugin.set("gpus=1", "shares=1", "*.plugin=follow")
        await until(resources, CARDS[:1])
        assert "registered" in plugin.end(signal.SIGKILL)
        await until(resources, [])
        plugin.start("--gpus", "2")
        await until(resources, CARDS[:1])  # what was changed live survives the plugin
    finally:
        await resources.close()


async def ready(kubelet: FakeKubelet, *, shares: int = 1, count: int = 2) -> None:
    ids = CARDS[:count] if shares == 1 else [f"{card}::{share}" for card in CARDS[:count] for share in range(shares)]
    await kubelet.until(GPU, dict.fromkeys(ids, True))


async def test_a_pod_gets_the_visible_devices_and_nothing_else(fake: FakeKubelet, tmp_path: Path) -> None:
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start("--shares", "2", "--prefer", "order", "--order", "1,0")
        await ready(fake, shares=2)
        assert await fake.admit("a", 2) == {"NVIDIA_VISIBLE_DEVICES": CARDS[1]}
        assert await fake.admit("b", 2) == {"NVIDIA_VISIBLE_DEVICES": CARDS[0]}
        with pytest.raises(AdmissionFailed, match="0 free"):
            await fake.admit("c")
        fake.release("default", "a")
        plugin.set("allocate=fail")
        await asyncio.sleep(0.5)
        with pytest.raises(AdmissionFailed, match="Allocate fails"):
            await fake.admit("c")
    labels = json.loads((plugin.states / "labels.json").read_text())
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB-SHARED"
    assert labels["nvidia.com/gpu.sharing-strategy"] == "time-slicing"


async def test_the_adverse_choice_can_be_changed_live(fake: FakeKubelet, tmp_path: Path) -> None:
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start("--shares", "4")
        await ready(fake, shares=4)
        assert await fake.admit("a") == {"NVIDIA_VISIBLE_DEVICES": CARDS[0]}
        assert await fake.admit("b") == {"NVIDIA_VISIBLE_DEVICES": CARDS[1]}
        plugin.set("prefer=fullest", "1.used-mib=40000")
        await asyncio.sleep(0.5)
        assert [await fake.admit(name) for name in "cde"] == [{"NVIDIA_VISIBLE_DEVICES": CARDS[1]}] * 3


async def test_mig_instances_are_given_away_and_the_agent_s_probe_and_view_know_them(
    fake: FakeKubelet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = PodResources(fake.socket)
    with (
        simulated_driver(monkeypatch, tmp_path / "states") as driver,
        plugin_at(fake.plugins.parent, tmp_path / "states") as plugin,
    ):
        plugin.start()
        await ready(fake)
        plugin.set("0.mig=1g.5gb:4864,3g.20gb:19968")
        small, large = driver.instances(0)
        await fake.until(GPU, dict.fromkeys((small, large, CARDS[1]), True))
        labels = json.loads((plugin.states / "labels.json").read_text())
        assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
        assert labels["nvidia.com/mig.strategy"] == "single"
        probe = NvmlProbe()
        view = DeviceView(probe.list(), cpu_device(), plugin_grace_us=0)

        async def seen(*wanted: str) -> None:
            """The agent finds exactly these healthy."""
            async with asyncio.timeout(10):
                while True:
                    offered = await resources.allocatable()
                    assert not isinstance(offered, KubeletAway)
                    view.set_gpus(probe.list())
                    view.set_allocatable(offered, {}, 0)
                    if {one.id for one in view.devices() if one.healthy} == {*wanted, "cpu"}:
                        return
                    await asyncio.sleep(0.05)

        await seen(small, large, CARDS[1])
        plugin.set("mig-strategy=mixed")
        await fake.until("nvidia.com/mig-1g.5gb", {small: True})
        await fake.until("nvidia.com/mig-3g.20gb", {large: True})
        await fake.until(GPU, {CARDS[1]: True})
        assert await fake.admit("a", resource="nvidia.com/mig-3g.20gb") == {"NVIDIA_VISIBLE_DEVICES": large}
        await seen(small, large, CARDS[1])
        plugin.set("0.health=lost")
        await seen(CARDS[1])
        assert {one.fault for one in view.devices() if one.id in (small, large)} == {FaultCode.LOST}
        probe.close()
    await resources.close()


async def test_a_kubelet_that_restarts_gets_the_devices_again(fake: FakeKubelet, tmp_path: Path) -> None:
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start()
        await ready(fake)
        await fake.admit("a")
        for registrations in (2, 3):
            await fake.restart()
            await ready(fake)
            assert fake.registrations == registrations
        assert await fake.admit("b") == {"NVIDIA_VISIBLE_DEVICES": CARDS[1]}  # the first is still held


async def test_the_plugin_waits_for_a_kubelet_and_asks_again_when_it_is_refused(
    short_path: Path, tmp_path: Path
) -> None:
    kubelet = FakeKubelet(short_path)
    kubelet.refuse = "not now"
    with plugin_at(short_path, tmp_path / "states") as plugin:
        plugin.start()
        await asyncio.sleep(0.5)
        await kubelet.start()
        await asyncio.sleep(1.0)
        assert kubelet.registrations == 0
        kubelet.refuse = ""
        await ready(kubelet)
        assert "not now" in plugin.end()
        await kubelet.stop()


async def test_a_plugin_that_is_killed_leaves_its_devices_unhealthy_until_it_is_back(
    fake: FakeKubelet, tmp_path: Path
) -> None:
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start()
        await ready(fake)
        plugin.end(signal.SIGKILL)
        await fake.until(GPU, dict.fromkeys(CARDS[:2], False))
        plugin.start()  # the dead one's socket still lies there
        await ready(fake)


async def test_a_second_plugin_of_a_node_waits_for_the_first(fake: FakeKubelet, tmp_path: Path) -> None:
    with (
        plugin_at(fake.plugins.parent, tmp_path / "states") as first,
        plugin_at(fake.plugins.parent, tmp_path / "states") as second,
    ):
        first.start()
        await ready(fake)
        second.start()
        await asyncio.sleep(1.0)
        assert fake.registrations == 1
        first.end()
        await fake.until(GPU, dict.fromkeys(CARDS[:2], False))
        await ready(fake)
        assert fake.registrations == 2


async def test_a_broken_state_file_changes_nothing(fake: FakeKubelet, tmp_path: Path) -> None:
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start()
        await ready(fake)
        good = (plugin.states / states.FILE).read_text()
        (plugin.states / states.FILE).write_text(good[: len(good) // 2])
        await asyncio.sleep(0.5)
        assert await fake.admit("a") == {"NVIDIA_VISIBLE_DEVICES": CARDS[0]}
        (plugin.states / states.FILE).write_text(good.replace("shares 1", "shares 2"))
        await ready(fake, shares=2)
        assert "keeping the last good state" in plugin.end()


async def test_a_node_without_gpus_registers_nothing(fake: FakeKubelet, tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps({NODE: {"gpus": 0}}))
    with plugin_at(fake.plugins.parent, tmp_path / "states") as plugin:
        plugin.start("--nodes", str(nodes))
        await asyncio.sleep(1.0)
        assert fake.registrations == 0
        assert states.read(plugin.states).gpus == ()
        plugin.set("gpus=1")
        await ready(fake, count=1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set", "colour=red"], "no key of a node"),
        (["set", "9.ecc=1"], "there is no GPU"),
        (["xid", "5", "79"], "the node has 2"),
        (["run", "--memory", "40"], "quantity"),
        (["show", "--state", "/nonexistent"], "cannot be read"),
    ],
)
def test_a_command_that_cannot_be_says_why_in_one_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = gpus_command(tmp_path, arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_commands_change_and_show_the_state(tmp_path: Path) -> None:
    assert gpus_command(tmp_path, ["set", "0.used-mib=5", "shares=2"]).returncode == 0
    assert gpus_command(tmp_path, ["xid", "1", "79"]).returncode == 0
    shown = states.parse(gpus_command(tmp_path, ["show"]).stdout)
    assert (shown.gpus[0].used_mib, shown.shares, shown.events[0].data) == (5, 2, 79)


def gpus_command(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    from gpus.initial import DEFAULTS, initial, settle

    settle(folder, initial(NODE, DEFAULTS))
    where = [] if "--state" in arguments else ["--state", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "gpus", *arguments, *where],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "dev"), "NODE_NAME": NODE},
        capture_output=True,
        text=True,
        check=False,
        timeout=8,
    )
