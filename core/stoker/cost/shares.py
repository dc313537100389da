"""Which part of a device a replica holds: what it is charged for. Integer parts per million of the device. Pure.

The held share is the larger of its share of memory and its share of slots. An exclusive replica holds all of its
device. On a shared GPU a replica always holds its memory's part, and while it runs requests also the slots that they
take (of `Device.slots`). On the CPU device it holds its millicores, or its memory where that is the larger part. Parts
are rounded up, so that nobody holds something for nothing. Together residents may hold more than the device (one runs
in the only slot while others keep their memory): the meter then splits the device's price in proportion.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import Sharing

ONE = 1_000_000
"""A whole device."""


class Part(Struct, frozen=True, kw_only=True):
    """What one replica holds of one device."""

    device_id: str
    standing: int
    """Held from its start until it is gone, in parts per million."""
    each_run: int = 0
    """What one request that runs takes of the device's slots."""

    def held(self, running: int) -> int:
        """The held share with so many requests running, at most ONE."""
        return min(ONE, max(self.standing, running * self.each_run))


def part_of(device: Device, memory_mib: int, millicores: int, sharing: Sharing) -> Part:
    """What a replica with this need holds of the device."""
    if sharing is Sharing.EXCLUSIVE and device.kind is DeviceKind.GPU:
        return Part(device_id=device.id, standing=ONE)
    standing = _of(memory_mib, device.memory_mib)
    if device.kind is DeviceKind.CPU:
        return Part(device_id=device.id, standing=max(standing, _of(millicores, device.millicores)))
    return Part(device_id=device.id, standing=standing, each_run=_of(1, device.slots))


def parts_of(reservations: Iterable[Reservation], devices: Mapping[str, Device]) -> tuple[Part, ...]:
    """The parts of one replica's reservations; those on devices that are not known are left out."""
    return tuple(
        part_of(devices[one.device_id], one.memory_mib, one.millicores, one.sharing)
        for one in reservations
        if one.device_id in devices
    )


def _of(amount: int, whole: int) -> int:
    return min(ONE, -(-amount * ONE // max(1, whole)))
