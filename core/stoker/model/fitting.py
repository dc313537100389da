"""Which functions and variants could ever run on the devices of an installation, were they all empty."""

from collections import Counter
from collections.abc import Iterable, Sequence

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import Function, Sharing, Variant


def fits_any(function: Function, devices: Sequence[Device]) -> str | None:
    """Why no replica of the primary variant can ever be placed on `devices`, in one sentence; None where one can.

    A CPU variant beside a GPU one is not judged: the function is served without it.
    """
    return misfit_of(function, function.primary, devices)


def misfit(function: Function, devices: Sequence[Device]) -> str | None:
    """Why no replica of any variant can ever be placed, in one sentence; None where one can."""
    reasons = [misfit_of(function, variant, devices) for variant in function.variants]
    # The primary's reason: it is what the user asked for.
    return reasons[0] if None not in reasons else None


def unplaceable(functions: Iterable[Function], devices: Sequence[Device]) -> dict[str, dict[Variant, str]]:
    """By function key: its variants that can never be placed, and why."""
    judged: dict[tuple[object, ...], str | None] = {}
    found: dict[str, dict[Variant, str]] = {}
    for function in functions:
        for variant in function.variants:
            # Of thousands of functions few differ in what they ask for.
            asked = _asked(function, variant)
            if asked not in judged:
                judged[asked] = misfit_of(function, variant, devices)
            if (why := judged[asked]) is not None:
                found.setdefault(function.key, {})[variant] = why
    return found


def misfit_of(function: Function, variant: Variant, devices: Sequence[Device]) -> str | None:
    """Why no replica of that variant can ever be placed, in one sentence; None where one can."""
    return _fits_cores(function, devices) if variant is Variant.CPU else _fits_gpus(function, devices)


def _asked(function: Function, variant: Variant) -> tuple[object, ...]:
    """All that decides where it fits."""
    if variant is Variant.GPU:
        return (variant, function.spec.gpu)
    container = function.container_of(variant)
    return (variant, container.cpu_millis, container.memory_mib)


def _fits_gpus(function: Function, devices: Sequence[Device]) -> str | None:
    for option in function.spec.gpu:
        # All devices of a replica are in one node.
        by_node = Counter(device.node for device in devices if device.satisfies(option))
        if any(count >= option.count for count in by_node.values()):
            return None
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    if not gpus and any(device.node for device in devices):
        return "needs a GPU and no node has one; add a node with GPUs, or leave gpu out and keep cpuVariant"
    if not gpus:
        return "needs a GPU and there is none here; simulate one with --gpus, or leave gpu out and keep cpuVariant"
    wanted = " or ".join(
        (f"{option.count} x " if option.count > 1 else "")
        + f"{option.memory_mib} MiB"
        + (f" on {' or '.join(option.products)}" if option.products else "")
        for option in function.spec.gpu
    )
    present = ", ".join(dict.fromkeys(f"{gpu.product} with {gpu.memory_mib} MiB{_shared_how(gpu)}" for gpu in gpus))
    shared = any(gpu.node and gpu.mode is not DeviceMode.WHOLE for gpu in gpus)
    if shared and any(option.sharing is Sharing.EXCLUSIVE for option in function.spec.gpu):
        wanted += " alone"
    return f"wants {wanted}, more than any GPU here can give ({len(gpus)} in all: {present})"


def _shared_how(gpu: Device) -> str:
    """How many pods share it, on Kubernetes, where that rules replicas out."""
    return "" if not gpu.node or gpu.mode is DeviceMode.WHOLE else f" shared by {gpu.shares} pods ({gpu.mode.value})"


def _fits_cores(function: Function, devices: Sequence[Device]) -> str | None:
    container = function.container_of(Variant.CPU)
    memory_mib = container.memory_mib or 0
    cpus = [device for device in devices if device.kind is DeviceKind.CPU]
    if any(cpu.millicores >= container.cpu_millis and cpu.memory_mib >= memory_mib for cpu in cpus):
        return None
    present = max((cpu.millicores for cpu in cpus), default=0)
    return (
        f"wants {container.cpu_millis} millicores and {memory_mib} MiB of host memory for a CPU replica, "
        f"more than the {present} millicores and {max((cpu.memory_mib for cpu in cpus), default=0)} MiB here"
    )
