"""One suite for every DeviceProbe: simulated, the CPU, NVML against a fake driver, on the simulated library of
dev/gpus, and on the machine's own driver where there is one.
"""

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from simulated_driver import simulated_driver

from stoker.model.device import DeviceKind
from stoker_node.devices import DeviceProbe, DevicesUnavailable
from stoker_node.nvml import NvmlProbe
from stoker_node.simulated import SimulatedProbe

pytestmark = pytest.mark.contract

MIB = 2**20
OK: int = pynvml.NVML_SUCCESS
NOT_FOUND: int = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND


class FakeGpu:
    def __init__(self, uuid: str, name: str, memory_mib: int) -> None:
        self.uuid, self.name, self.memory_mib = uuid, name, memory_mib
        self.errors: dict[str, int] = {}
        self.recovery_action = 0
        self.row_failure = 0
        self.ecc_errors = 0


class FakeDriver:
    """libnvidia-ml as pynvml sees it: C functions by name, filling in what they are pointed to."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = list(gpus)
        self.errors: dict[str, int] = {}
        self.calls: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", lambda: None)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", self._function)

    def _function(self, name: str) -> Callable[..., int]:
        def call(*args: Any) -> int:
            self.calls.append(name)
            if name in self.errors:
                return self.errors[name]
            if name.startswith("nvmlDevice") and name not in ("nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"):
                gpu = self.gpus[(ctypes.cast(args[0], ctypes.c_void_p).value or 0) - 1]
                if name in gpu.errors:
                    return gpu.errors[name]
                handler = getattr(self, name, None)
                return NOT_FOUND if handler is None else int(handler(gpu, *args[1:]))
            handler = getattr(self, name, None)
            return OK if handler is None else int(handler(*args))

        return call

    def nvmlDeviceGetCount_v2(self, out: Any) -> int:
        out._obj.value = len(self.gpus)
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, out: Any) -> int:
        gpu = self.gpus[index.value]
        if "nvmlDeviceGetHandleByIndex_v2" in gpu.errors:
            return int(gpu.errors["nvmlDeviceGetHandleByIndex_v2"])
        ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.c_void_p(index.value + 1)
        return OK

    def nvmlDeviceGetUUID(self, gpu: FakeGpu, buffer: Any, _: Any) -> int:
        buffer.value = gpu.uuid.encode()
        return OK

    def nvmlDeviceGetName(self, gpu: FakeGpu, buffer: Any, _: Any) -> int:
        buffer.value = gpu.name.encode()
        return OK

    def nvmlDeviceGetMemoryInfo_v2(self, gpu: FakeGpu, out: Any) -> int:
        out._obj.total, out._obj.reserved = (gpu.memory_mib + 500) * MIB, 500 * MIB
        return OK

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, out: Any) -> int:
        out._obj.total = gpu.memory_mib * MIB
        return OK

    def nvmlDeviceGetFieldValues(self, gpu: FakeGpu, _: Any, out: Any) -> int:
        value = out._obj[0]
        assert value.fieldId == 230
        value.nvmlReturn, value.value.uiVal = pynvml.NVML_SUCCESS, gpu.recovery_action
        return OK

    def nvmlDeviceGetRemappedRows(self, gpu: FakeGpu, *outs: Any) -> int:
        outs[3]._obj.value = gpu.row_failure
        return OK

    def nvmlDeviceGetTotalEccErrors(self, gpu: FakeGpu, _kind: Any, _counter: Any, out: Any) -> int:
        out._obj.value = gpu.ecc_errors
        return OK


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(FakeGpu("GPU-b", "NVIDIA A100-SXM4-40GB", 40_000), FakeGpu("GPU-a", "NVIDIA L4", 22_500))
    fake.install(monkeypatch)
    return fake


PROBES = [
    "simulated",
    "nvml against a fake driver",
    "nvml on the simulated library",
    "nvml on the simulated library, one GPU cut into MIG instances",
]
if ctypes.util.find_library("nvidia-ml"):
    PROBES.append("nvml on the driver of this machine")


@pytest.fixture(params=PROBES)
def probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DeviceProbe]:
    match request.param:
        case "simulated":
            yield SimulatedProbe("2xA100-40GB,1xL4-24GB")
        case "nvml against a fake driver":
            request.getfixturevalue("driver")
            yield NvmlProbe()
        case "nvml on the simulated library":
            with simulated_driver(monkeypatch, tmp_path):
                yield NvmlProbe()
        case "nvml on the simulated library, one GPU cut into MIG instances":
            with simulated_driver(monkeypatch, tmp_path, "0.mig=1g.5gb:4864,2g.10gb:9856:300"):
                yield NvmlProbe()
        case _:
            yield NvmlProbe()


def test_devices_have_names_of_their_own_and_capacity(probe: DeviceProbe) -> None:
    devices = probe.list()
    assert devices
    assert len({device.id for device in devices}) == len(devices)
    for device in devices:
        assert device.product
        assert device.memory_mib > 0
        assert device.healthy == (device.reason == "")
        assert device.slots >= 1
        assert (device.millicores > 0) == (device.kind is DeviceKind.CPU)
    probe.close()


def test_the_order_is_stable_and_closing_twice_is_harmless(probe: DeviceProbe) -> None:
    assert [device.id for device in probe.list()] == [device.id for device in probe.list()]
    probe.close()
    probe.close()


def test_gpus_that_are_listed_have_telemetry(probe: DeviceProbe) -> None:
    devices = probe.list()
    assert isinstance(probe, NvmlProbe | SimulatedProbe)
    readings = {reading.device_id: reading for reading in probe.readings()}
    assert set(readings) == {device.id for device in devices if device.healthy}
    assert all(0 <= reading.used_mib <= reading.total_mib for reading in readings.values())
    assert all(probe.processes(device.id) is not None or isinstance(probe, NvmlProbe) for device in devices)
    assert probe.processes("nobody") is None
    probe.close()


def test_nvml_devices_are_known_by_uuid_with_usable_memory(driver: FakeDriver) -> None:
    assert [(device.id, device.product, device.memory_mib) for device in NvmlProbe().list()] == [
        ("GPU-a", "L4-24GB", 22_500),
        ("GPU-b", "A100-SXM4-40GB", 40_000),
    ]


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("nvmlDeviceGetHandleByIndex_v2", pynvml.NVML_ERROR_GPU_IS_LOST, "fell off the bus"),
        ("nvmlDeviceGetMemoryInfo_v2", pynvml.NVML_ERROR_GPU_IS_LOST, "fell off the bus"),
        ("nvmlDeviceGetRemappedRows", pynvml.NVML_ERROR_RESET_REQUIRED, "needs a reset"),
        ("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_UNKNOWN, "unknown error"),
    ],
)
def test_a_gpu_that_is_lost_leaves_the_others_alone(driver: FakeDriver, call: str, error: int, told: str) -> None:
    probe = NvmlProbe()
    before = probe.list()
    driver.gpus[0].errors[call] = error
    lost = {device.id: device for device in probe.list()}
    assert not lost["GPU-b"].healthy
    assert told in lost["GPU-b"].reason
    assert lost["GPU-b"].memory_mib == 40_000
    assert lost["GPU-a"] == before[0]
    driver.gpus[0].errors.clear()
    assert probe.list() == before


@pytest.mark.parametrize(
    ("fault", "value", "told"),
    [("recovery_action", 1, "reset"), ("recovery_action", 9, "action 9"), ("row_failure", 1, "exchanged")],
)
def test_what_the_driver_says_of_a_gpu_s_health_counts(driver: FakeDriver, fault: str, value: int, told: str) -> None:
    setattr(driver.gpus[0], fault, value)
    reasons = [device.reason for device in NvmlProbe().list()]
    assert reasons[0] == ""
    assert told in reasons[1]


def test_memory_errors_count_only_where_rows_are_not_remapped(driver: FakeDriver) -> None:
    for gpu in driver.gpus:
        gpu.ecc_errors = 2
    driver.gpus[0].errors["nvmlDeviceGetRemappedRows"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert [device.healthy for device in NvmlProbe().list()] == [True, False]


def test_fields_that_a_driver_does_not_have_are_asked_once(driver: FakeDriver) -> None:
    for gpu in driver.gpus:
        gpu.errors |= dict.fromkeys(
            ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEccErrors"),
            pynvml.NVML_ERROR_NOT_SUPPORTED,
        )
    probe = NvmlProbe()
    assert all(device.healthy and device.memory_mib > 0 for device in probe.list() + probe.list())
    assert driver.calls.count("nvmlDeviceGetFieldValues") == 2
    assert driver.calls.count("nvmlDeviceGetMemoryInfo_v2") == 2


def test_a_gpu_that_may_not_be_opened_is_not_listed(driver: FakeDriver) -> None:
    driver.gpus[0].errors["nvmlDeviceGetHandleByIndex_v2"] = pynvml.NVML_ERROR_NO_PERMISSION
    assert [device.id for device in NvmlProbe().list()] == ["GPU-a"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "--gpus"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "kernel module is not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"),
        (pynvml.NVML_ERROR_UNKNOWN, "nvidia-smi"),
    ],
)
def test_no_driver_is_one_sentence_that_says_what_to_do(driver: FakeDriver, error: int, told: str) -> None:
    driver.errors["nvmlInitWithFlags"] = error
    with pytest.raises(DevicesUnavailable, match=told):
        NvmlProbe()


def test_a_driver_that_goes_away_later_is_told_as_such(driver: FakeDriver) -> None:
    probe = NvmlProbe()
    driver.errors["nvmlDeviceGetCount_v2"] = pynvml.NVML_ERROR_OPERATING_SYSTEM
    with pytest.raises(DevicesUnavailable, match="container"):
        probe.list()
    driver.errors["nvmlShutdown"] = pynvml.NVML_ERROR_UNINITIALIZED
    probe.close()
