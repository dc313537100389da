"""Devices and what is promised of them. A device is a GPU, a simulated GPU, or the node's CPU cores."""

from enum import StrEnum

from msgspec import Struct

from stoker.model.function import GpuOption, Sharing
from stoker.model.gpu_fault import FaultCode


class DeviceKind(StrEnum):
    GPU = "gpu"
    CPU = "cpu"


class DeviceMode(StrEnum):
    """How a device is shared among pods; discovered, never configured by us (DESIGN 4)."""

    WHOLE = "Whole"
    """One pod at a time: a whole GPU, or a MIG instance."""
    TIME_SLICED = "TimeSliced"
    MPS = "Mps"


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
    fault: FaultCode | None = None
    """The same as a code, where the probe knows one."""
    simulated: bool = False
    node: str = ""
    """Kubernetes: the node that it is in. A replica's devices are all in one node."""
    mode: DeviceMode = DeviceMode.WHOLE
    """Embedded mode shares by reservations alone, whatever this says."""
    shares: int = 1
    """Kubernetes: pods that the device plugin lets in at a time."""

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
            and (not self.node or self._lets_in(option))
        )

    def _lets_in(self, option: GpuOption) -> bool:
        """Kubernetes: whether the way that the device plugin shares the device permits the option."""
        if self.mode is DeviceMode.WHOLE:
            return True
        # Two shares may well be of one card, so they never make two devices.
        share_mib = self.memory_mib // max(1, self.shares) if self.mode is DeviceMode.MPS else self.memory_mib
        return option.sharing is Sharing.SHARED and option.count == 1 and option.memory_mib <= share_mib


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
