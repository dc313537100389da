"""XID classes, and the memory of the health gate."""

import pytest

from stoker.model.gpu_fault import UNKNOWN_XID, Fault, FaultCode, XidClass, xid_class, xid_fault
from stoker_node.gpu_health import READMIT_AFTER_US, HealthGate, Signs

pytestmark = pytest.mark.unit

WELL = Signs(recovery_action=0, row_remap_failed=False, uncorrected_errors=0, clock_events=0)


def code(fault: Fault | None) -> FaultCode | None:
    return None if fault is None else fault.code


@pytest.mark.parametrize(
    ("wanted", "xids"),
    [
        (
            XidClass.RESTART_APP,
            [8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, 94, 96, 105, 126, 139, UNKNOWN_XID, 5000],
        ),
        (XidClass.RESET_GPU, [46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 144, 150, 155, 156, 158]),
        (XidClass.REBOOT, [54, 79, 142, 151]),
        (XidClass.IGNORE, [37, 38, 43, 44, 45, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 157, 160, 161]),
        (XidClass.READ_RECOVERY_ACTION, [154]),
    ],
)
def test_every_xid_asks_for_what_the_catalogue_says(wanted: XidClass, xids: list[int]) -> None:
    assert {xid: xid_class(xid) for xid in xids} == dict.fromkeys(xids, wanted)
    takes_out = wanted in (XidClass.RESET_GPU, XidClass.REBOOT)
    assert all((code(xid_fault(xid)) is FaultCode.XID) == takes_out for xid in xids)


def test_an_xid_stays_while_the_driver_shows_no_reset() -> None:
    gate = HealthGate()
    assert not gate.note_xid("a", 13)
    assert gate.note_xid("a", 119)
    assert [code(gate.judge("a", WELL, now)) for now in range(3)] == [FaultCode.XID] * 3
    assert gate.judge("b", WELL, 0) is None


def test_a_recovery_action_that_went_before_the_xid_proves_no_reset() -> None:
    gate = HealthGate()
    asked = Signs(recovery_action=1)
    assert code(gate.judge("a", asked, 0)) is FaultCode.RECOVERY_ACTION
    assert gate.judge("a", WELL, 1) is None
    gate.note_xid("a", 95)
    assert code(gate.judge("a", WELL, 2)) is FaultCode.XID
    assert code(gate.judge("a", asked, 3)) is FaultCode.RECOVERY_ACTION
    assert gate.judge("a", WELL, 4) is None


def test_a_second_xid_after_the_reset_was_asked_for_needs_one_of_its_own() -> None:
    gate = HealthGate()
    gate.note_xid("a", 95)
    gate.judge("a", Signs(recovery_action=1), 0)
    gate.note_xid("a", 119)
    assert code(gate.judge("a", WELL, 1)) is FaultCode.XID


def test_a_gpu_that_was_gone_without_an_xid_is_taken_as_it_comes_back() -> None:
    gate = HealthGate()
    gate.note_gone("a")
    assert gate.judge("a", WELL, 0) is None


def test_what_the_driver_does_not_tell_is_no_fault() -> None:
    assert HealthGate().judge("a", Signs(), 0) is None


def test_the_power_cap_is_normal_and_heat_counts_the_second_time() -> None:
    gate = HealthGate()
    capped, hot = Signs(clock_events=0x4), Signs(clock_events=0x44)
    assert [code(gate.judge("a", capped, now)) for now in range(3)] == [None] * 3
    assert [code(gate.judge("a", signs, 10)) for signs in (hot, WELL, hot, hot)] == [
        None,
        None,
        None,
        FaultCode.THERMAL,
    ]
    assert code(gate.judge("a", WELL, 9 + READMIT_AFTER_US)) is FaultCode.THERMAL
    assert gate.judge("a", WELL, 10 + READMIT_AFTER_US) is None
    assert gate.judge("a", hot, 11 + READMIT_AFTER_US) is None


def test_heat_is_remembered_while_another_fault_is_told() -> None:
    gate = HealthGate()
    broken = Signs(row_remap_failed=True, temperature_c=95, slowdown_c=90)
    assert [code(gate.judge("a", broken, now)) for now in range(2)] == [FaultCode.ROW_REMAP_FAILED] * 2
    assert code(gate.judge("a", WELL, 3)) is FaultCode.THERMAL
