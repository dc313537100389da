"""NVIDIA GPUs by NVML (package nvidia-ml-py, module pynvml), behind DeviceProbe.

GPUs are known by UUID: NVML's order may change between boots and is not CUDA's. Errors are told apart: a field that
a GPU or driver does not have is not asked again; a GPU that is lost is unhealthy and leaves the others alone; a
driver that does not answer at all is DevicesUnavailable. Calls block: only DeviceWatch and start-up may call this.
"""

import re
from typing import Any

import pynvml

from stoker.model.device import Device, DeviceKind
from stoker_node.devices import DevicesUnavailable

_RECOVERY_ACTION_FIELD = 230
_RECOVERY_ACTIONS = {
    1: "the driver asks for a reset of the GPU",
    2: "the driver asks for a reboot of the machine",
    3: "the driver asks to drain the GPU's peer links",
    4: "the driver asks to drain and reset the GPU",
    5: "the driver asks to recover the GPU's fabric domain",
}
_NOT_THERE = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA)
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


class NvmlProbe:
    """One NVML session for the life of the process."""

    def __init__(self) -> None:
        """Raises DevicesUnavailable when there is no usable driver."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as err:
            raise DevicesUnavailable(_init_message(err)) from err
        self._open = True
        self._absent: set[tuple[str, str]] = set()
        self._known: dict[int, Device] = {}

    def list(self) -> tuple[Device, ...]:
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as err:
            raise DevicesUnavailable(_init_message(err)) from err
        devices = (self._device(index) for index in range(count))
        return tuple(sorted((device for device in devices if device is not None), key=lambda device: device.id))

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                return  # a session that cannot be ended ends with the process

    def _device(self, index: int) -> Device | None:
        """One GPU; None for one that this process may not open or could never identify."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError as err:
            known = self._known.get(index)
            if known is None or err.value == pynvml.NVML_ERROR_NO_PERMISSION:
                return None
            return _unhealthy(known, _lost_message(err))
        try:
            total_mib, memory_mib = self._memory_mib(handle, uuid)
            device = Device(
                id=uuid,
                kind=DeviceKind.GPU,
                product=product_of(_text(pynvml.nvmlDeviceGetName(handle)), total_mib),
                memory_mib=memory_mib,
            )
            reason = self._fault(handle, uuid)
        except pynvml.NVMLError as err:
            known = self._known.get(index)
            unnamed = Device(id=uuid, kind=DeviceKind.GPU, product="unknown", memory_mib=0)
            return _unhealthy(known if known is not None and known.id == uuid else unnamed, _lost_message(err))
        self._known[index] = device
        return _unhealthy(device, reason) if reason else device

    def _memory_mib(self, handle: Any, uuid: str) -> tuple[int, int]:
        """All memory, and what processes can use of it: what the driver keeps is taken off where it tells."""
        info = self._ask(uuid, "memory_v2", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2))
        if info is not None:
            return int(info.total) >> 20, int(info.total - info.reserved) >> 20
        info = self._ask(uuid, "memory", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        total_mib = 0 if info is None else int(info.total) >> 20
        return total_mib, total_mib

    def _fault(self, handle: Any, uuid: str) -> str:
        """Why no new replica may go on the GPU, or nothing."""
        values = self._ask(uuid, "recovery", lambda: pynvml.nvmlDeviceGetFieldValues(handle, [_RECOVERY_ACTION_FIELD]))
        if values is not None and values[0].nvmlReturn == pynvml.NVML_SUCCESS:
            action = int(values[0].value.uiVal)
            if action:
                return _RECOVERY_ACTIONS.get(action, f"the driver asks for recovery action {action}")
        rows = self._ask(uuid, "rows", lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
        if rows is not None and rows[3]:
            return "a faulty memory row could not be replaced: the GPU has to be exchanged"
        errors = self._ask(
            uuid,
            "ecc",
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
        )
        # Ampere and later contain an uncorrected error by remapping the row; only older GPUs have to be reset for it.
        if errors and rows is None:
            return f"{errors} uncorrected memory errors since the driver was loaded: reset the GPU"
        return ""

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


def product_of(name: str, memory_mib: int) -> str:
    """`NVIDIA A100-SXM4-40GB` -> `A100-SXM4-40GB`, `NVIDIA L4` with 23034 MiB -> `L4-24GB`."""
    product = re.sub(r"\s+", "-", re.sub(r"^(NVIDIA|Tesla)\s+", "", name.strip()))
    product = re.sub(r"^Tesla-", "", product)
    if re.search(r"[0-9]+GB", product):
        return product
    # What NVML counts is some percent below the size that the product is sold with.
    return f"{product}-{-(-memory_mib // 2048) * 2}GB" if memory_mib else product


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _unhealthy(device: Device, reason: str) -> Device:
    return Device(
        id=device.id,
        kind=device.kind,
        product=device.product,
        memory_mib=device.memory_mib,
        slots=device.slots,
        healthy=False,
        reason=reason,
    )


def _lost_message(err: pynvml.NVMLError) -> str:
    if err.value == pynvml.NVML_ERROR_GPU_IS_LOST:
        return "the GPU is lost (it fell off the bus): reboot the machine"
    if err.value == pynvml.NVML_ERROR_RESET_REQUIRED:
        return "the GPU needs a reset"
    return f"the driver answers {str(err).lower()!r} for it"


def _init_message(err: pynvml.NVMLError) -> str:
    advice = _INIT_ADVICE.get(err.value)
    return f"No NVIDIA GPU can be used: {advice or f'NVML answers {str(err)!r}; nvidia-smi may tell more'}."
