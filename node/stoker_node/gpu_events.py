"""XIDs and other critical events of GPUs, as the driver reports them: one thread that waits in NVML.

What a poll cannot see (an XID leaves no trace in any field on older drivers) is told here. The thread ends with the
process, also when the driver hangs. Knows no replica: who ran on a GPU is the listener's business.
"""

import ctypes
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pynvml
import structlog
from msgspec import Struct

from stoker_node.nvml import NvmlProbe

log = structlog.get_logger(__name__)

_WANTED = (
    pynvml.nvmlEventTypeXidCriticalError
    | pynvml.nvmlEventTypeDoubleBitEccError
    | pynvml.nvmlEventTypeGpuUnavailableError
    | pynvml.nvmlEventTypeGpuRecoveryAction
)
_ABSENT = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


class GpuEvent(Struct, frozen=True):
    device_id: str
    xid: int | None
    """None for an event without one: the health of the GPU is worth another look."""
    quarantines: bool
    """The XID takes the GPU out of service; else the application that ran there is at fault."""


class GpuEvents:
    """Follows the GPUs that the probe's last list() found when it started, or started over after an error."""

    def __init__(
        self,
        probe: NvmlProbe,
        on_event: Callable[[GpuEvent], None],
        *,
        wait_s: float = 1.0,
        retry_s: float = 5.0,
    ) -> None:
        """`on_event` is called in the thread: hand over by call_soon_threadsafe.

        `wait_s` is how long one call of the driver waits, and so how long stop() may take.
        """
        self._probe = probe
        self._on_event = on_event
        self._wait_ms = max(1, int(wait_s * 1000))
        self._retry_s = retry_s
        self._ending = Event()
        self._thread: Thread | None = None
        self.listening = Event()
        """Set while events are waited for: what happens before is lost."""

    def start(self) -> None:
        self._thread = Thread(target=self._run, name="gpu-events", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Blocks for up to `timeout_s`: not on an event loop. Stop it before the probe is closed. Twice is fine."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                supported = self._follow()
            except pynvml.NVMLError as err:
                supported = err.value not in _ABSENT
                log.warning("gpu_events_interrupted", error=str(err), retry_s=self._retry_s)
            finally:
                self.listening.clear()
            if not supported:
                log.info("gpu_events_unsupported", detail="the driver reports no events: faults show in polls only")
                return

    def _follow(self) -> bool:
        """Until the GPUs that answer are others, an error, or the end. False when no GPU can report events."""
        handles = self._probe.handles()
        events = pynvml.nvmlEventSetCreate()
        try:
            devices, failed = self._register(handles, events)
            if not devices:
                self._ending.wait(self._retry_s)
                return failed or not handles
            self.listening.set()
            while not self._ending.is_set() and self._probe.handles().keys() == handles.keys():
                event = self._wait(events)
                device_id = devices.get(_address(event.device)) if event is not None else None
                if device_id is not None:
                    self._tell(device_id, event)
        except pynvml.NVMLError:
            self._ending.wait(self._retry_s)
            raise
        finally:
            pynvml.nvmlEventSetFree(events)
        return True

    def _wait(self, events: Any) -> Any:
        """The next event, or None when there was none for a while."""
        began = time.monotonic()
        try:
            return pynvml.nvmlEventSetWait_v2(events, self._wait_ms)
        except pynvml.NVMLError as err:
            if err.value != pynvml.NVML_ERROR_TIMEOUT:
                raise
        # A driver that answers "timeout" at once must not cost a core.
        self._ending.wait(max(0.0, 0.05 - (time.monotonic() - began)))
        return None

    def _register(self, handles: dict[str, Any], events: Any) -> tuple[dict[int, str], bool]:
        """The GPUs that report events by address of their handle, and whether asking any of them failed."""
        registered: dict[int, str] = {}
        failed = False
        for device_id, handle in handles.items():
            try:
                types = pynvml.nvmlDeviceGetSupportedEventTypes(handle) & _WANTED
                if types:
                    pynvml.nvmlDeviceRegisterEvents(handle, types, events)
                    registered[_address(handle)] = device_id
            except pynvml.NVMLError as err:
                failed |= err.value not in _ABSENT
                log.warning("gpu_events_not_followed", device=device_id, error=str(err))
        return registered, failed

    def _tell(self, device_id: str, event: Any) -> None:
        xid = int(event.eventData) if event.eventType == pynvml.nvmlEventTypeXidCriticalError else None
        quarantines = xid is not None and self._probe.note_xid(device_id, xid)
        log.warning("gpu_event", device=device_id, type=int(event.eventType), xid=xid, quarantines=quarantines)
        self._on_event(GpuEvent(device_id, xid, quarantines))


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
