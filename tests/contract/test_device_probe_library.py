"""The production probe with the real pynvml on the simulated libnvidia-ml.so.1: every fact live, no file breaks it."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Self

import pynvml
import pytest
from simulated_driver import SimulatedDriver, library, simulated_driver

from gpus import state as states
from stoker.model.gpu_fault import FaultCode
from stoker_node.devices import DevicesUnavailable, GpuProcess, GpuReading
from stoker_node.gpu_events import GpuEvent, GpuEvents
from stoker_node.nvml import NvmlProbe

pytestmark = pytest.mark.contract


class Clock:
    now_us = 0

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedDriver]:
    with simulated_driver(monkeypatch, tmp_path) as driver:
        yield driver


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def probe(driver: SimulatedDriver, clock: Clock) -> Iterator[NvmlProbe]:
    probe = NvmlProbe(clock)
    yield probe
    probe.close()


def fault(probe: NvmlProbe, driver: SimulatedDriver, index: int = 0) -> FaultCode | None:
    found = {device.id: device for device in probe.list()}[driver.uuids[index]]
    assert found.healthy == (found.fault is None) == (found.reason == "")
    return found.fault


def test_what_a_gpu_is_comes_from_the_state_file(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("1.name=NVIDIA L4", "1.memory=23034Mi", "1.reserved-mib=500")
    assert [(one.id, one.product, one.memory_mib, one.healthy) for one in probe.list()] == sorted(
        [(driver.uuids[0], "A100-SXM4-40GB", 40960, True), (driver.uuids[1], "L4-24GB", 22534, True)]
    )


def test_simulated_gpus_are_told_to_be_so_unless_the_driver_says_otherwise(driver: SimulatedDriver) -> None:
    assert all(device.simulated for device in NvmlProbe().list())
    driver.set("driver=570.86.15")
    assert not any(device.simulated for device in NvmlProbe().list())


def test_memory_utilisation_and_processes_are_live(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    probe.list()
    driver.set(
        "0.used-mib=1234",
        "0.utilisation=87",
        "0.processes=4321:1000,99:-",
        "1.unsupported=nvmlDeviceGetUtilizationRates",
    )
    first, second = driver.uuids
    assert set(probe.readings()) == {
        GpuReading(first, total_mib=40960, used_mib=1234, utilisation_percent=87),
        GpuReading(second, total_mib=40960, used_mib=0, utilisation_percent=None),
    }
    assert probe.processes(first) == (GpuProcess(99, None), GpuProcess(4321, 1000))
    assert probe.processes(second) == ()
    assert probe.processes("GPU-nobody") is None
    driver.set("1.unsupported=nvmlDeviceGetComputeRunningProcesses_v3")
    assert probe.processes(second) is None
    driver.set("0.used-mib=40961", "0.processes=")
    assert {one.device_id: one.used_mib for one in probe.readings()}[first] == 40960
    assert probe.processes(first) == ()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("0.health=lost",), FaultCode.LOST),
        (("0.health=reset-required",), FaultCode.RESET_REQUIRED),
        (("0.health=unknown",), FaultCode.DRIVER_ERROR),
        (("0.recovery-action=2",), FaultCode.RECOVERY_ACTION),
        (("0.recovery-action=7",), FaultCode.RECOVERY_ACTION),
        (("0.row-remap-failure=1",), FaultCode.ROW_REMAP_FAILED),
        (("0.ecc=3", "0.unsupported=nvmlDeviceGetRemappedRows"), FaultCode.ECC),
        (("0.ecc=3",), None),
        (("0.clock-events=4",), None),
        (("0.temperature=89",), None),
    ],
)
def test_health_is_live_and_leaves_the_other_gpu_alone(
    driver: SimulatedDriver, probe: NvmlProbe, words: tuple[str, ...], code: FaultCode | None
) -> None:
    driver.set("0.ecc=0", *(word for word in words if "unsupported" in word))
    assert fault(probe, driver) is None
    driver.set(*words)
    assert fault(probe, driver) is code
    assert fault(probe, driver, 1) is None
    driver.set("0.health=ok", "0.recovery-action=0", "0.row-remap-failure=0", "0.ecc=0")
    assert fault(probe, driver) is None


@pytest.mark.parametrize("word", ["0.clock-events=32", "0.clock-events=64", "0.clock-events=128", "0.temperature=90"])
def test_heat_must_show_twice_and_be_gone_for_half_a_minute(
    driver: SimulatedDriver, probe: NvmlProbe, clock: Clock, word: str
) -> None:
    driver.set(word)
    assert fault(probe, driver) is None
    assert fault(probe, driver) is FaultCode.THERMAL
    driver.set("0.clock-events=0", "0.temperature=40")
    clock.now_us += 29_000_000
    assert fault(probe, driver) is FaultCode.THERMAL
    clock.now_us += 1_000_000
    assert fault(probe, driver) is None


def test_gpus_may_come_and_go_and_an_index_may_come_to_mean_another(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    two = driver.uuids
    probe.list()
    driver.set("gpus=3")
    assert {device.id for device in probe.list()} == set(driver.uuids) > set(two)
    state = states.read(driver.folder)
    states.write(driver.folder, states.parse(states.render(state).replace("gpu " + two[0], "gpu GPU-other")))
    assert {device.id for device in probe.list()} == {"GPU-other", two[1], driver.uuids[2]}
    assert two[0] not in {one.device_id for one in probe.readings()}
    driver.set("gpus=0")
    assert probe.list() == ()
    assert probe.readings() == ()


def test_a_gpu_that_may_not_be_opened_is_not_listed(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("0.health=no-permission")
    assert [device.id for device in probe.list()] == [driver.uuids[1]]


def test_functions_that_the_library_lacks_stay_absent(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    handle = pynvml.nvmlDeviceGetHandleByUUID(driver.uuids[0])
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetPowerUsage(handle)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID("GPU-nobody")


def test_a_driver_that_hangs_is_let_go_by_the_state_file(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("*.hang-ms=60000")
    done = threading.Event()

    def poll() -> None:
        probe.list()
        done.set()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    assert not done.wait(0.2)
    driver.set("*.hang-ms=0")
    assert done.wait(5)
    thread.join()


def test_no_state_is_no_driver(driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_GPUS_STATE", str(driver.folder / "nothing"))
    with pytest.raises(DevicesUnavailable, match="kernel module is not loaded"):
        NvmlProbe()


def test_a_file_that_is_broken_or_gone_leaves_the_last_good_state(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("0.used-mib=77", "0.processes=1:2", "0.unsupported=nvmlX,nvmlY")
    driver.xid(0, 31)
    good = driver.path.read_bytes()
    before = probe.list(), probe.readings()
    for text in (
        b"",
        b"\0" * 50,
        b"end\n",
        b"simulated-gpus 1\n",
        good * 2,
        b"simulated-gpus 1\ngpu \nend\n",
        b"simulated-gpus 1\ngpu a\nname a\nmig-mode 1\nmig b c 1 0\ngpu b\nname b\nend\n",
        b"simulated-gpus 1\ngpu a\nname a\nmig b c 1 0\nmig b c 1 0\nend\n",
        b"\xff" * 9,
    ):
        driver.path.write_bytes(text)
        assert (probe.list(), probe.readings()) == before
    for length in range(0, len(good) - 4, 7):
        driver.path.write_bytes(good[:length])
        assert (probe.list(), probe.readings()) == before
    driver.path.write_bytes(b"simulated-gpus 1\n" + b"x" * 300_000 + b"\nend\n")
    assert (probe.list(), probe.readings()) == before
    driver.path.unlink()
    assert (probe.list(), probe.readings()) == before
    driver.path.mkdir()
    assert (probe.list(), probe.readings()) == before


def test_no_file_can_crash_the_library(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    draw = random.Random(5)
    driver.set("0.processes=1:2,3:-", "0.unsupported=a,b", "1.mig=1g.5gb:4864,2g.10gb:9856:5")
    driver.xid(1, 79)
    good = driver.path.read_text()
    lines = [line for line in good.split("\n") if "hang-ms" not in line]  # a call that hangs for ages is no crash
    numbers = ["-1", "99999999999999999999", "1e3", "", "0x10", "1099511627776", "1099511627777"]
    for _ in range(300):
        text = [line for line in lines if draw.random() > 0.03]
        at = draw.randrange(len(text))
        key = text[at].strip().split(" ")[0]
        text[at] = draw.choice(
            [
                f"{key} {draw.choice(numbers)}",
                f"{key} " + "y" * draw.choice([94, 95, 96, 511, 512, 5000]),
                "gpu GPU-" + str(draw.random()),
                "event 1 2",
                "process 1",
                "process 1 2 3",
                "mig MIG-a 1g.5gb 1",
                "mig MIG-a 1g.5gb 1 2",
                text[at] * draw.randrange(1, 200),
            ]
        )
        driver.path.write_text("\n".join(text * draw.choice([1, 1, 1, 40])))
        probe.list()
        probe.readings()
    driver.path.write_text(good)
    assert [device.id for device in probe.list()] == sorted([driver.uuids[0], *driver.instances(1)])


def test_both_readers_agree_on_what_is_a_state(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("gpus=3", "2.mig=1g.5gb:4864,2g.10gb:9856")
    lines = states.render(states.read(driver.folder)).split("\n")
    marker = "99"
    for leave_out in range(len(lines)):
        text = "\n".join(lines[:leave_out] + lines[leave_out + 1 :]).replace("used-mib 0", f"used-mib {marker}")
        try:
            states.parse(text)
        except states.BrokenState:
            continue
        driver.set("*.used-mib=0")
        driver.path.write_text(text)
        probe.list()
        assert any(one.used_mib == 99 for one in probe.readings()), f"the library refuses what Python takes: {text}"


def test_a_process_of_its_own_finds_library_and_state_by_the_loader_s_path(
    driver: SimulatedDriver, tmp_path: Path
) -> None:
    # As in the agent's pod: only LD_LIBRARY_PATH is set, and the state lies beside the library.
    (tmp_path / "libnvidia-ml.so.1").write_bytes(library().read_bytes())
    program = "from stoker_node.nvml import NvmlProbe; print(*(device.id for device in NvmlProbe().list()))"
    environment = {key: value for key, value in os.environ.items() if key != "STOKER_GPUS_STATE"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"LD_LIBRARY_PATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=8,
    )
    assert done.stdout.split() == sorted(driver.uuids)


class Listener:
    def __init__(self, probe: NvmlProbe) -> None:
        self.events: Queue[GpuEvent] = Queue()
        self.thread = GpuEvents(probe, self.events.put, wait_s=0.05, retry_s=0.05)

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.thread.listening.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.stop(5)


def test_an_xid_that_asks_for_a_reset_quarantines_until_one_was_done(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    assert fault(probe, driver) is None
    with Listener(probe) as listener:
        driver.xid(0, 109)
        assert listener.events.get(timeout=5) == GpuEvent(driver.uuids[0], 109, quarantines=True)
    assert fault(probe, driver) is FaultCode.XID
    assert fault(probe, driver) is FaultCode.XID
    assert fault(probe, driver, 1) is None
    driver.set("0.recovery-action=1")
    assert fault(probe, driver) is FaultCode.RECOVERY_ACTION
    driver.set("0.recovery-action=0")
    assert fault(probe, driver) is None


def test_a_gpu_that_was_gone_and_is_back_has_been_reset(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    probe.list()
    assert probe.note_xid(driver.uuids[0], 79)
    assert fault(probe, driver) is FaultCode.XID
    driver.set("0.health=lost")
    assert fault(probe, driver) is FaultCode.LOST
    driver.set("0.health=ok")
    assert fault(probe, driver) is None


def test_what_an_application_did_is_told_and_leaves_the_gpu_in_service(
    driver: SimulatedDriver, probe: NvmlProbe
) -> None:
    driver.xid(0, 13)  # nobody waits yet
    probe.list()
    with Listener(probe) as listener:
        driver.xid(0, 31)
        driver.xid(1, 43)
        driver.xid(1, 0, kind=0x8000)
        told = [listener.events.get(timeout=5) for _ in range(3)]
    first, second = driver.uuids
    assert told == [
        GpuEvent(first, 31, quarantines=False),
        GpuEvent(second, 43, quarantines=False),
        GpuEvent(second, None, quarantines=False),
    ]
    assert all(device.healthy for device in probe.list())


def test_events_are_followed_again_when_the_gpus_change(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("gpus=0")
    probe.list()
    listener = Listener(probe)
    listener.thread.start()
    driver.set("gpus=1")
    probe.list()
    assert listener.thread.listening.wait(5)
    driver.xid(0, 62)
    assert listener.events.get(timeout=5).xid == 62
    listener.thread.stop(5)
