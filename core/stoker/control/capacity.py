"""Where a replica fits: devices, what is promised on them, and what is claimed for whom. A board for one plan.

Best fit: an exclusive replica takes the smallest free device that holds it, a shared one goes to a device that is
shared already before it opens another. Options of a function are tried in its order of preference.
"""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from stoker.control.planning import Claim, Pair
from stoker.model.device import Device, DeviceKind, Reservation, fits
from stoker.model.function import Function, GpuOption, Sharing, Variant


class Need(Struct, frozen=True, kw_only=True):
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
            return device.satisfies(GpuOption(memory_mib=self.memory_mib, products=self.products))
        return (
            device.kind is DeviceKind.CPU
            and self.memory_mib <= device.memory_mib
            and self.millicores <= device.millicores
        )


def needs_of(function: Function, variant: Variant) -> tuple[Need, ...]:
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


class Board:
    """Devices with their promises and claims, changed as the plan goes."""

    def __init__(self, devices: Sequence[Device], reservations: Iterable[Reservation], claims: Iterable[Claim]) -> None:
        self.devices = {device.id: device for device in devices}
        self.held: dict[str, list[Reservation]] = {device.id: [] for device in devices}
        for reservation in reservations:
            self.held.setdefault(reservation.device_id, []).append(reservation)
        self.claims: list[Claim] = []
        self._claim_on: dict[str, Claim] = {}
        self.set_claims(claims)
        self._usable: dict[tuple[Need, ...], frozenset[str]] = {}

    def set_claims(self, claims: Iterable[Claim]) -> None:
        """The claims that stand; one a device at most."""
        self.claims = list(claims)
        self._claim_on = {device_id: claim for claim in self.claims for device_id in claim.devices}

    def usable(self, needs: tuple[Need, ...]) -> frozenset[str]:
        """Devices that would do for one of the needs, empty and healthy."""
        found = self._usable.get(needs)
        if found is None:
            found = frozenset(d.id for d in self.devices.values() if any(need.could_use(d) for need in needs))
            self._usable[needs] = found
        return found

    def place(self, need: Need, pair: Pair) -> tuple[str, ...] | None:
        """The devices to start on now; None when they are not free. Claims of other pairs are respected."""
        devices = [self.devices[identity] for identity in self.usable((need,))]
        free = [device for device in devices if self.is_free(device, need, pair)]
        if len(free) < need.count:
            return None
        free.sort(key=lambda device: self._fit(device, need))
        return tuple(device.id for device in free[: need.count])

    def _fit(self, device: Device, need: Need) -> tuple[bool, int, str]:
        held = self.held[device.id]
        left_mib = device.memory_mib - sum(r.memory_mib for r in held)
        return (need.sharing is Sharing.SHARED and not held, left_mib, device.id)

    def is_free(self, device: Device, need: Need, pair: Pair, without: Collection[str] = ()) -> bool:
        """Whether one more replica fits on the device once the replicas `without` have gone."""
        held = [r for r in self.held[device.id] if r.replica_id not in without]
        if held and need.sharing is Sharing.EXCLUSIVE:
            return False
        claim = self._claim_on.get(device.id)
        if claim is not None and (claim.function, claim.variant) != pair:
            held.append(_as_reservation(claim, device.id))
        return fits(device, tuple(held), need.memory_mib, need.millicores, need.sharing)

    def is_viable(self, claim: Claim, leaving: Collection[str]) -> bool:
        """Whether the claimed devices will fit the claimant when all that leave have gone."""
        pair = (claim.function, claim.variant)
        kind = DeviceKind.GPU if claim.variant is Variant.GPU else DeviceKind.CPU
        need = Need(kind=kind, memory_mib=claim.memory_mib, millicores=claim.millicores, sharing=claim.sharing)
        return all(
            (device := self.devices.get(device_id)) is not None and self.is_free(device, need, pair, leaving)
            for device_id in claim.devices
        )

    def claims_of(self, pair: Pair) -> list[Claim]:
        """The claims of one pair."""
        return [claim for claim in self.claims if (claim.function, claim.variant) == pair]

    def is_claimed(self, device_id: str) -> bool:
        """Whether anybody waits for the device."""
        return device_id in self._claim_on

    def claim(self, pair: Pair, need: Need, devices: tuple[str, ...]) -> None:
        """Keep the devices for the pair."""
        new = Claim(
            function=pair[0],
            variant=pair[1],
            devices=devices,
            memory_mib=need.memory_mib,
            millicores=need.millicores,
            sharing=need.sharing,
        )
        self.set_claims([*self.claims, new])

    def take(self, replica_id: str, need: Need, devices: tuple[str, ...], pair: Pair) -> tuple[Reservation, ...]:
        """Promise the devices to a replica. One claim of the pair is used up: the one on these devices, if any."""
        taken = tuple(
            Reservation(
                replica_id=replica_id,
                device_id=device_id,
                memory_mib=need.memory_mib,
                millicores=need.millicores,
                sharing=need.sharing,
            )
            for device_id in devices
        )
        for reservation in taken:
            self.held[reservation.device_id].append(reservation)
        own = self.claims_of(pair)
        if own:
            used = next((c for c in own if set(c.devices) & set(devices)), own[0])
            self.set_claims(claim for claim in self.claims if claim is not used)
        return taken


def _as_reservation(claim: Claim, device_id: str) -> Reservation:
    """The claim as a reservation that binds everybody but its own pair."""
    return Reservation(
        replica_id=f"claim of {claim.function}",
        device_id=device_id,
        memory_mib=claim.memory_mib,
        millicores=claim.millicores,
        sharing=claim.sharing,
    )
