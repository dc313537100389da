"""Why no new replica may go on a GPU: the closed list of codes, and what each XID means for the GPU that reports it.

The classes are those of NVIDIA's XID catalogue (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html).
An XID that an application causes (13, 31, 43, 94 ...) says nothing about the GPU: whoever ran there is at fault.
Nothing here knows NVML.
"""

from enum import StrEnum

from msgspec import Struct


class FaultCode(StrEnum):
    """A word for dashboards, status and rules; the sentence beside it is for people."""

    LOST = "GpuLost"
    RESET_REQUIRED = "ResetRequired"
    RECOVERY_ACTION = "RecoveryAction"
    XID = "XidError"
    ROW_REMAP_FAILED = "RowRemapFailed"
    ECC = "EccErrors"
    THERMAL = "Thermal"
    DRIVER_ERROR = "DriverError"
    STALE = "Stale"
    NOT_LISTED = "NotListed"
    NOT_OFFERED = "NotOffered"
    """Kubernetes: the driver knows it, and the device plugin does not give it to pods."""


class Fault(Struct, frozen=True):
    code: FaultCode
    text: str
    """What is wrong and what to do, without a full stop."""


class XidClass(StrEnum):
    """What NVIDIA's catalogue asks for after an XID."""

    RESTART_APP = "restart the application"
    RESET_GPU = "reset the GPU"
    REBOOT = "reboot the machine"
    IGNORE = "nothing"
    READ_RECOVERY_ACTION = "read the recovery action"


_RESET_GPU = frozenset(
    {46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158, *range(144, 151)},
)
"""48 and the NVLink errors 74 and 144-150 have workflows of their own there, which all take the GPU out of service."""
_REBOOT = frozenset({54, 79, 142, 151})
"""79: fell off the bus. 54 (power cable) and 142 ask for a look at the machine: until then nothing new goes there."""
_IGNORE = frozenset({37, 38, 43, 44, 45, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 157, 160, 161})
"""45 follows another XID, which counts."""
_RECOVERY_ACTION_CHANGED = 154
UNKNOWN_XID = 999
"""What NVML says when it does not know which XID it was."""


def xid_class(xid: int) -> XidClass:
    """What the catalogue asks for. An XID that is in no list is taken for the application's, as most are."""
    if xid == _RECOVERY_ACTION_CHANGED:
        return XidClass.READ_RECOVERY_ACTION
    if xid in _RESET_GPU:
        return XidClass.RESET_GPU
    if xid in _REBOOT:
        return XidClass.REBOOT
    if xid in _IGNORE:
        return XidClass.IGNORE
    return XidClass.RESTART_APP


def xid_fault(xid: int) -> Fault | None:
    """The fault that an XID puts on its GPU, or None when the GPU stays in service."""
    match xid_class(xid):
        case XidClass.RESET_GPU:
            return Fault(FaultCode.XID, f"the driver reported XID {xid}: reset the GPU")
        case XidClass.REBOOT:
            return Fault(FaultCode.XID, f"the driver reported XID {xid}: reboot the machine and look at its hardware")
        case _:
            return None
