"""Which of a replica's options counts on a device, and so how much of its memory the replica takes. Pure.

Nobody writes down which option a pod was placed by: its agent and the operator take the first one that the device
that it got satisfies, and placement must count the same, or it would promise memory that the agent does not give.
"""

from collections.abc import Iterable

from stoker.model.device import Device
from stoker.model.function import GpuOption


def option_on(options: Iterable[GpuOption], device: Device) -> GpuOption | None:
    """The option by which a replica holds the device; None where it may not have it."""
    return next((option for option in options if device.satisfies(option)), None)


def most_memory_mib(options: tuple[GpuOption, ...], devices: Iterable[Device]) -> int:
    """The most that a replica takes of whichever of `devices` it gets; of all its options where none will do.
    `options` is not empty.
    """
    if len(options) == 1:
        return options[0].memory_mib
    counting = [option for device in devices if (option := option_on(options, device)) is not None]
    return max(option.memory_mib for option in counting or options)
