"""NVIDIA GPUs by NVML (package nvidia-ml-py, module pynvml), behind DeviceProbe and GpuTelemetry.

GPUs are known by UUID: NVML's order may change between boots and is not CUDA's. A GPU in MIG mode is listed as its
instances, with its health. Errors are told apart: a field that a GPU or driver does not have is not asked again; a GPU
that is lost is unhealthy and leaves the others alone; a driver that does not answer at all is DevicesUnavailable.
Calls block: only DeviceWatch, start-up and threads of their own may call this. Any of its methods may run in several
threads at once.
"""

import re
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

import msgspec
import pynvml
from msgspec import Struct

from stoker.model.device import Device, DeviceKind
from stoker.model.gpu_fault import Fault, FaultCode
from stoker_node.devices import DevicesUnavailable, GpuProcess, GpuReading
from stoker_node.gpu_health import HealthGate, Signs
from stoker_node.mig import instances_of, is_cut

_RECOVERY_ACTION_FIELD = pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
_NOT_THERE = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA)
_GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
_INIT_ADVICE = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 is not on this machine: install the NVIDIA driver, or "
    "simulate GPUs with --gpus 1xA100-40GB",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel module is not loaded: load it or reboot, then start again",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA library and the loaded kernel module have different "
    "versions (the driver was upgraded): reboot, then start again",
    pynvml.NVML_ERROR_NO_PERMISSION: "this user may not open the NVIDIA devices: allow /dev/nvidia* and start again",
    pynvml.NVML_ERROR_OPERATING_SYSTEM: "the operating system blocks the NVIDIA devices (in a container: they were "
    "not given to it, or systemd took them away): create the container again",
}


SIMULATED_DRIVER = "simulated"
"""The version of a driver of no real GPUs (dev/gpus): what runs there is told to be simulated, as in embedded mode."""


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class NvmlProbe:
    """One NVML session for the life of the process."""

    def __init__(self, clock_us: Callable[[], int] = _monotonic_us) -> None:
        """Raises DevicesUnavailable when there is no usable driver."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as err:
            raise DevicesUnavailable(_init_message(err)) from err
        self._open = True
        self._simulated = _driver_version() == SIMULATED_DRIVER
        self._clock_us = clock_us
        self._absent: set[tuple[str, str]] = set()
        self._known: dict[int, _Seen] = {}
        self._names: dict[str, str] = {}
        self._slowdowns_c: dict[str, int | None] = {}
        """By UUID, as the names: what never changes is read once."""
        self._handles: dict[str, Any] = {}
        self._device_handles: dict[str, Any] = {}
        """Of what is listed: MIG instances in place of their GPU."""
        self._gate = HealthGate()
        self._gate_lock = Lock()

    def list(self) -> tuple[Device, ...]:
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as err:
            raise DevicesUnavailable(_init_message(err)) from err
        found = [device for index in range(count) for device in self._devices(index)]
        return tuple(sorted(found, key=lambda device: device.id))

    def readings(self) -> tuple[GpuReading, ...]:
        found = []
        for uuid, handle in sorted(self._device_handles.copy().items()):
            try:
                total_mib, _, used_mib = self._memory_mib(handle, uuid)
                rates = self._ask(
                    uuid, "utilisation", lambda handle=handle: pynvml.nvmlDeviceGetUtilizationRates(handle)
                )
            except pynvml.NVMLError:
                continue  # list() finds out what is wrong with it
            percent = None if rates is None else int(rates.gpu)
            found.append(GpuReading(uuid, total_mib=total_mib, used_mib=used_mib, utilisation_percent=percent))
        return tuple(found)

    def processes(self, device_id: str) -> tuple[GpuProcess, ...] | None:
        handle = self._device_handles.get(device_id)
        if handle is None:
            return None
        try:
            found = self._running(device_id, handle)
        except pynvml.NVMLError:
            return None
        if found is None:
            return None
        return tuple(
            GpuProcess(int(one.pid), None if one.usedGpuMemory is None else int(one.usedGpuMemory) >> 20)
            for one in sorted(found, key=lambda one: one.pid)
        )

    def _running(self, uuid: str, handle: Any) -> Any:
        """By version: the call without one raises an error that is no NVMLError where the driver is older."""
        found = self._ask(uuid, "processes_v3", lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle))
        if found is None:
            found = self._ask(uuid, "processes_v2", lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v2(handle))
        return found

    def handles(self) -> dict[str, Any]:
        """UUID to NVML's handle of the GPUs, never of instances, that answered the last list(): who reports events."""
        return dict(self._handles)

    def note_xid(self, device_id: str, xid: int) -> bool:
        """Take an XID into account (stoker_node.gpu_events). Whether it takes the GPU out of service."""
        with self._gate_lock:
            return self._gate.note_xid(device_id, xid)

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                return  # a session that cannot be ended ends with the process

    def _devices(self, index: int) -> tuple[Device, ...]:
        """One GPU or its MIG instances; nothing for one that this process may not open or could never identify."""
        known = self._known.get(index)
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError as err:
            if known is None or err.value == pynvml.NVML_ERROR_NO_PERMISSION:
                return ()
            return self._failed(known, err)
        try:
            seen, handles = self._look(handle, uuid)
            signs = self._signs(handle, uuid, self._slowdown_c(handle, uuid))
        except pynvml.NVMLError as err:
            unnamed = Device(id=uuid, kind=DeviceKind.GPU, product="unknown", memory_mib=0)
            return self._failed(known if known is not None and known.uuid == uuid else _Seen(uuid, (unnamed,)), err)
        for before in known.devices if known is not None else ():
            if before.id not in handles:
                self._device_handles.pop(before.id, None)
        self._known[index] = seen
        self._handles[uuid] = handle
        self._device_handles.update(handles)
        with self._gate_lock:
            fault = self._gate.judge(uuid, signs, self._clock_us())
        return seen.unhealthy(fault) if fault else seen.devices

    def _look(self, gpu: Any, uuid: str) -> tuple["_Seen", dict[str, Any]]:
        """What is to be listed for a GPU, and the handles of that."""
        parts: tuple[tuple[str, Any], ...] = ((uuid, gpu),)
        # Of a GPU that is cut, its own memory is told to some only, and is of no use.
        if is_cut(self._ask(uuid, "mig", lambda: pynvml.nvmlDeviceGetMigMode(gpu))):
            parts = instances_of(gpu)
        return _Seen(uuid, tuple(self._described(part, handle) for part, handle in parts)), dict(parts)

    def _described(self, uuid: str, handle: Any) -> Device:
        total_mib, memory_mib, _ = self._memory_mib(handle, uuid)
        if uuid not in self._names:
            self._names[uuid] = _text(pynvml.nvmlDeviceGetName(handle))
        return Device(
            id=uuid,
            kind=DeviceKind.GPU,
            product=product_of(self._names[uuid], total_mib),
            memory_mib=memory_mib,
            simulated=self._simulated,
        )

    def _failed(self, seen: "_Seen", err: pynvml.NVMLError) -> tuple[Device, ...]:
        self._handles.pop(seen.uuid, None)
        for device in seen.devices:
            self._device_handles.pop(device.id, None)
        if err.value in _GONE:
            with self._gate_lock:
                self._gate.note_gone(seen.uuid)
        return seen.unhealthy(_lost_fault(err))

    def _memory_mib(self, handle: Any, uuid: str) -> tuple[int, int, int]:
        """All memory, what processes can use of it (what the driver keeps is taken off where it tells), and used."""
        info = self._ask(uuid, "memory_v2", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2))
        if info is not None:
            return int(info.total) >> 20, int(info.total - info.reserved) >> 20, int(info.used) >> 20
        info = self._ask(uuid, "memory", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        if info is None:
            return 0, 0, 0
        return int(info.total) >> 20, int(info.total) >> 20, int(info.used) >> 20

    def _slowdown_c(self, handle: Any, uuid: str) -> int | None:
        if uuid not in self._slowdowns_c:
            slowdown = self._ask(
                uuid,
                "threshold",
                lambda: pynvml.nvmlDeviceGetTemperatureThreshold(handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            )
            self._slowdowns_c[uuid] = slowdown or None
        return self._slowdowns_c[uuid]

    def _signs(self, handle: Any, uuid: str, slowdown_c: int | None) -> Signs:
        values = self._ask(uuid, "recovery", lambda: pynvml.nvmlDeviceGetFieldValues(handle, [_RECOVERY_ACTION_FIELD]))
        tells = values is not None and values[0].nvmlReturn == pynvml.NVML_SUCCESS
        rows = self._ask(uuid, "rows", lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
        errors = self._ask(
            uuid,
            "ecc",
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
        )
        return Signs(
            recovery_action=int(values[0].value.uiVal) if tells else None,
            row_remap_failed=None if rows is None else bool(rows[3]),
            uncorrected_errors=errors,
            clock_events=self._ask(uuid, "clocks", lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
            temperature_c=None if slowdown_c is None else self._temperature_c(handle, uuid),
            slowdown_c=slowdown_c,
        )

    def _temperature_c(self, handle: Any, uuid: str) -> int | None:
        found: int | None = self._ask(
            uuid, "temperature", lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        )
        return found

    def _ask(self, uuid: str, field: str, call: Any) -> Any:
        """What a call gives, or None for a field that this GPU or driver does not have. Other errors are raised."""
        if (uuid, field) in self._absent:
            return None
        try:
            return call()
        except pynvml.NVMLError as err:
            if err.value not in _NOT_THERE:
                raise
            self._absent.add((uuid, field))
            return None


class _Seen(Struct, frozen=True):
    """One GPU as it was listed last."""

    uuid: str
    devices: tuple[Device, ...]
    """Itself, or its MIG instances."""

    def unhealthy(self, fault: Fault) -> tuple[Device, ...]:
        return tuple(
            msgspec.structs.replace(device, healthy=False, reason=fault.text, fault=fault.code)
            for device in self.devices
        )


def product_of(name: str, memory_mib: int) -> str:
    """`NVIDIA A100-SXM4-40GB` -> `A100-SXM4-40GB`, `NVIDIA L4` with 23034 MiB -> `L4-24GB`."""
    product = re.sub(r"\s+", "-", re.sub(r"^(NVIDIA|Tesla)\s+", "", name.strip()))
    product = re.sub(r"^Tesla-", "", product)
    # An instance's has its profile in it, as in `A100-SXM4-40GB-MIG-1g.5gb`: so feature discovery writes it too.
    if re.search(r"[0-9]+GB|-MIG-", product):
        return product
    # What NVML counts is some percent below the size that the product is sold with.
    return f"{product}-{-(-memory_mib // 2048) * 2}GB" if memory_mib else product


def _driver_version() -> str:
    try:
        return _text(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return ""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _lost_fault(err: pynvml.NVMLError) -> Fault:
    if err.value == pynvml.NVML_ERROR_GPU_IS_LOST:
        return Fault(FaultCode.LOST, "the GPU is lost (it fell off the bus): reboot the machine")
    if err.value == pynvml.NVML_ERROR_RESET_REQUIRED:
        return Fault(FaultCode.RESET_REQUIRED, "the GPU needs a reset")
    return Fault(FaultCode.DRIVER_ERROR, f"the driver answers {str(err).lower()!r} for it")


def _init_message(err: pynvml.NVMLError) -> str:
    advice = _INIT_ADVICE.get(err.value)
    return f"No NVIDIA GPU can be used: {advice or f'NVML answers {str(err)!r}; nvidia-smi may tell more'}."
