"""What one replica costs an hour, on the devices that it holds or would hold."""

from collections.abc import Iterable, Mapping

from stoker.control.capacity import Need
from stoker.cost.shares import ONE, part_of
from stoker.model.device import Device


def rate_of(need: Need, devices: Iterable[Device], prices: Mapping[str, int], running: int) -> int:
    """Micro-units an hour, rounded up, while it runs so many requests (0: idle, the least that it holds)."""
    total = 0
    for device in devices:
        part = part_of(device, need.memory_mib, need.millicores, need.sharing)
        total += prices.get(device.id, 0) * part.held(running)
    return -(-total // ONE)
