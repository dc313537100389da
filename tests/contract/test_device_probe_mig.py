"""MIG, by the production probe with the real pynvml on the simulated library: a GPU that is cut into instances."""

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from simulated_driver import SimulatedDriver, simulated_driver

from stoker.model.device import Device
from stoker.model.gpu_fault import FaultCode
from stoker_node.devices import GpuReading
from stoker_node.gpu_events import GpuEvent, GpuEvents
from stoker_node.nvml import NvmlProbe

pytestmark = pytest.mark.contract

CUT = "0.mig=1g.5gb:4864,1g.5gb:4864:77,3g.20gb:19968"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedDriver]:
    """Two GPUs, the first of which is cut into three."""
    with simulated_driver(monkeypatch, tmp_path, CUT) as driver:
        yield driver


@pytest.fixture
def probe(driver: SimulatedDriver) -> Iterator[NvmlProbe]:
    probe = NvmlProbe(lambda: 0)
    yield probe
    probe.close()


def listed(probe: NvmlProbe) -> dict[str, Device]:
    return {device.id: device for device in probe.list()}


def faults(probe: NvmlProbe, uuids: list[str]) -> set[FaultCode | None]:
    found = listed(probe)
    return {found[uuid].fault for uuid in uuids}


def test_instances_stand_for_their_gpu_with_what_each_of_them_has(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    small, used, large = driver.instances(0)
    found = listed(probe)
    assert found.keys() == {small, used, large, driver.uuids[1]}
    assert all(uuid.startswith("MIG-") for uuid in (small, used, large))
    assert [(found[one].product, found[one].memory_mib) for one in (small, used, large)] == [
        ("A100-SXM4-40GB-MIG-1g.5gb", 4864),
        ("A100-SXM4-40GB-MIG-1g.5gb", 4864),
        ("A100-SXM4-40GB-MIG-3g.20gb", 19968),
    ]
    assert all(device.healthy and device.simulated for device in found.values())


def test_memory_in_use_is_that_of_each_instance_and_utilisation_is_not_told(
    driver: SimulatedDriver, probe: NvmlProbe
) -> None:
    driver.set("1.utilisation=40")
    probe.list()
    small, used, large = driver.instances(0)
    assert set(probe.readings()) == {
        GpuReading(small, total_mib=4864, used_mib=0, utilisation_percent=None),
        GpuReading(used, total_mib=4864, used_mib=77, utilisation_percent=None),
        GpuReading(large, total_mib=19968, used_mib=0, utilisation_percent=None),
        GpuReading(driver.uuids[1], total_mib=40960, used_mib=0, utilisation_percent=40),
    }
    assert probe.processes(small) == ()
    assert probe.processes(driver.uuids[0]) is None  # nobody is given the GPU itself


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("0.recovery-action=2",), FaultCode.RECOVERY_ACTION),
        (("0.row-remap-failure=1",), FaultCode.ROW_REMAP_FAILED),
        (("0.health=lost",), FaultCode.LOST),
        (("0.health=unknown",), FaultCode.DRIVER_ERROR),
    ],
)
def test_what_the_gpu_has_all_its_instances_have(
    driver: SimulatedDriver, probe: NvmlProbe, words: tuple[str, ...], code: FaultCode
) -> None:
    before = probe.list()
    driver.set(*words)
    assert faults(probe, driver.instances(0)) == {code}
    assert listed(probe)[driver.uuids[1]].healthy
    driver.set("0.recovery-action=0", "0.row-remap-failure=0", "0.health=ok")
    assert probe.list() == before


def test_an_xid_of_the_gpu_quarantines_its_instances(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    probe.list()
    told: Queue[GpuEvent] = Queue()
    events = GpuEvents(probe, told.put, wait_s=0.05, retry_s=0.05)
    events.start()
    assert events.listening.wait(5)
    driver.xid(0, 109)
    assert told.get(timeout=5) == GpuEvent(driver.uuids[0], 109, quarantines=True)
    events.stop(5)
    assert faults(probe, driver.instances(0)) == {FaultCode.XID}
    assert listed(probe)[driver.uuids[1]].healthy


def test_an_instance_that_is_destroyed_is_listed_no_more_and_a_new_one_is(
    driver: SimulatedDriver, probe: NvmlProbe
) -> None:
    probe.list()
    small = driver.instances(0)[0]
    driver.set("0.mig=1g.5gb:4864")
    assert listed(probe).keys() == {small, driver.uuids[1]}
    assert {one.device_id for one in probe.readings()} == {small, driver.uuids[1]}
    driver.set(CUT)
    assert listed(probe).keys() == {*driver.instances(0), driver.uuids[1]}


def test_a_gpu_in_mig_mode_without_instances_is_nothing_that_can_be_used(
    driver: SimulatedDriver, probe: NvmlProbe
) -> None:
    probe.list()
    driver.set("0.mig=")
    assert listed(probe).keys() == {driver.uuids[1]}
    driver.set("0.mig-mode=0")
    assert listed(probe).keys() == set(driver.uuids)
    assert {one.device_id for one in probe.readings()} == set(driver.uuids)


def test_a_driver_that_knows_no_mig_has_whole_gpus(driver: SimulatedDriver, probe: NvmlProbe) -> None:
    driver.set("0.mig-mode=0", "*.unsupported=nvmlDeviceGetMigMode")
    assert listed(probe).keys() == set(driver.uuids)
