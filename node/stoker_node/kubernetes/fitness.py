"""Whether the devices that the kubelet gave to a pod are ones that it may use, and what it then holds of them.

Pure. The kubelet and the device plugin choose the card, not Stoker (DESIGN 4): what they chose is judged here against
what the function asked for and against who is on the card already.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from stoker.model.device import Device, DeviceMode, Reservation
from stoker.model.device_ids import parse_device_id
from stoker.model.function import GpuOption, Sharing
from stoker.wire.cluster import PodReplica

CrossTenant = Callable[[str], bool]
"""Whether a namespace may share a card with other namespaces."""


class Tenant(Struct, frozen=True):
    """What one replica holds, and of which namespace it is."""

    namespace: str
    part: Reservation


class Verdict(Struct, frozen=True):
    """What a pod holds. `unfit` says in one sentence why it may not use it; empty when it may."""

    devices: tuple[str, ...]
    parts: tuple[Reservation, ...]
    unfit: str = ""


def cards_of(device_ids: Sequence[str]) -> tuple[str, ...]:
    """The cards behind the kubelet's ids, each once, in their order."""
    return tuple(dict.fromkeys(parse_device_id(text).card for text in device_ids))


def judge(
    replica: PodReplica,
    cards: Sequence[str],
    devices: Mapping[str, Device],
    others: Mapping[str, Sequence[Tenant]],
    cross_tenant: CrossTenant,
) -> Verdict:
    """Judge the cards of a GPU replica. `others` are the holders of each card, this replica apart."""
    known = [devices[card] for card in cards if card in devices]
    option = _option(replica, known)
    parts = tuple(
        Reservation(replica_id=replica.id, device_id=device.id, memory_mib=option.memory_mib, sharing=replica.sharing)
        for device in known
    )
    unfit = ""
    if len(known) < len(cards):
        missing = ", ".join(card for card in cards if card not in devices)
        unfit = f"the kubelet gave it {missing}, which the driver of this node does not list"
    elif len(cards) != replica.count:
        unfit = f"the kubelet gave it {len(cards)} cards and not {replica.count}"
    else:
        namespace = replica.function.partition("/")[0]
        for device in known:
            unfit = unfit or _unfit(device, option, namespace, others.get(device.id, ()), cross_tenant)
    return Verdict(tuple(cards), parts, unfit)


def judge_cpu(replica: PodReplica, device_id: str) -> Verdict:
    """A CPU replica runs where the kubelet admitted it: the share that is kept for the platform is a plan, no fact."""
    part = Reservation(
        replica_id=replica.id,
        device_id=device_id,
        memory_mib=replica.memory_mib,
        millicores=replica.millicores,
        sharing=Sharing.SHARED,
    )
    return Verdict((device_id,), (part,))


def _option(replica: PodReplica, devices: Sequence[Device]) -> GpuOption:
    """The first option that all the devices could serve; the first of all where none does."""
    for option in replica.options:
        if devices and all(device.satisfies(option) for device in devices):
            return option
    return replica.options[0]


def _unfit(
    device: Device, option: GpuOption, namespace: str, others: Sequence[Tenant], cross_tenant: CrossTenant
) -> str:
    if not device.healthy:
        return f"{device.label} is unhealthy: {device.reason}"
    if option.products and device.product not in option.products:
        return f"{device.label} is not a {' or '.join(option.products)}"
    if option.memory_mib > device.memory_mib:
        return f"{device.label} has {device.memory_mib} MiB and not the {option.memory_mib} MiB that it needs"
    if option.sharing is Sharing.EXCLUSIVE:
        if device.mode is not DeviceMode.WHOLE:
            return f"it wants a card alone, and the device plugin shares {device.label} among {device.shares} pods"
        if others:
            return f"it wants a card alone, and {others[0].part.replica_id} is on {device.label}"
    return _unfit_to_share(device, option, namespace, others, cross_tenant)


def _unfit_to_share(
    device: Device, option: GpuOption, namespace: str, others: Sequence[Tenant], cross_tenant: CrossTenant
) -> str:
    share_mib = device.memory_mib // max(1, device.shares)
    if device.mode is DeviceMode.MPS and option.memory_mib > share_mib:
        return (
            f"{device.label} gives each of its {device.shares} pods {share_mib} MiB, less than {option.memory_mib} MiB"
        )
    for other in others:
        if other.part.sharing is Sharing.EXCLUSIVE:
            return f"{other.part.replica_id} has {device.label} alone"
        if other.namespace == namespace:
            continue
        # MPS has one server process per card: what a client breaks, it breaks for all of them.
        if device.mode is DeviceMode.MPS or not (cross_tenant(namespace) and cross_tenant(other.namespace)):
            return (
                f"{device.label} is used by another namespace ({other.namespace}), which may not share a card with it"
            )
    promised_mib = sum(other.part.memory_mib for other in others)
    if promised_mib + option.memory_mib > device.memory_mib:
        return (
            f"{device.label} has {device.memory_mib} MiB, of which {promised_mib} MiB are promised to others: "
            f"{option.memory_mib} MiB are too much"
        )
    return ""
