"""Where a shared replica goes: not onto slots that its own function fills already."""

import pytest

from stoker.control.board import Board
from stoker.control.capacity import Need
from stoker.model.device import DeviceKind
from stoker.model.function import Sharing, Variant
from stoker.testing.builders import make_gpu, make_reservation

pytestmark = pytest.mark.unit

PAIR = ("default/f", Variant.GPU)


def board(slots: int = 1, *held: str) -> Board:
    devices = [make_gpu("g0", slots=slots), make_gpu("g1", slots=slots)]
    return Board(devices, [make_reservation(replica, "g0", memory_mib=1_000) for replica in held], ())


def need() -> Need:
    return Need(kind=DeviceKind.GPU, memory_mib=1_000, sharing=Sharing.SHARED)


def test_a_second_replica_opens_another_device_where_it_adds_slots() -> None:
    assert board(1, "default/f-0123456789-0").place(need(), PAIR) == ("g1",)


def test_a_replica_of_another_function_goes_where_somebody_is_already() -> None:
    assert board(1, "default/g-0123456789-0").place(need(), PAIR) == ("g0",)
    assert board(1, "default/f-g-0123456789-0").place(need(), PAIR) == ("g0",), "f-g is not f"


def test_a_device_with_slots_to_spare_takes_another_replica_of_its_function() -> None:
    assert board(2, "default/f-0123456789-0").place(need(), PAIR) == ("g0",)
