"""Simulated GPUs: `--gpus 2xA100-40GB,1xL4-24GB`. They do the accounting; the CPU does the work and answers say so."""

import re

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind
from stoker_node.devices import GpuProcess, GpuReading

MAX_GPUS = 64
MAX_MEMORY_GB = 4096
_PART = re.compile(
    r"(?:(?P<count>[0-9]{1,4})x)?(?P<product>[A-Za-z][A-Za-z0-9-]{0,40}-(?P<memory>[0-9]{1,5})GB)", re.ASCII
)
_EXAMPLE = "write COUNTxPRODUCT-MEMORYGB, as in 2xA100-40GB or 2xA100-40GB,1xL4-24GB"


def parse_gpus(text: str) -> tuple[Device, ...]:
    """The devices `sim-0`, `sim-1`, ... in the order of the text. InvalidObject names the part that is wrong."""
    devices: list[Device] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InvalidObject("--gpus", f"{part.strip()!r} is not a number of GPUs; {_EXAMPLE}")
        count = int(match["count"] or 1)
        memory_gb = int(match["memory"])
        if not 1 <= memory_gb <= MAX_MEMORY_GB:
            raise InvalidObject(
                "--gpus", f"{part.strip()!r} has {memory_gb} GB of memory; 1 to {MAX_MEMORY_GB} are possible"
            )
        if not 1 <= count <= MAX_GPUS - len(devices):
            raise InvalidObject(
                "--gpus", f"{part.strip()!r} makes it {len(devices) + count} GPUs; 1 to {MAX_GPUS} are possible"
            )
        devices.extend(
            [
                Device(
                    id=f"sim-{len(devices) + index}",
                    kind=DeviceKind.GPU,
                    product=match["product"],
                    memory_mib=memory_gb * 1024,
                    simulated=True,
                )
                for index in range(count)
            ]
        )
    return tuple(devices)


class SimulatedProbe:
    """Simulated GPUs as a DeviceProbe: always there and always healthy."""

    def __init__(self, text: str) -> None:
        """Raises InvalidObject for what parse_gpus() refuses."""
        self._devices = parse_gpus(text)

    def list(self) -> tuple[Device, ...]:
        return self._devices

    def readings(self) -> tuple[GpuReading, ...]:
        """Nothing is ever used: the work is done by the CPU, in host memory."""
        return tuple(
            GpuReading(device.id, total_mib=device.memory_mib, used_mib=0, utilisation_percent=0)
            for device in self._devices
        )

    def processes(self, device_id: str) -> tuple[GpuProcess, ...] | None:
        return () if any(device.id == device_id for device in self._devices) else None

    def close(self) -> None:
        return
