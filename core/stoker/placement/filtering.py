"""Which nodes can hold a replica, by facts alone: devices, their memory, product, health and tenants. Pure.

Slack never filters (it scores), so that what a cluster autoscaler simulates agrees with what is done here. The
kubelet and the device plugin choose the device, not we (DESIGN 4): on a node with whole GPUs one free device that
fits is enough, because a pod that gets another one is found unfit and replaced; on a shared node every device with a
free share must fit, because nothing would notice before memory runs out.
"""

from collections.abc import Iterable

from msgspec import Struct

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing
from stoker.placement.options import option_on
from stoker.placement.view import DeviceView, NodeView, Resident, Wanted
from stoker.reasons import Reason


class Rejection(Struct, frozen=True, kw_only=True):
    """Why a node cannot hold the replica."""

    reason: Reason
    detail: str
    """One sentence, without the node's name."""
    for_ever: bool = False
    """True where no pod that ends there would change it (the scheduler need not think of preemption)."""


class Fit(Struct, frozen=True, kw_only=True):
    """A node can hold it: the option that fits, and how tightly."""

    option: GpuOption | None
    """What counts there: on devices that differ, the option that takes most. None for a CPU replica."""
    left_share: float
    """What stays free of the device that it would fill best, 0 to 1."""
    opens_device: bool = False
    """It would be the first on a device that can be shared."""
    all_fit: bool = True
    """Whether whichever device the kubelet chooses will do."""


def filter_node(wanted: Wanted, node: NodeView, cross_tenant: frozenset[str] = frozenset()) -> Fit | Rejection:
    """Whether `node` can hold `wanted` now. `cross_tenant`: namespaces that may share a device with one another."""
    if node.away:
        return Rejection(reason=Reason.NODE_LOST, detail=node.away)
    if not wanted.options:
        return _cores(wanted, node)
    gpus = [view for view in node.devices if view.device.kind is DeviceKind.GPU]
    if any(view.device.mode is not DeviceMode.WHOLE for view in gpus):
        return _shared(wanted, gpus, node, cross_tenant)
    rejections = []
    for option in wanted.options:
        verdict = _whole(option, gpus, node)
        if isinstance(verdict, Fit):
            return verdict
        rejections.append(verdict)
    # The least final one says most: a busy device of the right kind rather than the absence of another kind.
    return min(rejections, key=lambda rejection: rejection.for_ever)


def _cores(wanted: Wanted, node: NodeView) -> Fit | Rejection:
    view = next((view for view in node.devices if view.device.kind is DeviceKind.CPU), None)
    if view is None:
        return Rejection(reason=Reason.NO_FITTING_DEVICE, detail="its agent offers no CPU", for_ever=True)
    cpu = view.device
    if wanted.millicores > cpu.millicores or wanted.memory_mib > cpu.memory_mib:
        detail = f"a replica takes {wanted.millicores} millicores of the {cpu.millicores} that the node has in all"
        return Rejection(reason=Reason.NO_FITTING_DEVICE, detail=detail, for_ever=True)
    free = cpu.millicores - sum(r.millicores for r in view.residents)
    if wanted.millicores > free:
        return Rejection(
            reason=Reason.WAITING_FOR_NODE, detail=f"{free} of the {wanted.millicores} millicores wanted are free"
        )
    has_gpu = any(view.device.kind is DeviceKind.GPU for view in node.devices)
    left = (free - wanted.millicores) / cpu.millicores if cpu.millicores else 0.0
    # Cores beside a GPU feed it: a CPU replica goes elsewhere where it can.
    return Fit(option=None, left_share=left, opens_device=has_gpu)


def _whole(option: GpuOption, gpus: list[DeviceView], node: NodeView) -> Fit | Rejection:
    unfit = _unfit([view.device for view in gpus if view.device.satisfies(option)], option, gpus)
    if unfit is not None:
        return unfit
    free = [view.device for view in gpus if not view.residents]
    fitting = sorted(
        (device for device in free if device.healthy and device.satisfies(option)), key=lambda d: (d.memory_mib, d.id)
    )
    # Those whose device is not known yet may have taken the fitting ones.
    unknown = sum(resident.count for resident in node.unplaced)
    if len(fitting) - unknown < option.count:
        detail = f"{max(0, len(fitting) - unknown)} of the {option.count} GPUs wanted are free"
        return Rejection(reason=Reason.WAITING_FOR_GPU, detail=detail)
    tightest = fitting[option.count - 1]
    left = (tightest.memory_mib - option.memory_mib) / tightest.memory_mib
    return Fit(option=option, left_share=left, all_fit=len(fitting) == len(free))


def _shared(wanted: Wanted, gpus: list[DeviceView], node: NodeView, cross_tenant: frozenset[str]) -> Fit | Rejection:
    first = wanted.options[0]
    unfit = _unfit([view.device for view in gpus if option_on(wanted.options, view.device)], first, gpus)
    if unfit is not None:
        return unfit
    open_views = [view for view in gpus if len(view.residents) < view.device.shares]
    unknown = sum(resident.count for resident in node.unplaced)
    free_shares = sum(view.device.shares - len(view.residents) for view in open_views) - unknown
    if free_shares < first.count or not open_views:
        detail = f"{max(0, free_shares)} of the {first.count} shares wanted are free"
        return Rejection(reason=Reason.WAITING_FOR_GPU, detail=detail)
    counting = []
    left_shares = []
    for view in open_views:
        option = _landing(wanted, view, node.unplaced, cross_tenant)
        if isinstance(option, Rejection):
            return option
        used = sum(r.memory_mib for r in view.residents)
        counting.append(option)
        left_shares.append((view.device.memory_mib - used - option.memory_mib) / view.device.memory_mib)
    opens = all(not view.residents for view in open_views) and not node.unplaced
    most = max(counting, key=lambda option: option.memory_mib)
    return Fit(option=most, left_share=min(left_shares), opens_device=opens)


def _unfit(right: list[Device], option: GpuOption, gpus: list[DeviceView]) -> Rejection | None:
    """Why the node would not do even if it were empty: `right` are its GPUs of the right kind."""
    if len(right) < option.count:
        return Rejection(reason=Reason.NO_FITTING_DEVICE, detail=_lacks(option, gpus), for_ever=True)
    sick = [device for device in right if not device.healthy]
    if len(right) - len(sick) < option.count:
        detail = f"{sick[0].label} is quarantined: {sick[0].reason}"
        return Rejection(reason=Reason.QUARANTINED, detail=detail)
    return None


def _landing(
    wanted: Wanted, view: DeviceView, unplaced: Iterable[Resident], cross_tenant: frozenset[str]
) -> GpuOption | Rejection:
    """The option that counts if the kubelet chooses this device, as it may; or why the replica must not land on it."""
    device = view.device
    if not device.healthy:
        return Rejection(
            reason=Reason.QUARANTINED,
            detail=f"the kubelet could choose {device.label}, which is quarantined: {device.reason}",
        )
    option = option_on(wanted.options, device)
    if option is None:
        return Rejection(
            reason=Reason.NO_FITTING_DEVICE,
            detail=f"the kubelet could choose {device.label}, which does not fit",
            for_ever=True,
        )
    beside = (*view.residents, *unplaced)
    used = sum(resident.memory_mib for resident in beside)
    if used + option.memory_mib > device.memory_mib:
        return Rejection(
            reason=Reason.WAITING_FOR_GPU,
            detail=f"{device.label} has {max(0, device.memory_mib - used)} MiB left of the {option.memory_mib} wanted",
        )
    for resident in beside:
        if resident.sharing is Sharing.EXCLUSIVE:
            return Rejection(reason=Reason.WAITING_FOR_GPU, detail=f"{resident.function} has {device.label} for itself")
        other = resident.tenant
        if other == wanted.tenant:
            continue
        if device.mode is DeviceMode.MPS or not {other, wanted.tenant} <= cross_tenant:
            return Rejection(
                reason=Reason.WAITING_FOR_GPU,
                detail=f"{device.label} is shared by namespace {other}, and GpuPolicy keeps the two apart",
            )
    return option


def _lacks(option: GpuOption, gpus: list[DeviceView]) -> str:
    if not gpus:
        return "it has no GPU"
    present = ", ".join(
        dict.fromkeys(f"{v.device.product} with {v.device.memory_mib} MiB, {v.device.mode.value}" for v in gpus)
    )
    products = f" on {' or '.join(option.products)}" if option.products else ""
    alone = ", alone on its device" if option.sharing is Sharing.EXCLUSIVE else ""
    return f"{option.count} x {option.memory_mib} MiB{products}{alone} is wanted and it has {present}"
