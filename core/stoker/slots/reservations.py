"""The ledger of device memory and cores: what is promised to which replica. Pure; the agent is its only user.

A promise is made before the replica starts and kept until it is gone. All parts of one replica are granted
together or not at all, and the sum of promises never exceeds a healthy device.
"""

from collections.abc import Iterable, Sequence

from stoker.model.device import Device, Reservation, fits
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason


class Reservations:
    """Promises by replica and by device."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._devices = {device.id: device for device in devices}
        self._held: dict[str, tuple[Reservation, ...]] = {}
        self._on: dict[str, tuple[Reservation, ...]] = dict.fromkeys(self._devices, ())

    def set_devices(self, devices: Iterable[Device]) -> None:
        """New health of the devices. A promise already made stays, also on a device that turned unhealthy."""
        for device in devices:
            if device.id in self._devices:
                self._devices[device.id] = device

    def devices(self) -> tuple[Device, ...]:
        return tuple(self._devices.values())

    def device(self, device_id: str) -> Device:
        return self._devices[device_id]

    def reserve(self, spec: ReplicaSpec, parts: Sequence[Reservation]) -> Reason | None:
        """Grant all parts (None) or none of them, with the reason. Asking again for what is held is granted.

        ValueError when the parts are not those of the spec: that is a mistake of the caller, never a state of devices.
        """
        self._check(spec, parts)
        held = self._held.get(spec.id)
        if held is not None:
            # The id is free again only when its last replica is gone; until then nothing else may use it.
            return None if held == tuple(parts) else Reason.WAITING_FOR_GPU
        if any(part.device_id not in self._devices for part in parts):
            return Reason.NO_FITTING_DEVICE
        granted: dict[str, tuple[Reservation, ...]] = {}
        for part in parts:
            there = granted.get(part.device_id, self._on[part.device_id])
            if not fits(self._devices[part.device_id], there, part.memory_mib, part.millicores, part.sharing):
                return Reason.WAITING_FOR_GPU
            granted[part.device_id] = (*there, part)
        self._on.update(granted)
        self._held[spec.id] = tuple(parts)
        return None

    def hold(self, spec: ReplicaSpec, parts: Sequence[Reservation]) -> None:
        """Record what a replica holds in any case, whether it fits or not: on Kubernetes the kubelet has given the
        device away already, and nobody else may be promised it. Replaces what the id held before.

        ValueError as reserve(); parts on devices that are not known are left out.
        """
        self._check(spec, parts)
        self.release(spec.id)
        known = tuple(part for part in parts if part.device_id in self._devices)
        for part in known:
            self._on[part.device_id] = (*self._on[part.device_id], part)
        if known:
            self._held[spec.id] = known

    def release(self, replica_id: str) -> bool:
        """Give back everything of a replica; False when it holds nothing (any more)."""
        parts = self._held.pop(replica_id, None)
        if parts is None:
            return False
        for device_id in {part.device_id for part in parts}:
            self._on[device_id] = tuple(part for part in self._on[device_id] if part.replica_id != replica_id)
        return True

    def of(self, replica_id: str) -> tuple[Reservation, ...]:
        return self._held.get(replica_id, ())

    def on(self, device_id: str) -> tuple[Reservation, ...]:
        return self._on[device_id]

    def all(self) -> tuple[Reservation, ...]:
        return tuple(part for parts in self._held.values() for part in parts)

    @staticmethod
    def _check(spec: ReplicaSpec, parts: Sequence[Reservation]) -> None:
        if (
            not parts
            or {part.device_id for part in parts} != set(spec.devices)
            or any(part.replica_id != spec.id for part in parts)
        ):
            raise ValueError(f"the reservations of {spec.id} do not name it and the devices that it holds")
        if any(part.memory_mib < 0 or part.millicores < 0 for part in parts):
            raise ValueError(f"a reservation of {spec.id} is negative")
