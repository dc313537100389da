"""Reservations never exceed a device, whatever is asked for and released in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.device import Device, DeviceKind, Reservation, fits
from stoker.model.function import Sharing
from stoker.testing.strategies import devices, sharings

pytestmark = pytest.mark.property

asks = st.tuples(st.integers(0, 60), st.integers(0, 2000), sharings())
steps = st.lists(st.one_of(asks, st.integers(0, 5)), max_size=20)
"""An ask (memory, millicores, sharing), or a release of the reservation at a position."""


def granted(device: Device, script: list[tuple[int, int, Sharing] | int]) -> list[tuple[Reservation, ...]]:
    """What was held after each step when fits() alone decides."""
    held: list[Reservation] = []
    history = []
    for number, step in enumerate(script):
        if isinstance(step, int):
            del held[step : step + 1]
        else:
            memory_mib, millicores, sharing = step
            if device.kind is DeviceKind.GPU:
                millicores = 0
            if fits(device, tuple(held), memory_mib, millicores, sharing):
                held.append(
                    Reservation(
                        replica_id=f"default/f-0123456789-{number}",
                        device_id=device.id,
                        memory_mib=memory_mib,
                        millicores=millicores,
                        sharing=sharing,
                    )
                )
        history.append(tuple(held))
    return history


@given(devices(), steps)
def test_reservations_never_exceed_a_device(device: Device, script: list[tuple[int, int, Sharing] | int]) -> None:
    for held in granted(device, script):
        assert sum(reservation.memory_mib for reservation in held) <= device.memory_mib
        assert sum(reservation.millicores for reservation in held) <= device.millicores
        assert device.healthy or not held


@given(devices(), steps)
def test_an_exclusive_reservation_is_alone_on_its_gpu(
    device: Device, script: list[tuple[int, int, Sharing] | int]
) -> None:
    for held in granted(device, script):
        if device.kind is DeviceKind.GPU and any(r.sharing is Sharing.EXCLUSIVE for r in held):
            assert len(held) == 1


@given(devices(), asks)
def test_an_empty_healthy_device_takes_whatever_is_within_its_capacity(
    device: Device, ask: tuple[int, int, Sharing]
) -> None:
    memory_mib, millicores, sharing = ask
    within = memory_mib <= device.memory_mib and millicores <= device.millicores
    assert fits(device, (), memory_mib, millicores, sharing) == (within and device.healthy)
