"""What the node agent follows: the kubelet, and the memory of shared GPUs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from node_on_kubernetes import NodeWorld, card, option

from stoker.model.device import DeviceMode
from stoker.model.function import Sharing
from stoker_node.devices import GpuProcess, GpuReading
from stoker_node.kubelet.pod_resources import Allocatable, KubeletAway, PodDevices
from stoker_node.kubernetes import kubelet_watch
from stoker_node.kubernetes.kubelet_watch import KubeletWatch
from stoker_node.kubernetes.later import Later
from stoker_node.kubernetes.memory_guard import MemoryGuard
from stoker_node.kubernetes.memory_watch import Excess, MemoryWatch, Resident, offenders_of
from stoker_node.kubernetes.process_owner import pod_of

pytestmark = pytest.mark.unit


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


class ScriptedKubelet:
    def __init__(self) -> None:
        self.lists = 0
        self.away = False
        self.offers_away = False
        """Only what it gives away cannot be had."""

    async def list(self) -> tuple[PodDevices, ...] | KubeletAway:
        self.lists += 1
        return KubeletAway("no socket") if self.away else ()

    async def allocatable(self) -> tuple[Allocatable, ...] | KubeletAway:
        if self.offers_away:
            return KubeletAway("no offers")
        return KubeletAway("no socket") if self.away else (Allocatable("g", ("GPU-a",)),)


class Followed:
    def __init__(self) -> None:
        self.kubelet = ScriptedKubelet()
        self.waited_for = False
        self.heard: list[Sequence[PodDevices]] = []
        self.offered: list[Sequence[Allocatable]] = []
        self.watch = KubeletWatch(
            self.kubelet,
            on_list=self.heard.append,
            on_allocatable=self.offered.append,
            waited_for=lambda: self.waited_for,
            fast_s=0.005,
            slow_s=30,
        )


async def test_the_kubelet_is_asked_often_only_while_a_pod_waits_for_it() -> None:
    followed = Followed()
    followed.watch.start()
    await until(lambda: len(followed.heard) == 1)
    assert len(followed.offered) == 1
    await asyncio.sleep(0.03)
    assert followed.kubelet.lists == 1
    followed.waited_for = True
    followed.watch.poke()
    await until(lambda: followed.kubelet.lists >= 4)
    assert len(followed.offered) == 1  # once a second
    await followed.watch.stop()


async def test_who_must_know_the_kubelets_first_word_waits_for_it_and_no_longer() -> None:
    followed = Followed()
    followed.watch.start()
    await followed.watch.asked(5)
    assert len(followed.offered) == 1
    await followed.watch.stop()
    silent = Followed()
    await silent.watch.asked(0.01)
    assert silent.offered == []


async def test_that_the_kubelet_is_away_is_no_first_word_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet_watch, "ALLOCATABLE_S", 0.01)
    followed = Followed()
    followed.kubelet.away = True
    followed.watch.start()
    waiting = asyncio.ensure_future(followed.watch.asked(5))
    await until(lambda: followed.kubelet.lists == 1)
    await asyncio.sleep(0.02)
    assert not waiting.done()
    assert not followed.watch.has_offered
    followed.kubelet.away = False
    followed.watch.poke()
    await waiting
    assert followed.watch.has_offered
    assert len(followed.offered) == 1
    await followed.watch.stop()


async def test_one_question_that_fails_is_told_although_the_other_is_answered_and_slows_nobody_down() -> None:
    followed = Followed()
    followed.kubelet.offers_away = followed.waited_for = True
    followed.watch.start()
    await until(lambda: followed.kubelet.lists >= 4)
    assert "no offers" in followed.watch.problem
    assert not followed.watch.has_offered
    await followed.watch.stop()


async def test_a_kubelet_that_is_away_is_said_and_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet_watch, "ALLOCATABLE_S", 0.05)
    followed = Followed()
    followed.kubelet.away = followed.waited_for = True
    followed.watch.start()
    await until(lambda: followed.kubelet.lists == 1)
    await asyncio.sleep(0.03)
    assert "no socket" in followed.watch.problem
    assert followed.kubelet.lists == 1
    followed.kubelet.away = False
    followed.watch.poke()
    await until(lambda: followed.watch.problem == "")
    await followed.watch.stop()


async def test_a_listener_that_fails_does_not_end_the_watch() -> None:
    followed = Followed()
    followed.waited_for = True

    def fail(listing: Sequence[PodDevices]) -> None:
        followed.heard.append(listing)
        raise RuntimeError("boom")

    followed.watch._on_list = fail
    followed.watch.start()
    await until(lambda: len(followed.heard) >= 2)
    await followed.watch.stop()


async def test_later_runs_once_for_many_reasons_and_survives_a_failure() -> None:
    runs = 0

    def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("boom")

    later = Later(run)
    later.ask()
    later.ask()
    await asyncio.sleep(0.005)
    assert runs == 1
    later.ask()
    await asyncio.sleep(0.005)
    assert runs == 2
    later.cancel()
    later.ask()
    await asyncio.sleep(0.005)
    assert runs == 2


POD_UID = "0b6f2f9e-8a52-4f43-9c1f-0d2b6f3c9a11"


@pytest.mark.parametrize(
    ("cgroup", "uid"),
    [
        (f"0::/kubepods/burstable/pod{POD_UID}/abc\n", POD_UID),
        (f"0::/kubepods.slice/kubepods-pod{POD_UID.replace('-', '_')}.slice/cri-abc.scope\n", POD_UID),
        (f"12:cpu:/kubepods/pod{POD_UID}/a\n11:memory:/kubepods/pod{POD_UID}/a\n", POD_UID),
        (f"12:cpu:/pod{POD_UID}\n11:memory:/pod{POD_UID.replace('0b', '1b')}\n", None),
        ("0::/system.slice/sshd.service\n", None),
    ],
)
def test_a_process_belongs_to_the_pod_of_its_cgroup(tmp_path: Path, cgroup: str, uid: str | None) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(cgroup)
    assert pod_of(7, tmp_path) == uid
    assert pod_of(8, tmp_path) is None


RESIDENTS = (Resident("a", "ns/a-0123456789-0", 8000), Resident("b", "ns/b-0123456789-0", 8000))


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ([GpuProcess(1, 9000), GpuProcess(2, 7000)], ["a"]),
        ([GpuProcess(1, 5000), GpuProcess(11, 4000), GpuProcess(2, 12000)], ["b", "a"]),
        ([GpuProcess(1, 8400)], []),
        ([GpuProcess(1, None), GpuProcess(9, 30000)], []),
        (None, []),
    ],
)
def test_an_offender_is_named_only_where_its_process_and_its_use_are_known(
    processes: list[GpuProcess] | None, found: list[str]
) -> None:
    owners = {1: "a", 11: "a", 2: "b"}
    over = offenders_of(processes, RESIDENTS, owners.get, 500)
    assert [one.pod_uid for one, _ in over] == found


class ScriptedGpus:
    def __init__(self) -> None:
        self.used_mib = 10000
        self.readings_asked = 0
        self.processes_asked = 0

    def readings(self) -> tuple[GpuReading, ...]:
        self.readings_asked += 1
        return (GpuReading("GPU-a", total_mib=40960, used_mib=self.used_mib, utilisation_percent=50),)

    def processes(self, device_id: str) -> tuple[GpuProcess, ...]:
        self.processes_asked += 1
        return (GpuProcess(1, self.used_mib - 1000),)


async def test_processes_are_listed_on_a_jump_and_not_again_while_it_stays() -> None:
    gpus, excesses, residents = ScriptedGpus(), list[Excess](), {"GPU-a": RESIDENTS}
    watch = MemoryWatch(
        gpus,
        lambda: residents,
        on_readings=lambda _: None,
        on_excess=excesses.append,
        pod_of=lambda _: "a",
        clock_s=lambda: 0.0,
        slack_mib=500,
        fast_s=0.002,
    )
    watch.start()
    await until(lambda: gpus.readings_asked > 5)
    assert gpus.processes_asked == 0
    gpus.used_mib = 20000
    await until(lambda: len(excesses) == 1)
    seen = gpus.readings_asked
    await until(lambda: gpus.readings_asked > seen + 5)
    assert gpus.processes_asked == 1
    assert (excesses[0].promised_mib, excesses[0].used_mib) == (16000, 20000)
    assert excesses[0].offenders == ((RESIDENTS[0], 19000),)
    gpus.used_mib = 22000
    await until(lambda: len(excesses) == 2)
    await watch.stop()


async def test_memory_is_read_seldom_while_nobody_shares() -> None:
    gpus = ScriptedGpus()
    alone: Mapping[str, Sequence[Resident]] = {"GPU-a": RESIDENTS[:1]}
    readings: list[Any] = []
    watch = MemoryWatch(
        gpus,
        lambda: alone,
        on_readings=readings.append,
        on_excess=lambda _: None,
        pod_of=lambda _: None,
        clock_s=lambda: 0.0,
        slack_mib=0,
        fast_s=0.002,
        slow_s=30,
    )
    watch.start()
    await until(lambda: len(readings) == 1)
    await asyncio.sleep(0.02)
    assert gpus.readings_asked == 1
    await watch.stop()


@pytest.mark.parametrize("enforced", [True, False])
async def test_an_offender_is_accused_only_where_the_policy_enforces(enforced: bool) -> None:
    world = await NodeWorld(card(), mode=DeviceMode.TIME_SLICED, shares=4).start()
    owner = world.apply()
    shared = (option(8000, sharing=Sharing.SHARED),)
    first = (await world.pod(owner, gated=True, options=shared)).devices("GPU-a::0")
    second = (await world.pod(owner, gated=True, options=shared, ordinal=1)).devices("GPU-a::1")
    world.step()
    guard = MemoryGuard(world.sync, devices=world.view.devices, enforced=lambda: enforced, sink=world.sink)
    here = guard.residents()["GPU-a"]
    assert {one.pod_uid for one in here} == {first.uid, second.uid}
    guard.on_readings((GpuReading("GPU-a", total_mib=40960, used_mib=20000, utilisation_percent=None),))
    offender = next(one for one in here if one.pod_uid == first.uid)
    guard.on_excess(Excess("GPU-a", 20000, 16000, ((offender, 12000),)))
    guard.on_excess(Excess("GPU-unknown", 20000, 16000, ()))
    assert bool(first.report().unfit) is enforced
    assert second.report().unfit == ""
    text = world.sink.text().decode()
    assert 'stoker_replica_memory_exceeded_total{function="f",namespace="ns"} 1.0' in text
    assert guard.used_mib == {"GPU-a": 20000}
    await world.close()
