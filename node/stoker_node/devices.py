"""Devices of the machine: how they are found and how their health is followed.

The probes (stoker_node.nvml, stoker_node.simulated, the CPU here) know no replica and no request.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker.model.gpu_fault import Fault, FaultCode
from stoker_node.daemon_thread import begin_in_daemon_thread
from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

CPU_DEVICE_ID = "cpu"


class DevicesUnavailable(StokerError):  # noqa: N818  the name states the fact
    """The devices of the machine cannot be listed. The text says why and what to do."""


class DeviceProbe(Protocol):
    """A source of devices. Calls may block (a wedged driver blocks for ever): never on the event loop."""

    def list(self) -> tuple[Device, ...]:
        """All devices now, unhealthy ones included, in a stable order. Raises DevicesUnavailable."""

    def close(self) -> None:
        """Give back what the probe holds; calling it twice is harmless."""


class GpuReading(Struct, frozen=True):
    """How a GPU fares at this moment."""

    device_id: str
    total_mib: int
    used_mib: int
    """By all processes, measured. It lags behind allocations."""
    utilisation_percent: int | None
    """None where the driver does not tell (MIG)."""


class GpuProcess(Struct, frozen=True):
    """One process that holds memory of a GPU."""

    pid: int
    """The host's, whatever namespace the agent is in."""
    used_mib: int | None
    """None where the driver does not tell."""


class GpuTelemetry(Protocol):
    """Fast facts of the GPUs that list() found. Calls may block, like those of DeviceProbe."""

    def readings(self) -> tuple[GpuReading, ...]:
        """Memory and utilisation of every GPU that answers, by id. Cheap: ten times a second is fine."""

    def processes(self, device_id: str) -> tuple[GpuProcess, ...] | None:
        """Who holds memory of the GPU, by pid; None when it cannot be told.

        Slow (milliseconds under a global lock of the driver): only when the memory jumped.
        """


def cpu_device(*, cores: int | None = None, memory_mib: int | None = None) -> Device:
    """The machine's cores as a device: those this process may use, less the platform's own share."""
    millicores = 1000 * (cores if cores is not None else len(os.sched_getaffinity(0)))
    total_mib = memory_mib if memory_mib is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return Device(
        id=CPU_DEVICE_ID,
        kind=DeviceKind.CPU,
        product="cpu",
        memory_mib=total_mib,
        millicores=millicores - platform_millicores(millicores),
    )


def platform_millicores(total_millicores: int) -> int:
    """What the platform keeps of the cores: an eighth, between a quarter of a core and half a core."""
    return min(500, max(250, total_millicores // 8))


class DeviceWatch:
    """Follows the health of a probe's devices; `on_devices` is called on the event loop when anything changed.

    Each poll runs in a thread of its own. One that hangs is left behind (no thread can be ended from outside) and
    nothing else is started until it returns: its devices turn unhealthy instead.
    """

    def __init__(
        self,
        probe: DeviceProbe,
        first: Sequence[Device],
        on_devices: Callable[[tuple[Device, ...]], None],
        *,
        poll_s: float,
        stale_s: float,
    ) -> None:
        """`first` is the probe's list at start-up: what is missing from it later is lost, what is new is ignored."""
        self._probe = probe
        self._last = tuple(first)
        self._seen = self._last
        self._on_devices = on_devices
        self._poll_s = poll_s
        self._stale_s = stale_s
        self._task = Background("device-watch")
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Poll now (on the event loop): something was reported that may change a device's health."""
        self._poked.set()

    def start(self) -> None:
        self._task.start(self._run)

    async def stop(self) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._poked.wait()
            self._poked.clear()
            poll = asyncio.wrap_future(begin_in_daemon_thread(self._probe.list, "device-poll"))
            try:
                done, _ = await asyncio.wait([poll], timeout=self._stale_s)
                if not done:
                    text = f"the driver has not answered for {self._stale_s:g} s"
                    self._publish(self._all_unhealthy(Fault(FaultCode.STALE, text)))
                    await asyncio.wait([poll])
            finally:
                poll.cancel()  # no effect but when this task is ended: nobody waits for the thread's answer then
            error = poll.exception()
            if isinstance(error, DevicesUnavailable):
                self._publish(self._all_unhealthy(Fault(FaultCode.DRIVER_ERROR, str(error))))
            elif error is not None:
                self._publish(
                    self._all_unhealthy(Fault(FaultCode.DRIVER_ERROR, f"reading the devices failed: {error!r}"))
                )
            else:
                self._publish(self._merged(poll.result()))

    def _merged(self, found: tuple[Device, ...]) -> tuple[Device, ...]:
        by_id = {device.id: device for device in found}
        return tuple(
            msgspec.structs.replace(known, healthy=now.healthy, reason=now.reason, fault=now.fault)
            if (now := by_id.get(known.id)) is not None
            else _unhealthy(known, Fault(FaultCode.NOT_LISTED, "the driver does not list it any more"))
            for known in self._last
        )

    def _all_unhealthy(self, fault: Fault) -> tuple[Device, ...]:
        return tuple(_unhealthy(device, fault) for device in self._last)

    def _publish(self, devices: tuple[Device, ...]) -> None:
        if devices == self._seen:
            return
        self._seen = devices
        try:
            self._on_devices(devices)
        except Exception:
            # A mistake of ours must not end the watch: the devices are told again after the next poll.
            self._seen = ()
            log.exception("device_listener_failed")


def _unhealthy(device: Device, fault: Fault) -> Device:
    return msgspec.structs.replace(device, healthy=False, reason=fault.text, fault=fault.code)
