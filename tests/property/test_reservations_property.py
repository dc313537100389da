"""Whatever is asked for, in whatever order: no device is promised beyond what it has, and nothing leaks."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from settings_of_tests import examples

from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import Sharing, Variant
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker.slots.reservations import Reservations

pytestmark = pytest.mark.property

DEVICES = (
    Device(id="g0", kind=DeviceKind.GPU, product="L4-24GB", memory_mib=24),
    Device(id="g1", kind=DeviceKind.GPU, product="A100-40GB", memory_mib=40),
    Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=64, millicores=2000),
)
NAMES = st.sampled_from([f"r{n}" for n in range(6)])
PARTS = st.lists(
    st.tuples(st.sampled_from([device.id for device in DEVICES]), st.integers(0, 48), st.sampled_from([0, 500, 1500])),
    min_size=1,
    max_size=3,
)


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Reservations(DEVICES)
        self.held: dict[str, tuple[Reservation, ...]] = {}
        self.healthy = dict.fromkeys((device.id for device in DEVICES), True)

    @rule(name=NAMES, parts=PARTS, sharing=st.sampled_from(Sharing))
    def reserve(self, name: str, parts: list[tuple[str, int, int]], sharing: Sharing) -> None:
        asked = tuple(
            Reservation(replica_id=name, device_id=device, memory_mib=memory, millicores=cores, sharing=sharing)
            for device, memory, cores in parts
        )
        spec = ReplicaSpec(
            id=name,
            function="ns/f",
            variant=Variant.GPU,
            revision="r",
            ordinal=0,
            devices=tuple(part.device_id for part in asked),
        )
        reason = self.ledger.reserve(spec, asked)
        if name in self.held:
            assert (reason is None) == (self.held[name] == asked)
        elif reason is None:
            assert all(self.healthy[part.device_id] for part in asked)
            self.held[name] = asked
        else:
            assert reason is Reason.WAITING_FOR_GPU

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        assert self.ledger.release(name) == (self.held.pop(name, None) is not None)

    @rule(device=st.sampled_from(DEVICES), healthy=st.booleans())
    def set_health(self, device: Device, healthy: bool) -> None:
        self.healthy[device.id] = healthy
        self.ledger.set_devices([msgspec.structs.replace(device, healthy=healthy)])

    @rule()
    def a_lone_replica_fits_an_empty_healthy_device(self) -> None:
        for device in DEVICES:
            if self.healthy[device.id] and not self.ledger.on(device.id):
                part = Reservation(
                    replica_id="lone", device_id=device.id, memory_mib=device.memory_mib, sharing=Sharing.EXCLUSIVE
                )
                spec = ReplicaSpec(
                    id="lone", function="ns/f", variant=Variant.GPU, revision="r", ordinal=0, devices=(device.id,)
                )
                assert self.ledger.reserve(spec, [part]) is None
                assert self.ledger.release("lone")

    @invariant()
    def no_device_is_promised_beyond_what_it_has(self) -> None:
        for device in DEVICES:
            on = self.ledger.on(device.id)
            assert sum(part.memory_mib for part in on) <= device.memory_mib
            assert sum(part.millicores for part in on) <= device.millicores
            if device.kind is DeviceKind.GPU and any(part.sharing is Sharing.EXCLUSIVE for part in on):
                assert len(on) == 1

    @invariant()
    def both_views_hold_exactly_what_was_granted(self) -> None:
        granted = sorted((part for parts in self.held.values() for part in parts), key=repr)
        assert sorted(self.ledger.all(), key=repr) == granted
        assert sorted((part for device in DEVICES for part in self.ledger.on(device.id)), key=repr) == granted


Ledger.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
TestLedger = Ledger.TestCase
