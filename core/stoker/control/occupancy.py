"""Who is on which device, and whether one more fits: the rules of sharing (DESIGN 4), one device or node at a time.

Embedded (`Device.node` is empty) the reservations alone decide. On Kubernetes the device plugin counts pods, and the
kubelet chooses the device:
- a whole device takes one pod, whatever that asks for;
- on a device that is shared among pods, at most `shares` of them, of one namespace (or of several that the policy lets
  share, never under MPS), whose memory fits; and since the kubelet may choose any device with a free share, a node
  passes only when every one of them would do;
- a replica whose device is not known yet may be on any shared device of its node, so it counts on each of them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from stoker.control.capacity import Need
from stoker.control.planning import Claim, Pair
from stoker.model.device import Device, DeviceKind, DeviceMode, Reservation, fits
from stoker.model.function import Sharing


class Occupancy:
    """Promises and claims by device. `placed` are the devices that replicas are known to have, by replica id."""

    def __init__(
        self,
        devices: Sequence[Device],
        reservations: Iterable[Reservation],
        *,
        placed: Mapping[str, tuple[str, ...]],
        cross_tenant: frozenset[str],
    ) -> None:
        self.devices = {device.id: device for device in devices}
        self.held: dict[str, list[Reservation]] = {device.id: [] for device in devices}
        self.claim_on: dict[str, Claim] = {}
        self.gpus: dict[str, int] = {}
        """GPUs promised, by namespace."""
        self.shared_gpus: dict[str, list[Device]] = {}
        """By node, those that the device plugin shares among pods."""
        self._cross_tenant = cross_tenant
        self._of: dict[str, list[str]] = {}
        self._floating: dict[str, list[Reservation]] = {}
        for device in devices:
            if is_shared_by_pods(device):
                self.shared_gpus.setdefault(device.node, []).append(device)
        for reservation in reservations:
            known = reservation.device_id in placed.get(reservation.replica_id, ())
            self.promise(reservation, floats=not known)
        for replica_id, device_ids in placed.items():
            for device_id in device_ids:
                owned = self.devices.get(device_id)
                if owned is not None and owned.node and device_id not in self._of.get(replica_id, ()):
                    # It has the device, whatever the ledger says: a pod that is unfit reserved nothing.
                    self.promise(Reservation(replica_id=replica_id, device_id=device_id, memory_mib=0), floats=False)

    def promise(self, reservation: Reservation, *, floats: bool) -> None:
        """One more reservation; it floats while the kubelet may still choose another device of the node."""
        device = self.devices.get(reservation.device_id)
        self.held.setdefault(reservation.device_id, []).append(reservation)
        self._of.setdefault(reservation.replica_id, []).append(reservation.device_id)
        if device is None:
            return
        if floats and is_shared_by_pods(device):
            self._floating.setdefault(device.node, []).append(reservation)
        if device.kind is DeviceKind.GPU:
            tenant = tenant_of(reservation)
            self.gpus[tenant] = self.gpus.get(tenant, 0) + 1

    def devices_of(self, replica_id: str) -> Sequence[str]:
        """Devices that are promised to a replica."""
        return self._of.get(replica_id, ())

    def is_free(self, device: Device, need: Need, pair: Pair, without: Collection[str] = ()) -> bool:
        """Whether one more replica fits on the device once the replicas `without` have gone."""
        if is_shared_by_pods(device):
            return self._has_share(device, without) and self.node_passes(device.node, need, pair, without)
        held = [r for r in self.held[device.id] if r.replica_id not in without]
        if held and need.sharing is Sharing.EXCLUSIVE:
            return False
        claim = self.claim_on.get(device.id)
        if claim is not None and (claim.function, claim.variant) != pair:
            held.append(_as_reservation(claim, device.id))
        if held and device.node and device.kind is DeviceKind.GPU:
            return False
        return fits(device, tuple(held), need.memory_mib, need.millicores, need.sharing)

    def node_passes(self, node: str, need: Need, pair: Pair, without: Collection[str] = ()) -> bool:
        """Whether each shared device of the node that has a free share would do, and there is one."""
        floating = [r for r in self._floating.get(node, ()) if r.replica_id not in without]
        afloat = {r.replica_id for r in floating}
        for device in self.shared_gpus[node]:
            claim = self.claim_on.get(device.id)
            if claim is not None and (claim.function, claim.variant) != pair:
                floating.append(_as_reservation(claim, device.id))
        free_shares = 0
        for device in self.shared_gpus[node]:
            own = [r for r in self.held[device.id] if r.replica_id not in without and r.replica_id not in afloat]
            if len(own) >= device.shares:
                continue
            free_shares += device.shares - len(own)
            if not self._takes(device, [*own, *floating], need, pair):
                return False
        return free_shares > len(floating)

    def _has_share(self, device: Device, without: Collection[str]) -> bool:
        return sum(r.replica_id not in without for r in self.held[device.id]) < device.shares

    def _takes(self, device: Device, beside: Sequence[Reservation], need: Need, pair: Pair) -> bool:
        """Whether the device would do with those beside the new replica."""
        if not need.could_use(device):
            return False
        tenant = pair[0].partition("/")[0]
        others = {tenant_of(r) for r in beside} - {tenant}
        if others and (device.mode is DeviceMode.MPS or not {tenant, *others} <= self._cross_tenant):
            return False
        return fits(device, tuple(beside), need.memory_mib, need.millicores, need.sharing)


def is_shared_by_pods(device: Device) -> bool:
    """Whether the device plugin of a Kubernetes node gives the device to several pods at a time."""
    return bool(device.node) and device.kind is DeviceKind.GPU and device.mode is not DeviceMode.WHOLE


def tenant_of(reservation: Reservation) -> str:
    """The namespace that holds it."""
    return reservation.replica_id.partition("/")[0]


def _as_reservation(claim: Claim, device_id: str) -> Reservation:
    """The claim as a reservation that binds everybody but its own pair."""
    return Reservation(
        replica_id=f"{claim.function} (claim)",
        device_id=device_id,
        memory_mib=claim.memory_mib,
        millicores=claim.millicores,
        sharing=claim.sharing,
    )
