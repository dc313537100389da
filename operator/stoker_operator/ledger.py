"""Nodes as the operator sees them: their devices from FunctionNodes, and whether somebody there can be believed.

Knows no connection and decides nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from stoker.errors import InvalidObject
from stoker.model.device import Device
from stoker.wire.function_node import FunctionNodeStatus, decode_status, devices_of
from stoker_operator.agent_board import AgentBoard
from stoker_operator.kinds import Node
from stoker_runtime.kube.lease import Lease

log = structlog.get_logger(__name__)

SILENT_US = 10_000_000
"""An agent that says nothing for so long gets no new replicas: nobody there would reserve for them."""
LOST_US = 60_000_000
"""A node whose kubelet and whose agent are both silent for so long is lost: its replicas are replaced."""
UNKNOWN_US = 5_000_000
"""A node that no watch has shown for so long is gone. A pod may show before the new node that it is on does."""


class _Seen(Struct, frozen=True):
    """A Lease as it was seen."""

    renew_time: str | None
    until_us: int
    """So long it tells that its holder lives; 0 while no renewal was seen."""


class Nodes:
    """Times are microseconds on the operator's monotonic clock."""

    def __init__(self, agents: AgentBoard, lost_us: int = LOST_US) -> None:
        self._agents = agents
        self._lost_us = lost_us
        self.changes = 0
        """Counts what may make a node good for a pod that it was not good for before."""
        self._statuses: dict[str, FunctionNodeStatus] = {}
        self._devices: dict[str, tuple[Device, ...]] = {}
        self._nodes: dict[str, Node] = {}
        self._leases: dict[str, _Seen] = {}
        self._unready_us: dict[str, int] = {}
        self._unknown_us: dict[str, int] = {}

    def set_status(self, name: str, document: Mapping[str, Any] | None) -> None:
        """The newest FunctionNode; None when it is gone. A broken one counts as not written yet."""
        try:
            status = None if document is None else decode_status(dict(document))
        except InvalidObject as error:
            log.warning("function_node_unreadable", node=name, error=str(error))
            status = None
        before = self._statuses.get(name)
        if status is None:
            self._statuses.pop(name, None)
            self._devices.pop(name, None)
        else:
            if before is None or _placeable(before) != _placeable(status):
                self.changes += 1
            self._statuses[name] = status
            self._devices[name] = devices_of(name, status)

    def set_node(self, name: str, node: Node | None, now_us: int) -> None:
        """The newest Node object; None when it is gone."""
        if node is None:
            self._nodes.pop(name, None)
            self._unready_us.pop(name, None)
            return
        self._nodes[name] = node
        self._unknown_us.pop(name, None)
        if node.ready:
            self._unready_us.pop(name, None)
        else:
            self._unready_us.setdefault(name, now_us)

    def set_lease(self, name: str, lease: Lease | None, now_us: int) -> None:
        """The newest Lease of the node's agent; None when it is gone. Only a renewal that was seen counts, from when it
        was seen: clocks differ, and one that was found may be of last year.
        """
        if lease is None:
            self._leases.pop(name, None)
            return
        before = self._leases.get(name)
        if before is not None and before.renew_time == lease.spec.renew_time:
            return
        until_us = 0 if before is None else now_us + (lease.spec.lease_duration_seconds or 0) * 1_000_000
        self._leases[name] = _Seen(lease.spec.renew_time, until_us)

    def node(self, name: str) -> Node | None:
        """The Node object."""
        return self._nodes.get(name)

    def labels(self, name: str) -> Mapping[str, str]:
        """Of the Node object; empty for one that is not known."""
        node = self._nodes.get(name)
        return {} if node is None else node.metadata.labels or {}

    def images(self, name: str) -> frozenset[str]:
        """Images of functions that are on the node."""
        status = self._statuses.get(name)
        return frozenset() if status is None else frozenset(image.reference for image in status.images)

    def has_image(self, name: str, image: str) -> bool | None:
        """Whether an image is on the node; None where nobody has said."""
        return image in self.images(name) if name in self._statuses else None

    def is_heard(self, name: str) -> bool:
        """Whether the agent of the node speaks."""
        return self._agents.is_speaking(name)

    def is_any_sick(self, name: str, devices: Collection[str]) -> bool:
        """Whether one of the node's devices (by the agent's ids) is not healthy."""
        status = self._statuses.get(name)
        return status is not None and any(d.id in devices and not d.healthy for d in status.devices)

    def known(self) -> Iterable[str]:
        """Nodes whose agent has written."""
        return self._statuses.keys()

    def devices(self, now_us: int) -> tuple[Device, ...]:
        """All devices. Those of a node on which nothing can be started now are not healthy, and say why, but have no
        fault: that is what an agent found.
        """
        found: list[Device] = []
        for name, devices in self._devices.items():
            trouble = self._trouble(name, now_us)
            found.extend(replace(d, healthy=False, reason=trouble, fault=None) if trouble else d for d in devices)
        return tuple(found)

    def is_lost(self, name: str, now_us: int) -> bool:
        """Whether the node is to be given up: gone, or both its kubelet and its agent have been silent for long."""
        if name not in self._nodes:
            return now_us - self._unknown_us.setdefault(name, now_us) >= UNKNOWN_US
        unready_us = self._unready_us.get(name)
        if unready_us is None or now_us - unready_us < self._lost_us:
            return False
        return not self._agents.is_speaking(name) and not self._is_renewed(name, now_us)

    def _is_renewed(self, name: str, now_us: int) -> bool:
        """Whether the agent of the node lives by its Lease: so it does between two of them, during an upgrade."""
        return name in self._leases and now_us < self._leases[name].until_us

    def _trouble(self, name: str, now_us: int) -> str:
        if name not in self._nodes:
            return "its node is gone"
        if self._agents.is_speaking(name):
            return ""
        if not self._agents.knows(name):
            return "the agent of its node has not spoken yet"
        if self._is_renewed(name, now_us):
            return ""
        silent_us = self._agents.silent_us(name, now_us)
        return f"the agent of its node has been silent for {silent_us // 1_000_000} s" if silent_us >= SILENT_US else ""


def _placeable(status: FunctionNodeStatus) -> object:
    """What placement looks at; the amounts of memory in use, which move all the time, are not part of it."""
    devices = [replace(device, used_memory_mib=0) for device in status.devices]
    return devices, {(resident.pod_uid, resident.devices) for resident in status.residents}, status.images
