"""Who uses more memory of a shared GPU than was promised: time-slicing isolates nothing, so it is measured.

Memory of the devices several times a second while more than one replica is on one, else now and then. Only when more
is used than was promised in all is the list of processes asked for, which is dear, and an offender is named only
where it is certain: the process is known by its cgroup, and the driver says what it uses.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from stoker_node.daemon_thread import in_daemon_thread
from stoker_node.devices import GpuProcess, GpuReading, GpuTelemetry
from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

FAST_S = 0.15
SLOW_S = 5.0
EXAMINE_S = 5.0
"""While it stays so, the processes are listed this often at most."""


class Resident(Struct, frozen=True):
    """What one pod was promised on one device."""

    pod_uid: str
    replica: str
    promised_mib: int


class Excess(Struct, frozen=True):
    """A device on which more is used than was promised."""

    device_id: str
    used_mib: int
    promised_mib: int
    offenders: tuple[tuple[Resident, int], ...]
    """Those that certainly use more than their own promise, and how much; empty where that cannot be told."""


def offenders_of(
    processes: Sequence[GpuProcess] | None,
    residents: Sequence[Resident],
    pod_of: Callable[[int], str | None],
    slack_mib: int,
) -> tuple[tuple[Resident, int], ...]:
    """Who uses more than it was promised, the worst first."""
    used: dict[str, int] = {}
    for process in processes or ():
        uid = pod_of(process.pid)
        if uid is not None and process.used_mib is not None:
            used[uid] = used.get(uid, 0) + process.used_mib
    over = [
        (one, used.get(one.pod_uid, 0)) for one in residents if used.get(one.pod_uid, 0) > one.promised_mib + slack_mib
    ]
    return tuple(sorted(over, key=lambda pair: pair[0].promised_mib - pair[1]))


class Residents(Protocol):
    def __call__(self) -> Mapping[str, Sequence[Resident]]:
        """Who is on each time-sliced device."""


class MemoryWatch:
    """`start()`, `await stop()`."""

    def __init__(
        self,
        telemetry: GpuTelemetry,
        residents: Residents,
        *,
        on_readings: Callable[[tuple[GpuReading, ...]], None],
        on_excess: Callable[[Excess], None],
        pod_of: Callable[[int], str | None],
        clock_s: Callable[[], float],
        slack_mib: int,
        fast_s: float = FAST_S,
        slow_s: float = SLOW_S,
    ) -> None:
        """`slack_mib`: what the driver itself uses is in the figures and in nobody's promise."""
        self._telemetry = telemetry
        self._residents = residents
        self._on_readings = on_readings
        self._on_excess = on_excess
        self._pod_of = pod_of
        self._clock_s = clock_s
        self._slack_mib = slack_mib
        self._fast_s = fast_s
        self._slow_s = slow_s
        self._examined: dict[str, tuple[int, float]] = {}
        """Of devices with an excess: what was used when the processes were listed, and when."""
        self._task = Background("memory-watch")

    def start(self) -> None:
        self._task.start(self._run)

    async def stop(self) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                # A mistake of ours must not end the watch.
                log.exception("memory_watch_failed")
            shared = any(len(here) > 1 for here in self._residents().values())
            await asyncio.sleep(self._fast_s if shared else self._slow_s)

    async def _look(self) -> None:
        readings = await in_daemon_thread(self._telemetry.readings, "gpu-memory")
        self._on_readings(readings)
        residents = self._residents()
        for reading in readings:
            here = residents.get(reading.device_id, ())
            promised_mib = sum(one.promised_mib for one in here)
            if len(here) > 1 and reading.used_mib > promised_mib + self._slack_mib:
                await self._examine(reading, promised_mib, here)
            else:
                self._examined.pop(reading.device_id, None)

    async def _examine(self, reading: GpuReading, promised_mib: int, here: Sequence[Resident]) -> None:
        device_id, now_s = reading.device_id, self._clock_s()
        before = self._examined.get(device_id)
        jumped = before is None or reading.used_mib > before[0] + self._slack_mib
        if before is not None and not jumped and now_s - before[1] < EXAMINE_S:
            return
        self._examined[device_id] = (reading.used_mib, now_s)
        processes = await in_daemon_thread(lambda: self._telemetry.processes(device_id), "gpu-processes")
        offenders = offenders_of(processes, here, self._pod_of, self._slack_mib)
        self._on_excess(Excess(device_id, reading.used_mib, promised_mib, offenders))
