"""What follows when more memory of a shared GPU is used than was promised: metrics, a log line, and an accusation
where it is certain who did it and the policy enforces. Measuring is stoker_node.kubernetes.memory_watch's.
"""

from collections.abc import Callable, Sequence

import structlog

from stoker import metrics as m
from stoker.model.device import Device, DeviceMode
from stoker.names import parse_replica_id
from stoker_node.devices import GpuReading
from stoker_node.kubernetes.memory_watch import Excess, Resident
from stoker_node.kubernetes.pod_sync import PodSync

log = structlog.get_logger(__name__)


class MemoryGuard:
    """The listener of a MemoryWatch."""

    def __init__(
        self,
        pods: PodSync,
        *,
        devices: Callable[[], Sequence[Device]],
        enforced: Callable[[], bool],
        sink: m.MetricsSink,
    ) -> None:
        self._pods = pods
        self._devices = devices
        self._enforced = enforced
        self._sink = sink
        self.used_mib: dict[str, int] = {}
        """Of each device, as read last."""

    def residents(self) -> dict[str, list[Resident]]:
        """Who is on each time-sliced device. A whole card and an MPS share are bounded by hardware and daemon."""
        shared = {device.id for device in self._devices() if device.mode is DeviceMode.TIME_SLICED}
        found: dict[str, list[Resident]] = {}
        for one in self._pods.tracked():
            for part in one.parts:
                if one.reserved and part.device_id in shared:
                    resident = Resident(one.pod.uid, one.pod.replica.id, part.memory_mib)
                    found.setdefault(part.device_id, []).append(resident)
        return found

    def on_readings(self, readings: tuple[GpuReading, ...]) -> None:
        products = {device.id: device.product for device in self._devices()}
        for reading in readings:
            self.used_mib[reading.device_id] = reading.used_mib
            labels = (reading.device_id, products.get(reading.device_id, ""))
            self._sink.set(m.DEVICE_USED, reading.used_mib * 2**20, *labels)
            if reading.utilisation_percent is not None:
                self._sink.set(m.DEVICE_UTILISATION, reading.utilisation_percent / 100, *labels)

    def on_excess(self, excess: Excess) -> None:
        device = next((one for one in self._devices() if one.id == excess.device_id), None)
        if device is None:
            return
        enforced = self._enforced()
        self._sink.inc(m.DEVICE_MEMORY_EXCEEDED, device.id, device.product)
        log.warning(
            "device_memory_exceeded",
            device=device.label,
            used_mib=excess.used_mib,
            promised_mib=excess.promised_mib,
            replicas=[one.replica for one in self.residents().get(device.id, ())],
            offenders={one.replica: used_mib for one, used_mib in excess.offenders},
            enforced=enforced,
        )
        for one, used_mib in excess.offenders:
            namespace, _, name = parse_replica_id(one.replica).function.partition("/")
            self._sink.inc(m.REPLICA_MEMORY_EXCEEDED, namespace, name)
            if enforced:
                text = f"it used {used_mib} MiB of {one.promised_mib} MiB promised on {device.label}"
                self._pods.accuse(one.pod_uid, text)
