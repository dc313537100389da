"""The MIG instances of a GPU, by NVML.

A GPU in MIG mode is given away in its instances only: each has memory and cores of its own, a UUID that CUDA and
NVIDIA's device plugin know it by, and a handle for most questions. How the GPU fares is asked of the GPU.
"""

from typing import Any

import pynvml


def is_cut(mode: list[int] | None) -> bool:
    """Whether what nvmlDeviceGetMigMode says (current, pending) means that MIG is on; None: it knows no MIG."""
    return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def instances_of(gpu: Any) -> tuple[tuple[str, Any], ...]:
    """UUID and handle of each instance of a GPU in MIG mode; empty where none was created. Raises NVMLError."""
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except pynvml.NVMLError as err:
            if err.value != pynvml.NVML_ERROR_NOT_FOUND:
                raise
            continue  # an index that has no instance
        uuid = pynvml.nvmlDeviceGetUUID(handle)
        found.append((uuid.decode() if isinstance(uuid, bytes) else str(uuid), handle))
    return tuple(found)
