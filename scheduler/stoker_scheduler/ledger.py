"""The cluster as placement sees it: FunctionNodes, bound pods and load streams made one view per node.

A view is made when it is asked for and kept until something of its node changes. Knows no connection and decides
nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind
from stoker.model.policy import Policy, default_policy
from stoker.model.quantity import parse_duration_us
from stoker.placement.options import most_memory_mib
from stoker.placement.view import DeviceView, NodeView, Pace, Resident, Wanted
from stoker.wire.cluster import PodReplica
from stoker.wire.function_node import FunctionNodeStatus, decode_status, devices_of
from stoker_scheduler.load_board import LoadBoard

log = structlog.get_logger(__name__)

START_PRIOR_US = 10_000_000
"""Start-up of a function that nobody has measured: as the agents assume it at most."""
PULL_PRIOR_US = 30_000_000
"""Pulling an image that is not on the node: ours, some GB over a few Gbit/s."""
SILENT = "its agent does not speak, or accepts nothing new"


class BoundPod(Protocol):
    """A replica's pod that has a node."""

    @property
    def uid(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def replica(self) -> PodReplica: ...


class ClusterLedger:
    """See the module. Everything on one event loop."""

    def __init__(self, loads: LoadBoard) -> None:
        self._loads = loads
        self._statuses: dict[str, FunctionNodeStatus] = {}
        self._pods: dict[str, dict[str, BoundPod]] = {}
        self._views: dict[str, NodeView] = {}
        self._objectives_us: dict[str, int] = {}
        self._policy = default_policy()
        self._cross_tenant: frozenset[str] = frozenset()
        self._namespaces: dict[str, int] = {}

    # What is told.

    def set_node(self, name: str, document: Mapping[str, Any] | None) -> None:
        """The newest FunctionNode of a node; None when it is gone. A broken one counts as not written yet."""
        self._views.pop(name, None)
        try:
            status = None if document is None else decode_status(dict(document))
        except InvalidObject as error:
            log.warning("function_node_unreadable", node=name, error=str(error))
            status = None
        if status is None:
            self._statuses.pop(name, None)
        else:
            self._statuses[name] = status

    def set_pod(self, before: BoundPod | None, after: BoundPod | None) -> None:
        """A bound pod of a replica, before and after."""
        for pod in (before, after):
            if pod is not None:
                self._views.pop(pod.node, None)
        if before is not None:
            of_node = self._pods.get(before.node, {})
            of_node.pop(before.uid, None)
            if not of_node:
                self._pods.pop(before.node, None)
        if after is not None:
            self._pods.setdefault(after.node, {})[after.uid] = after

    def set_objective(self, function: str, latency: str | None) -> None:
        """`slo.latency` of a function as written; None when it is gone. What cannot be read, of a newer Stoker perhaps,
        leaves the known one: the rest of the house goes on with a function's last good form as well.
        """
        namespace = function.partition("/")[0]
        known = function in self._objectives_us
        if latency is None:
            self._objectives_us.pop(function, None)
            if known:
                self._namespaces[namespace] -= 1
                if not self._namespaces[namespace]:
                    del self._namespaces[namespace]
                    self._see_tenants()
            return
        try:
            self._objectives_us[function] = parse_duration_us(latency)
        except InvalidObject:
            self._objectives_us.setdefault(function, 0)
        if not known:
            self._namespaces[namespace] = self._namespaces.get(namespace, 0) + 1
            self._see_tenants()

    def set_policy(self, policy: Policy) -> None:
        """The GpuPolicy that acts."""
        self._policy = policy
        self._see_tenants()

    def load_changed(self, node: str) -> None:
        """The agent of the node said something, or fell silent."""
        self._views.pop(node, None)

    # What is asked.

    def node(self, name: str) -> NodeView | None:
        """The view of a node now; None for one without a FunctionNode that its agent has written."""
        status = self._statuses.get(name)
        if status is None:
            return None
        view = self._views.get(name)
        if view is None:
            view = self._views[name] = self._view(name, status)
        return view

    def pace(self, wanted: Wanted, node: str) -> Pace:
        """How long the wanted replica takes there, as far as anybody has measured."""
        load = self._loads.load(node, wanted.function, wanted.variant)
        anywhere = self._loads.measured_start_ms(wanted.function, wanted.variant)
        if load is not None and load.start_samples:
            start_us, samples = round(load.start_ms * 1000), load.start_samples
        elif anywhere is not None:
            start_us, samples = round(anywhere[0] * 1000), anywhere[1]
        elif load is not None and load.start_ms:
            start_us, samples = round(load.start_ms * 1000), 0
        else:
            start_us, samples = START_PRIOR_US, 0
        return Pace(
            start_us=start_us,
            start_samples=samples,
            pull_us=PULL_PRIOR_US,
            wait_us=self._wait_us(wanted, node),
        )

    def objective_us(self, function: str) -> int:
        """slo.latency; 0 for a function that is not known (yet)."""
        return self._objectives_us.get(function, 0)

    def cross_tenant(self) -> frozenset[str]:
        """Namespaces that may share devices with one another."""
        return self._cross_tenant

    # Inside.

    def _see_tenants(self) -> None:
        self._cross_tenant = self._policy.cross_tenant(self._namespaces)

    def _view(self, name: str, status: FunctionNodeStatus) -> NodeView:
        pods = self._pods.get(name, {})
        devices = {device.id.partition("/")[2]: device for device in devices_of(name, status)}
        placed: dict[str, list[Resident]] = {}
        known: set[str] = set()
        for resident in status.residents:
            # A pod that the API server no longer has is gone whatever the ledger says; the agent may be behind.
            pod = pods.get(resident.pod_uid)
            if pod is None or not pod.replica.options:
                continue
            if resident.devices:
                known.add(resident.pod_uid)
            for identity in resident.devices:
                on = devices.get(identity)
                memory_mib = resident.memory_mib or _memory_mib(pod, () if on is None else (on,))
                placed.setdefault(identity, []).append(_resident(pod, memory_mib))
        for uid, pod in pods.items():
            if not pod.replica.options:  # on the cores, whether its agent has said so or not
                placed.setdefault("cpu", []).append(_resident(pod, pod.replica.memory_mib))
                known.add(uid)
        unplaced = [pod for uid, pod in pods.items() if uid not in known]
        return NodeView(
            name=name,
            away=_away(status) if self._loads.speaks(name) else SILENT,
            devices=tuple(
                DeviceView(device=device, residents=tuple(placed.get(identity, ())))
                for identity, device in devices.items()
            ),
            unplaced=tuple(_resident(pod, _memory_mib(pod, devices.values())) for pod in unplaced),
            warm=self._loads.warm(name),
            images=frozenset(image.reference for image in status.images),
            promised=frozenset(image.reference for image in status.images if image.promised),
        )

    def _wait_us(self, wanted: Wanted, node: str) -> int:
        """What a request would wait behind the others on devices that are shared; own devices have no others."""
        view = self.node(node)
        if view is None:
            return 0
        beside = {
            resident.function
            for device in view.devices
            if device.device.kind is DeviceKind.GPU and device.device.shares > 1
            for resident in device.residents
        }
        waits_ms = [
            load.wait_ms
            for function in beside
            if (load := self._loads.load(node, function, wanted.variant)) is not None
        ]
        return round(max(waits_ms, default=0.0) * 1000)


def _away(status: FunctionNodeStatus) -> str:
    """Why its agent itself says that nothing new should come: its kubelet is away, or it drains."""
    ready = next((condition for condition in status.conditions if condition.type == "Ready"), None)
    return "" if ready is None or ready.status != "False" else ready.message or ready.reason


def _memory_mib(pod: BoundPod, devices: Iterable[Device]) -> int:
    """What the replica takes of the one of these devices that it has, as its agent will say."""
    replica = pod.replica
    return most_memory_mib(replica.options, devices) if replica.options else replica.memory_mib


def _resident(pod: BoundPod, memory_mib: int) -> Resident:
    replica = pod.replica
    return Resident(
        pod_uid=pod.uid,
        function=replica.function,
        memory_mib=memory_mib,
        millicores=0 if replica.options else replica.millicores,
        sharing=replica.sharing,
        count=replica.count,
    )
