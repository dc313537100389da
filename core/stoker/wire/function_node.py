"""The FunctionNode resource: the slow facts of one node, as its agent writes them and all others read them. Pure.

The operator creates the object, owned by the Node; the node's agent writes its status by server-side apply. What moves
all the time (queues, free slots, predicted waits) is not here but in the load stream (stoker.wire.agent): this is the
ledger that placement, users and recovery read, and it must cost at most 0.1 writes a second. So memory is quantised,
and `needs_write` says when a difference is worth a write. Knows no client and no clock.
"""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import Variant
from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState
from stoker.wire.conversion import convert

API_VERSION = "stoker.dev/v1alpha1"
KIND = "FunctionNode"
AGENT_LEASE = "stoker-node-"
"""Before the name of the node: the Lease by which its agent tells those who have no stream from it that it lives."""

QUANTUM_MIB = 256
"""Step of the amounts of memory that are measured, not promised."""
WRITE_INTERVAL_US = 10_000_000
"""Least time between writes of what can wait."""
FLIP_INTERVAL_US = 500_000
"""Least time between writes of what cannot: a device that flaps must not become a storm of writes."""


class Wire(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all values here. Unknown fields are left aside: a newer agent may write more."""


class AgentStatus(Wire, frozen=True, kw_only=True):
    """The agent that wrote the status."""

    pod: str
    address: str
    """IP of its pod."""
    version: str = ""


class DeviceStatus(Wire, frozen=True, kw_only=True):
    """One device of the node."""

    id: str
    """The agent's id of it, without the node."""
    kind: DeviceKind
    product: str
    memory_mib: int
    used_memory_mib: int = 0
    """As measured, in steps of QUANTUM_MIB."""
    millicores: int = 0
    slots: int = 1
    shares: int = 1
    mode: DeviceMode = DeviceMode.WHOLE
    healthy: bool
    reason: str = ""
    """A word (stoker.model.gpu_fault.FaultCode) where it is not healthy."""
    message: str = ""
    """The same for people."""
    simulated: bool = False


class ResidentStatus(Wire, frozen=True, kw_only=True):
    """One pod of a function on the node."""

    namespace: str
    pod: str
    pod_uid: str
    function: str
    """Name, in the same namespace."""
    revision: str
    variant: Variant
    devices: tuple[str, ...] = ()
    """Ids of devices, empty until the kubelet said so."""
    state: ReplicaState
    memory_mib: int = 0
    """What is reserved for it on each of its devices."""


class ImageStatus(Wire, frozen=True, kw_only=True):
    """An image of a function that is on the node."""

    reference: str
    promised: bool = False
    """A prefetch pod keeps it there; else the kubelet may collect it."""


class NodeCondition(Wire, frozen=True, kw_only=True):
    """A condition as Kubernetes writes it."""

    type: str
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    message: str
    last_transition_time: str
    """RFC 3339."""
    observed_generation: int = 0


class Counts(Wire, frozen=True, kw_only=True):
    """Sums for `kubectl get`, which cannot count."""

    gpus: int = 0
    healthy: int = 0
    """Of the GPUs."""
    free: int = 0
    """Healthy GPUs without a resident."""
    warm: int = 0
    """Warm replicas."""


class FunctionNodeStatus(Wire, frozen=True, kw_only=True):
    """The whole status."""

    agent: AgentStatus
    devices: tuple[DeviceStatus, ...] = ()
    residents: tuple[ResidentStatus, ...] = ()
    images: tuple[ImageStatus, ...] = ()
    conditions: tuple[NodeCondition, ...] = ()
    observed_generation: int = 0

    @property
    def counts(self) -> Counts:
        """Derived, and written beside the rest."""
        gpus = [device for device in self.devices if device.kind is DeviceKind.GPU]
        held = {device for resident in self.residents for device in resident.devices}
        return Counts(
            gpus=len(gpus),
            healthy=sum(device.healthy for device in gpus),
            free=sum(device.healthy and device.id not in held for device in gpus),
            warm=sum(resident.state is ReplicaState.WARM for resident in self.residents),
        )


class _Document(Wire, frozen=True, kw_only=True):
    status: FunctionNodeStatus


def device_status(device: Device, *, used_memory_mib: int = 0, reason: str = "") -> DeviceStatus:
    """A device as probed. `reason` is the word for `device.reason`, which is for people."""
    return DeviceStatus(
        id=device.id,
        kind=device.kind,
        product=device.product,
        memory_mib=device.memory_mib,
        used_memory_mib=used_memory_mib,
        millicores=device.millicores,
        slots=device.slots,
        shares=device.shares,
        mode=device.mode,
        healthy=device.healthy,
        reason="" if device.healthy else reason,
        message="" if device.healthy else device.reason,
        simulated=device.simulated,
    )


def devices_of(node: str, status: FunctionNodeStatus) -> tuple[Device, ...]:
    """The devices for plan() and placement: their ids are `NODE/ID`, unique in the cluster."""
    return tuple(
        Device(
            id=f"{node}/{device.id}",
            kind=device.kind,
            product=device.product,
            memory_mib=device.memory_mib,
            millicores=device.millicores,
            slots=device.slots,
            healthy=device.healthy,
            reason=device.message,
            fault=None if device.healthy else _fault(device.reason),
            simulated=device.simulated,
            node=node,
            mode=device.mode,
            shares=device.shares,
        )
        for device in status.devices
    )


def _fault(word: str) -> FaultCode | None:
    """A word that is not known is some fault of the device that a newer agent tells of."""
    try:
        return FaultCode(word) if word else None
    except ValueError:
        return FaultCode.DRIVER_ERROR


def function_node(node: str, node_uid: str) -> dict[str, Any]:
    """The object that the operator creates for a Node; it goes with that very Node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": node, "ownerReferences": [owner]},
        "spec": {},
    }


def encode_status(node: str, status: FunctionNodeStatus) -> dict[str, Any]:
    """The document of a server-side apply of the status."""
    content = msgspec.to_builtins(status) | {"counts": msgspec.to_builtins(status.counts)}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": node}, "status": content}


def decode_status(document: dict[str, Any]) -> FunctionNodeStatus | None:
    """The status of a FunctionNode; None while its agent has not written one. Raises InvalidObject for garbage."""
    status = document.get("status")
    if not status or (isinstance(status, dict) and "agent" not in status):
        return None
    return convert(document, _Document).status


def quantise(status: FunctionNodeStatus) -> FunctionNodeStatus:
    """The status as it is written: measured memory rounded up to steps, and everything in one order."""
    return replace(
        status,
        devices=tuple(
            replace(device, used_memory_mib=-(-device.used_memory_mib // QUANTUM_MIB) * QUANTUM_MIB)
            for device in sorted(status.devices, key=lambda device: device.id)
        ),
        residents=tuple(sorted(status.residents, key=lambda resident: resident.pod_uid)),
        images=tuple(sorted(status.images, key=lambda image: image.reference)),
    )


def needs_write(
    before: FunctionNodeStatus | None, after: FunctionNodeStatus, last_write_us: int | None, now_us: int
) -> bool:
    """Whether `after` is to be written now over `before`, which was written at `last_write_us`. Both are quantised.

    A flip (who is here and in which state, which devices there are and whether they are well, which agent, whether it
    is ready) is written at once, anything else at most every WRITE_INTERVAL_US. One step of memory up or down is no
    difference: a value near the edge of a step would be written for ever. Ask again later when it says no.
    """
    if before is None or last_write_us is None:
        return True
    since_us = now_us - last_write_us
    if _urgent(before) != _urgent(after):
        return since_us >= FLIP_INTERVAL_US
    return since_us >= WRITE_INTERVAL_US and _differs(before, after)


def _urgent(status: FunctionNodeStatus) -> object:
    return (
        status.agent,
        tuple(
            (device.id, device.kind, device.memory_mib, device.slots, device.shares, device.mode, device.healthy)
            for device in status.devices
        ),
        tuple((resident.pod_uid, resident.state, resident.devices) for resident in status.residents),
        tuple((condition.type, condition.status) for condition in status.conditions),
    )


def _differs(before: FunctionNodeStatus, after: FunctionNodeStatus) -> bool:
    """Whether a reader could act otherwise on `after`. Both have the same devices in the same order."""
    moved = any(
        abs(old.used_memory_mib - new.used_memory_mib) > QUANTUM_MIB
        for old, new in zip(before.devices, after.devices, strict=True)
    )
    return moved or _still(before) != _still(after)


def _still(status: FunctionNodeStatus) -> FunctionNodeStatus:
    """Without what is measured."""
    devices = tuple(replace(device, used_memory_mib=0) for device in status.devices)
    return replace(status, devices=devices)
