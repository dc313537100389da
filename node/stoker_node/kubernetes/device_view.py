"""The devices of the node as three sources see them: the driver (GPUs and their health), the device plugin (which it
gives away, and in how many shares), the Node object (cores and host memory).

Pure state; who feeds it reads `devices()` afterwards. When the plugin offers nothing at all of a resource it is taken
to restart: what it said before counts for a while. A single card that it leaves out is one that it found unhealthy.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import Struct

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.device_ids import sharing_of
from stoker.model.gpu_fault import FaultCode
from stoker_node.devices import CPU_DEVICE_ID, platform_millicores
from stoker_node.kubelet.pod_resources import Allocatable
from stoker_node.kubernetes.node_quantity import mebibytes, millicores
from stoker_node.kubernetes.objects import Node

SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
"""Written by NVIDIA's feature discovery: time-slicing and MPS give the same device ids."""
_MPS = "mps"


class _Offer(Struct, frozen=True):
    """How the device plugin gives a card away."""

    resource: str = ""
    mode: DeviceMode = DeviceMode.WHOLE
    shares: int = 1


class DeviceView:
    """See the module. Cards are those that the driver listed at start-up; their number never changes."""

    def __init__(self, gpus: Sequence[Device], cpu: Device, *, plugin_grace_us: int) -> None:
        self._gpus = tuple(gpus)
        self._cpu = cpu
        self._plugin_grace_us = plugin_grace_us
        self._offered: dict[str, _Offer] = {}
        """Each card as it was last offered."""
        self._absent: frozenset[str] = frozenset(gpu.id for gpu in gpus)
        """Cards that the plugin does not offer."""
        self._away: frozenset[str] = self._absent
        """Those of them that nothing is wrong with: the plugin is away."""
        self._silent_since_us: dict[str, int] = {}
        """Of resources that were offered, and of which there is nothing now."""
        self._first_us: int | None = None

    def set_gpus(self, gpus: Sequence[Device]) -> None:
        """What the driver says now (DeviceWatch)."""
        self._gpus = tuple(gpus)

    def set_node(self, node: Node) -> None:
        """What the Node object says now."""
        self._cpu = cpu_of(node, self._cpu)

    def set_allocatable(self, answer: Sequence[Allocatable], labels: Mapping[str, str], now_us: int) -> None:
        """What the kubelet gives away now."""
        mps = labels.get(SHARING_LABEL) == _MPS
        cards = {gpu.id for gpu in self._gpus}
        offered: dict[str, _Offer] = {}
        for resource in answer:
            sharing = sharing_of(resource.device_ids, mps=mps)
            for card, shares in sharing.shares.items():
                if card in cards:
                    offered[card] = _Offer(resource.resource, sharing.mode, shares)
        self._offered.update(offered)
        spoke = {offer.resource for offer in offered.values()}
        self._note_silence(spoke, now_us)
        absent, away = set(), set()
        for card in cards - offered.keys():
            before = self._offered.get(card)
            if before is None:
                absent.add(card)
                if not spoke or self._is_recent(self._first_us, now_us):
                    away.add(card)
            elif before.resource in spoke:
                absent.add(card)
            elif not self._is_recent(self._silent_since_us[before.resource], now_us):
                absent.add(card)
                away.add(card)
        self._absent, self._away = frozenset(absent), frozenset(away)

    def _note_silence(self, spoke: Collection[str], now_us: int) -> None:
        if self._first_us is None:
            self._first_us = now_us
        silent = {offer.resource for offer in self._offered.values()} - set(spoke)
        self._silent_since_us = {resource: self._silent_since_us.get(resource, now_us) for resource in silent}

    def _is_recent(self, since_us: int | None, now_us: int) -> bool:
        return since_us is not None and now_us - since_us < self._plugin_grace_us

    def devices(self) -> tuple[Device, ...]:
        """All devices, the CPU last."""
        return (*(self._gpu(gpu) for gpu in self._gpus), self._cpu)

    def held(self) -> dict[str, Device]:
        """The devices as they are for who has got one already: there, a plugin that is away is no fault."""
        return {
            device.id: device
            if device.healthy or self.condemned(device.id)
            else msgspec.structs.replace(device, healthy=True, reason="", fault=None)
            for device in self.devices()
        }

    def condemned(self, device_id: str) -> str:
        """Why what runs on a device should go elsewhere; empty also where only the plugin is away: that harms nobody
        who has a card already.
        """
        device = next((one for one in self.devices() if one.id == device_id), None)
        if device is None or device.healthy or (device.fault is FaultCode.NOT_OFFERED and device.id in self._away):
            return ""
        return f"{device.label} is unhealthy: {device.reason}"

    def _gpu(self, gpu: Device) -> Device:
        offer = self._offered.get(gpu.id, _Offer())
        gpu = msgspec.structs.replace(gpu, mode=offer.mode, shares=offer.shares)
        if gpu.healthy and gpu.id in self._absent:
            reason = "the device plugin does not offer it to pods"
            if gpu.id in self._away:
                reason = "the device plugin of this node offers nothing of its kind: it is away or not installed"
            return msgspec.structs.replace(gpu, healthy=False, reason=reason, fault=FaultCode.NOT_OFFERED)
        return gpu


def cpu_of(node: Node, before: Device | None = None) -> Device:
    """The cores and the memory that replicas may use in all: the Node's, less what the platform keeps of the cores.

    A Node that says nothing sensible leaves what was known `before`.
    """
    allocatable = node.status.allocatable or {}
    try:
        cores, memory_mib = millicores(allocatable["cpu"]), mebibytes(allocatable["memory"])
    except (KeyError, ValueError):
        cores, memory_mib = 0, 0
        if before is not None:
            return before
    return Device(
        id=CPU_DEVICE_ID,
        kind=DeviceKind.CPU,
        product="cpu",
        memory_mib=memory_mib,
        millicores=max(0, cores - platform_millicores(cores)),
    )
