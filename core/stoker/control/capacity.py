"""What one replica needs of a device, and of how many: the ways to place it, in order of preference. Values only."""

from msgspec import Struct

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, GpuOption, Sharing, Variant


class Need(Struct, frozen=True, kw_only=True, cache_hash=True):
    """What one replica holds on each of `count` devices; one way of several to place it."""

    kind: DeviceKind
    memory_mib: int
    millicores: int = 0
    sharing: Sharing = Sharing.SHARED
    products: tuple[str, ...] = ()
    count: int = 1

    def could_use(self, device: Device) -> bool:
        """Whether the device, empty and healthy, would do."""
        if self.kind is DeviceKind.GPU:
            return device.satisfies(
                GpuOption(memory_mib=self.memory_mib, products=self.products, count=self.count, sharing=self.sharing)
            )
        return (
            device.kind is DeviceKind.CPU
            and self.memory_mib <= device.memory_mib
            and self.millicores <= device.millicores
        )


Needs = tuple[Need, ...]


def needs_of(function: Function, variant: Variant) -> Needs:
    """The ways to place one replica of the variant, in order of preference."""
    if variant is Variant.CPU:
        container = function.container_of(variant)
        return (Need(kind=DeviceKind.CPU, memory_mib=container.memory_mib or 0, millicores=container.cpu_millis),)
    return tuple(
        Need(
            kind=DeviceKind.GPU,
            memory_mib=option.memory_mib,
            sharing=option.sharing,
            products=option.products,
            count=option.count,
        )
        for option in function.spec.gpu
    )
