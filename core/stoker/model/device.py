"""Devices and what is promised of them. A device is a GPU, a simulated GPU, or the node's CPU cores."""

from enum import StrEnum

from msgspec import Struct

from stoker.model.function import GpuOption, Sharing


class DeviceKind(StrEnum):
    GPU = "gpu"
    CPU = "cpu"


class Device(Struct, frozen=True, kw_only=True):
    """One device as probed. Capacities never change while the agent runs; health may."""

    id: str
    """UUID of a GPU (`GPU-...`), `sim-0` of a simulated one, `cpu` for the cores."""
    kind: DeviceKind
    product: str
    """As in `A100-40GB`, or `cpu`."""
    memory_mib: int
    """Device memory; for the CPU device the host memory that replicas may use in all."""
    millicores: int = 0
    """CPU device: what replicas may hold in all (the platform's own share is taken off)."""
    slots: int = 1
    """Concurrent executions when the device is shared."""
    healthy: bool = True
    reason: str = ""
    """Why it is not healthy, in words."""
    simulated: bool = False

    @property
    def label(self) -> str:
        """What a user sees (`Stoker-Device`): product, id, and the truth about simulation."""
        if self.kind is DeviceKind.CPU:
            return "cpu"
        return f"{self.product}/{self.id}" + (" (simulated)" if self.simulated else "")

    def satisfies(self, option: GpuOption) -> bool:
        """Whether an empty device of this kind could ever hold one replica of the option."""
        return (
            self.kind is DeviceKind.GPU
            and option.memory_mib <= self.memory_mib
            and (not option.products or self.product in option.products)
        )


class Reservation(Struct, frozen=True, kw_only=True):
    """Capacity promised to a replica on one device, from before its start until it is gone."""

    replica_id: str
    device_id: str
    memory_mib: int
    millicores: int = 0
    sharing: Sharing = Sharing.SHARED


def fits(device: Device, held: tuple[Reservation, ...], memory_mib: int, millicores: int, sharing: Sharing) -> bool:
    """Whether one more reservation keeps every promise on `device`; `held` are those on it now."""
    if not device.healthy:
        return False
    wants_alone = sharing is Sharing.EXCLUSIVE or any(r.sharing is Sharing.EXCLUSIVE for r in held)
    if device.kind is DeviceKind.GPU and held and wants_alone:
        return False
    return (
        sum(r.memory_mib for r in held) + memory_mib <= device.memory_mib
        and sum(r.millicores for r in held) + millicores <= device.millicores
    )
