"""The ledger of promises: all or none, never over a device, given back once."""

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import Sharing, Variant
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker.slots.reservations import Reservations

pytestmark = pytest.mark.unit

GPUS = tuple(Device(id=f"g{n}", kind=DeviceKind.GPU, product="L4-24GB", memory_mib=100) for n in range(2))
CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=1000, millicores=1500)


def ask(
    ledger: Reservations,
    name: str,
    *devices: str,
    memory_mib: int = 10,
    millicores: int = 0,
    sharing: Sharing = Sharing.SHARED,
) -> Reason | None:
    spec = ReplicaSpec(id=name, function="ns/f", variant=Variant.GPU, revision="r", ordinal=0, devices=devices)
    return ledger.reserve(
        spec,
        [
            Reservation(
                replica_id=name, device_id=device, memory_mib=memory_mib, millicores=millicores, sharing=sharing
            )
            for device in devices
        ],
    )


def test_memory_is_promised_once() -> None:
    ledger = Reservations(GPUS)
    assert ask(ledger, "a", "g0", memory_mib=60) is None
    assert ask(ledger, "b", "g0", memory_mib=41) is Reason.WAITING_FOR_GPU
    assert ask(ledger, "b", "g0", memory_mib=40) is None
    assert ledger.release("a")
    assert not ledger.release("a")
    assert ask(ledger, "c", "g0", memory_mib=60) is None


def test_several_devices_are_granted_together_or_not_at_all() -> None:
    ledger = Reservations(GPUS)
    assert ask(ledger, "a", "g1", memory_mib=60) is None
    assert ask(ledger, "b", "g0", "g1", memory_mib=60) is Reason.WAITING_FOR_GPU
    assert ledger.on("g0") == ()
    assert ask(ledger, "c", "g0", "g1", memory_mib=40) is None
    ledger.release("c")
    assert [len(ledger.on(device)) for device in ("g0", "g1")] == [0, 1]


def test_two_parts_on_one_device_are_added_up() -> None:
    ledger = Reservations(GPUS)
    assert ask(ledger, "a", "g0", "g0", memory_mib=60) is Reason.WAITING_FOR_GPU
    assert ask(ledger, "a", "g0", "g0", memory_mib=50) is None


def test_an_exclusive_replica_is_alone_on_a_gpu_but_not_on_the_cores() -> None:
    ledger = Reservations((*GPUS, CPU))
    assert ask(ledger, "a", "g0", sharing=Sharing.EXCLUSIVE) is None
    assert ask(ledger, "b", "g0") is Reason.WAITING_FOR_GPU
    assert ask(ledger, "b", "g1") is None
    assert ask(ledger, "c", "g1", sharing=Sharing.EXCLUSIVE) is Reason.WAITING_FOR_GPU
    assert ask(ledger, "d", "cpu", millicores=1000) is None
    assert ask(ledger, "e", "cpu", millicores=500) is None
    assert ask(ledger, "f", "cpu", millicores=1) is Reason.WAITING_FOR_GPU


def test_asking_again_for_what_is_held_is_granted_and_counts_once() -> None:
    ledger = Reservations(GPUS)
    assert ask(ledger, "a", "g0", memory_mib=60) is None
    assert ask(ledger, "a", "g0", memory_mib=60) is None
    assert ask(ledger, "a", "g0", memory_mib=61) is Reason.WAITING_FOR_GPU
    assert len(ledger.all()) == 1
    assert ledger.of("a") == ledger.all()


def test_an_unhealthy_device_keeps_its_promises_and_gets_no_new_ones() -> None:
    ledger = Reservations(GPUS)
    assert ask(ledger, "a", "g0") is None
    ledger.set_devices([msgspec.structs.replace(GPUS[0], healthy=False, reason="lost")])
    assert ask(ledger, "b", "g0") is Reason.WAITING_FOR_GPU
    assert ask(ledger, "b", "g1") is None
    assert ledger.device("g0").reason == "lost"
    assert len(ledger.on("g0")) == 1


def test_a_device_that_does_not_exist_fits_nothing() -> None:
    assert ask(Reservations(GPUS), "a", "g9") is Reason.NO_FITTING_DEVICE


def test_parts_that_are_not_the_spec_s_are_a_mistake() -> None:
    ledger = Reservations(GPUS)
    spec = ReplicaSpec(id="a", function="ns/f", variant=Variant.GPU, revision="r", ordinal=0, devices=("g0",))
    for part in (
        Reservation(replica_id="b", device_id="g0", memory_mib=1),
        Reservation(replica_id="a", device_id="g1", memory_mib=1),
        Reservation(replica_id="a", device_id="g0", memory_mib=-1),
    ):
        with pytest.raises(ValueError, match="a"):
            ledger.reserve(spec, [part])
    with pytest.raises(ValueError, match="a"):
        ask(ledger, "a")
    assert ledger.all() == ()
