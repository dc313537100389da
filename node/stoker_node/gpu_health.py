"""Whether new replicas may go on a GPU, from what the driver says of it over time. Pure: told everything, asks nothing.

A fault that the hardware reports counts at once and goes when the driver takes it back. Two things outlive the poll
that saw them: an XID that asks for a reset stays until the driver shows that one was done, and heat must show twice
and be gone for a while, or a GPU at its limit would flap.
"""

from msgspec import Struct

from stoker.model.gpu_fault import Fault, FaultCode, xid_fault

THERMAL_BITS = 0x8 | 0x20 | 0x40 | 0x80
"""NVML's clock event reasons: hardware slowdown, software thermal, hardware thermal, power brake. 0x4, the power cap,
is normal under load."""
READMIT_AFTER_US = 30_000_000
_RECOVERY_ACTIONS = {
    1: "the driver asks for a reset of the GPU",
    2: "the driver asks for a reboot of the machine",
    3: "the driver asks to drain the GPU's peer links",
    4: "the driver asks to drain and reset the GPU",
    5: "the driver asks to recover the GPU's fabric domain",
    6: "the driver asks for a reset of the GPU's bus",
    7: "the driver asks for a reboot of the whole system",
}


class Signs(Struct, frozen=True, kw_only=True):
    """One look at one GPU. None: this GPU or driver does not tell."""

    recovery_action: int | None = None
    row_remap_failed: bool | None = None
    uncorrected_errors: int | None = None
    """Since the driver was loaded."""
    clock_events: int | None = None
    temperature_c: int | None = None
    slowdown_c: int | None = None


class _Memory(Struct):
    """What is remembered of one GPU between looks."""

    xid: int | None = None
    recovery_asked: bool = False
    hot_looks: int = 0
    hot_until_us: int | None = None


class HealthGate:
    """The memory of all GPUs of the node. Not thread-safe: the probe guards it."""

    def __init__(self) -> None:
        self._gpus: dict[str, _Memory] = {}

    def note_xid(self, uuid: str, xid: int) -> bool:
        """Whether the XID takes the GPU out of service. One that an application causes does not."""
        if xid_fault(xid) is None:
            return False
        memory = self._of(uuid)
        memory.xid, memory.recovery_asked = xid, False
        return True

    def note_gone(self, uuid: str) -> None:
        """The GPU did not answer (lost, being reset): when it does again, a reset has been done."""
        memory = self._of(uuid)
        memory.recovery_asked = memory.xid is not None

    def judge(self, uuid: str, signs: Signs, now_us: int) -> Fault | None:
        """Why no new replica may go on the GPU, or None. Call it once for each look."""
        memory = self._of(uuid)
        heat = self._heat(memory, signs, now_us)
        if signs.recovery_action:
            memory.recovery_asked = memory.xid is not None
            text = _RECOVERY_ACTIONS.get(
                signs.recovery_action, f"the driver asks for recovery action {signs.recovery_action}"
            )
            return Fault(FaultCode.RECOVERY_ACTION, text)
        if memory.recovery_asked:
            memory.xid, memory.recovery_asked = None, False
        if memory.xid is not None:
            return xid_fault(memory.xid)
        if signs.row_remap_failed:
            text = "a faulty memory row could not be replaced: the GPU has to be exchanged"
            return Fault(FaultCode.ROW_REMAP_FAILED, text)
        # Ampere and later contain an uncorrected error by remapping the row; only older GPUs have to be reset for it.
        if signs.uncorrected_errors and signs.row_remap_failed is None:
            text = f"{signs.uncorrected_errors} uncorrected memory errors since the driver was loaded: reset the GPU"
            return Fault(FaultCode.ECC, text)
        return heat

    def _heat(self, memory: _Memory, signs: Signs, now_us: int) -> Fault | None:
        slowed = (signs.clock_events or 0) & THERMAL_BITS
        too_hot = None not in (signs.temperature_c, signs.slowdown_c) and signs.temperature_c >= signs.slowdown_c  # type: ignore[operator]
        memory.hot_looks = memory.hot_looks + 1 if slowed or too_hot else 0
        if memory.hot_looks >= 2:
            memory.hot_until_us = now_us + READMIT_AFTER_US
        if memory.hot_until_us is None or now_us >= memory.hot_until_us:
            memory.hot_until_us = None
            return None
        return Fault(FaultCode.THERMAL, "the GPU slows itself down for heat or power: check its cooling")

    def _of(self, uuid: str) -> _Memory:
        return self._gpus.setdefault(uuid, _Memory())
