"""Which devices a tenant of a KaaS pool prefers: assigned when it registers, by its share of a device's memory.

Source: KaaS' benchmark server, research notes 2.4: shares in eighths of a device; each assignment goes to the device
with the fewest that has room left, and when none has, to the one whose memory is least assigned. Every tenant gets one,
and rounds are repeated until there are as many assignments as devices, so that few tenants use all devices.
"""

from collections.abc import Mapping, Sequence

EIGHTHS = 8


def assigned(memory_mib: Mapping[str, int], devices: Sequence[str], device_mib: int) -> dict[str, frozenset[str]]:
    """By device, the tenants that prefer it. `memory_mib`: of each tenant, in the order in which they register."""
    count, used = dict.fromkeys(devices, 0), dict.fromkeys(devices, 0)
    homes: dict[str, set[str]] = {device: set() for device in devices}
    while memory_mib and sum(count.values()) < len(devices):
        for tenant, size_mib in memory_mib.items():
            eighths = min(EIGHTHS, -(-size_mib * EIGHTHS // device_mib))
            fitting = [device for device in devices if used[device] + eighths <= EIGHTHS]
            chosen = min(fitting, key=lambda d: (count[d], used[d])) if fitting else min(devices, key=used.__getitem__)
            homes[chosen].add(tenant)
            count[chosen] += 1
            used[chosen] += eighths
    return {device: frozenset(tenants) for device, tenants in homes.items()}
