"""What placement looks at: nodes with their devices, who is on them, and what is warm there. Values only.

A pod that is bound to a node and whose device is not known yet is `unplaced`: it may be on any device of the node.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import GpuOption, Sharing, Variant


class Resident(Struct, frozen=True, kw_only=True):
    """One replica on a node: what it holds on each of its devices."""

    pod_uid: str
    function: str
    """Key, `namespace/name`; the tenant is the namespace."""
    memory_mib: int
    millicores: int = 0
    sharing: Sharing = Sharing.SHARED
    count: int = 1
    """GPUs that it holds; 0 for a CPU replica."""

    @property
    def tenant(self) -> str:
        """Its namespace."""
        return self.function.partition("/")[0]


class DeviceView(Struct, frozen=True, kw_only=True):
    """One device and who is known to be on it."""

    device: Device
    residents: tuple[Resident, ...] = ()


class NodeView(Struct, frozen=True, kw_only=True):
    """One node at one instant."""

    name: str
    away: str = ""
    """Why its agent cannot be believed now, in one sentence; empty when it can."""
    devices: tuple[DeviceView, ...] = ()
    unplaced: tuple[Resident, ...] = ()
    """GPU replicas that are bound here, or were given this node a moment ago, on a device that is not known yet."""
    warm: frozenset[str] = frozenset()
    """Functions with a warm replica here."""
    images: frozenset[str] = frozenset()
    """Images that are on the node now."""
    promised: frozenset[str] = frozenset()
    """Those of them that a prefetch pod keeps there."""

    def with_provisional(self, residents: Sequence[Resident]) -> "NodeView":
        """The node with replicas that were given to it and do not show yet. Those of CPUs (count 0) are on its cores,
        where they stand in no GPU replica's way.
        """
        cores = tuple(resident for resident in residents if not resident.count)
        gpus = tuple(resident for resident in residents if resident.count)
        devices = self.devices
        if cores:
            devices = tuple(
                replace(view, residents=(*view.residents, *cores)) if view.device.kind is DeviceKind.CPU else view
                for view in devices
            )
        return replace(self, devices=devices, unplaced=(*self.unplaced, *gpus))


class Wanted(Struct, frozen=True, kw_only=True):
    """The replica to place."""

    pod_uid: str
    function: str
    variant: Variant
    image: str
    options: tuple[GpuOption, ...] = ()
    """Acceptable devices in order of preference; empty for a CPU replica."""
    millicores: int = 0
    memory_mib: int = 0
    """Host memory of a CPU replica."""
    objective_us: int = 0
    """slo.latency of its function."""

    @property
    def tenant(self) -> str:
        """Its namespace."""
        return self.function.partition("/")[0]


class Pace(Struct, frozen=True, kw_only=True):
    """How long things take for the wanted replica on one node, as far as it is known."""

    start_us: int
    """Start-up with the image on the node: measured on this node, else anywhere, else a prior."""
    start_samples: int = 0
    """Measurements behind it; 0: assumed."""
    pull_us: int = 0
    """Time to pull the image, counted where it is absent: a prior."""
    wait_us: int = 0
    """Predicted wait of one more request there, behind what runs on the device that it would share."""
