"""Devices of replicas whose real ones are not known yet, so that plan() does not give the same ones away again.

What plan() chose counts until the scheduler has chosen a node and the kubelet a device; then, on another node than
planned, a device there that would do. A guess that is wrong is put right by the agent's report a moment later. Pure.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import Sharing
from stoker.wire.cluster import PodReplica

CPU = "cpu"
"""The agent's id of the cores of its node."""


class Homeless(Struct, frozen=True, kw_only=True):
    """A replica without known devices."""

    replica: PodReplica
    node: str
    """Empty until it is scheduled."""
    planned: tuple[str, ...] = ()
    """What plan() chose for it; empty after a failover."""


def reservations_of(replica: PodReplica, devices: Iterable[str], by_id: Mapping[str, Device]) -> list[Reservation]:
    """What the replica holds on its devices. The option that counts is the first that each device satisfies."""
    held = []
    for identity in devices:
        device = by_id.get(identity)
        if not replica.options:
            held.append(
                Reservation(
                    replica_id=replica.id,
                    device_id=identity,
                    memory_mib=replica.memory_mib,
                    millicores=replica.millicores,
                )
            )
            continue
        fitting = [o for o in replica.options if device is not None and device.satisfies(o)]
        option = (fitting or replica.options)[0]
        held.append(
            Reservation(replica_id=replica.id, device_id=identity, memory_mib=option.memory_mib, sharing=option.sharing)
        )
    return held


def assume(
    homeless: Iterable[Homeless], devices: Iterable[Device], held: Iterable[Reservation]
) -> dict[str, tuple[str, ...]]:
    """Devices by replica id, ids as in `devices`. A replica for which nothing would do gets none."""
    by_node: dict[str, list[Device]] = {}
    for device in devices:
        by_node.setdefault(device.node, []).append(device)
    by_id = {device.id: device for found in by_node.values() for device in found}
    residents: dict[str, list[Reservation]] = {}
    for reservation in held:
        residents.setdefault(reservation.device_id, []).append(reservation)
    found: dict[str, tuple[str, ...]] = {}
    for each in homeless:
        replica = each.replica
        planned = [by_id[d] for d in each.planned if d in by_id]
        if planned and (not each.node or all(device.node == each.node for device in planned)):
            chosen = planned
        else:
            pool = by_node.get(each.node, []) if each.node else list(by_id.values())
            chosen = _choose(replica, pool, residents)
        found[replica.id] = tuple(device.id for device in chosen)
        for reservation in reservations_of(replica, found[replica.id], by_id):
            residents.setdefault(reservation.device_id, []).append(reservation)
    return found


def _choose(replica: PodReplica, pool: list[Device], residents: Mapping[str, list[Reservation]]) -> list[Device]:
    """Devices of one node that would do: free ones first, tighter ones first."""
    if not replica.options:
        return [device for device in pool if device.kind is DeviceKind.CPU][:1]
    usable = [d for d in pool if any(d.satisfies(option) for option in replica.options)]
    usable.sort(key=lambda d: (not _has_room(replica, d, residents.get(d.id, [])), d.memory_mib, d.id))
    nodes: dict[str, list[Device]] = {}
    for device in usable:
        of_node = nodes.setdefault(device.node, [])
        of_node.append(device)
        if len(of_node) == replica.count:
            return of_node
    return []


def _has_room(replica: PodReplica, device: Device, held: list[Reservation]) -> bool:
    if len(held) >= device.shares:
        return False
    alone = replica.sharing is Sharing.EXCLUSIVE or any(r.sharing is Sharing.EXCLUSIVE for r in held)
    return not (alone and held) and sum(r.memory_mib for r in held) < device.memory_mib
