"""Which part of a device a replica keeps from others: what policies take for its rent. Values only."""

from collections.abc import Iterable

from stoker.control.capacity import Need
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Sharing


def share_of(need: Need, devices: Iterable[Device]) -> float:
    """The largest part of one of the devices, of its memory or its cores, in (0, 1]; 1 for an exclusive replica."""
    if need.sharing is Sharing.EXCLUSIVE:
        return 1.0
    parts = [0.0]
    for device in devices:
        parts.append(need.memory_mib / max(1, device.memory_mib))
        if device.kind is DeviceKind.CPU:
            parts.append(need.millicores / max(1, device.millicores))
    return min(1.0, max(parts)) or 1.0
