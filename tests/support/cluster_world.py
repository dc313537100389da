"""planning_world on Kubernetes: a scheduler picks the node, a kubelet that means ill picks the device, an agent judges.

Nothing here trusts the plan: it checks that the plan promises no device twice over, and the agent finds pods unfit as
the real one does. The kubelet knows only numbers of shares; it gives the device that would suit a pod least.
"""

from typing import Any

from msgspec.structs import replace
from planning_world import S, World

from stoker.control.capacity import Need
from stoker.control.planning import Action, Observed, Start
from stoker.model.device import Device, DeviceKind, DeviceMode, Reservation
from stoker.model.function import Function, GpuOption, Sharing
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.reasons import Reason


def gpu(
    node: str,
    name: str,
    memory_mib: int = 40_960,
    *,
    mode: DeviceMode = DeviceMode.WHOLE,
    shares: int = 1,
    product: str = "A100-40GB",
    healthy: bool = True,
) -> Device:
    return Device(
        id=f"{node}/{name}",
        kind=DeviceKind.GPU,
        product=product,
        memory_mib=memory_mib,
        node=node,
        mode=mode,
        shares=shares,
        healthy=healthy,
        reason="" if healthy else "Xid 79",
    )


def in_namespace(function: Function, namespace: str) -> Function:
    return replace(function, namespace=namespace)


class ClusterWorld(World):
    """Pods instead of processes. `binds`: whether the scheduler works; `kind`: whether the kubelet means well."""

    def __init__(self, functions: list[Function], devices: list[Device], **params: Any) -> None:
        super().__init__(functions, devices, **params)
        self.start_us = S
        self.cross_tenant: frozenset[str] = frozenset()
        self.max_gpus: dict[str, int] = {}
        self.wall_us = 0
        self.binds = True
        self.kind = False
        self.asked: dict[str, Start] = {}
        self.unfit: list[str] = []
        """Every landing on a device that the pod may not use."""

    def observed(self) -> Observed:
        return replace(
            super().observed(),
            cross_tenant=self.cross_tenant,
            max_gpus=self.max_gpus,
            wall_us=self.wall_us + self.now_us if self.wall_us else 0,
        )

    def _act(self, action: Action) -> None:
        if not isinstance(action, Start):
            super()._act(action)
            return
        identity = action.spec.id
        assert identity not in self.replicas, "an id that is in use was used again"
        assert len({self.device(r.device_id).node for r in action.reservations}) == 1, "devices of two nodes"
        for part in action.reservations:
            device = self.device(part.device_id)
            assert device.node not in action.avoid_nodes
            beside = [r for parts in self.reservations.values() for r in parts if r.device_id == device.id]
            assert self.obstacle(device, part, beside, identity) == "", "the plan promised more than there is"
        self.asked[identity] = action
        self.reservations[identity] = action.reservations
        self.replicas[identity] = ReplicaStatus(
            spec=replace(action.spec, devices=()),
            state=ReplicaState.STARTING,
            started_us=self.now_us,
            waiting=Reason.WAITING_FOR_NODE,
        )

    def _gone(self, identity: str) -> None:
        super()._gone(identity)
        self.asked.pop(identity, None)

    def device(self, identity: str) -> Device:
        return next(device for device in self.devices if device.id == identity)

    def holders(self, device: Device) -> list[str]:
        """Pods that the kubelet gave the device to."""
        return [r.spec.id for r in self.replicas.values() if device.id in r.spec.devices]

    def obstacle(self, device: Device, part: Reservation, beside: list[Reservation], identity: str) -> str:
        """Why a pod may not use the device beside the others; empty where it may."""
        if not device.healthy:
            return f"{device.label} is unhealthy"
        if device.kind is DeviceKind.CPU:
            return "" if sum(r.millicores for r in [*beside, part]) <= device.millicores else "too many cores"
        if part.sharing is Sharing.EXCLUSIVE and device.mode is not DeviceMode.WHOLE:
            return "it wants the device alone"
        if len(beside) >= (device.shares if device.mode is not DeviceMode.WHOLE else 1):
            return "no share is free"
        if device.mode is DeviceMode.MPS and part.memory_mib > device.memory_mib // device.shares:
            return "more than a share of the memory"
        if sum(r.memory_mib for r in [*beside, part]) > device.memory_mib:
            return "more memory than the device has"
        tenants = {r.replica_id.partition("/")[0] for r in beside} | {identity.partition("/")[0]}
        if len(tenants) > 1 and (device.mode is DeviceMode.MPS or not tenants <= self.cross_tenant):
            return "two tenants"
        return ""

    def settle(self) -> None:
        for status in list(self.replicas.values()):
            if status.state is ReplicaState.STARTING and not status.spec.devices and self.binds:
                self._bind(status)
        blocked = {i: r for i, r in self.replicas.items() if r.state is ReplicaState.STARTING and self._blocked(r)}
        for identity in blocked:
            del self.replicas[identity]
        super().settle()
        self.replicas.update(blocked)

    @staticmethod
    def _blocked(status: ReplicaStatus) -> bool:
        return bool(status.unfit) or not status.spec.devices

    def _bind(self, status: ReplicaStatus) -> None:
        start = self.asked[status.spec.id]
        nodes = sorted({device.node for device in self.devices} - set(start.avoid_nodes))
        planned = self.device(start.reservations[0].device_id).node
        # Another node than planned where one passes: the scheduler owes the plan nothing.
        for node in sorted(nodes, key=lambda name: (name == planned) is not self.kind):
            chosen = self._choose(node, start)
            if chosen:
                self._land(status, start, chosen)
                return
        self._change(status.spec.id, waiting=Reason.WAITING_FOR_GPU)

    def _choose(self, node: str, start: Start) -> list[Device]:
        part, count = start.reservations[0], len(start.reservations)
        need = self._need(start)
        kind = DeviceKind.CPU if part.millicores else DeviceKind.GPU
        open_ = []
        for device in self.devices:
            if device.node == node and device.kind is kind:
                full = kind is DeviceKind.GPU and len(self.holders(device)) >= device.shares
                if not full:
                    open_.append(device)
        good = [d for d in open_ if need.could_use(d) and self._verdict(d, start) == ""]
        shared = any(d.mode is not DeviceMode.WHOLE for d in open_)
        if len(good) < count or (shared and len(good) < len(open_)):
            return []  # the extender's filter
        worst_first = sorted(open_, key=lambda d: (d in good, d.memory_mib, d.id), reverse=self.kind)
        return worst_first[:count]

    def _need(self, start: Start) -> Need:
        part = start.reservations[0]
        products: tuple[str, ...] = ()
        for option in start.function.spec.gpu:
            if option.memory_mib == part.memory_mib:
                products = option.products
        kind = DeviceKind.CPU if part.millicores else DeviceKind.GPU
        return Need(
            kind=kind,
            memory_mib=part.memory_mib,
            millicores=part.millicores,
            sharing=part.sharing,
            products=products,
            count=len(start.reservations),
        )

    def _verdict(self, device: Device, start: Start) -> str:
        part = start.reservations[0]
        held = self.holders(device)
        beside = [r for i in held if i != start.spec.id for r in self.reservations[i] if r.device_id == device.id]
        option = GpuOption(memory_mib=part.memory_mib, products=self._need(start).products, sharing=part.sharing)
        if device.kind is DeviceKind.GPU and not device.satisfies(option):
            return f"{device.label} does not suit it"
        return self.obstacle(device, part, beside, start.spec.id)

    def _land(self, status: ReplicaStatus, start: Start, chosen: list[Device]) -> None:
        unfit = next((text for device in chosen if (text := self._verdict(device, start))), "")
        identity = status.spec.id
        if unfit:
            self.unfit.append(f"{identity} on {chosen[0].id}: {unfit}")
        part = start.reservations[0]
        # What the agent reports replaces the provisional reservation; an unfit pod has reserved nothing.
        self.reservations[identity] = () if unfit else tuple(replace(part, device_id=d.id) for d in chosen)
        self._change(
            identity,
            spec=replace(status.spec, devices=tuple(device.id for device in chosen)),
            started_us=self.now_us,
            unfit=unfit,
            waiting=Reason.UNFIT_DEVICE if unfit else Reason.INITIALISING,
        )

    def blockers(self) -> list[str]:
        return sorted(r.spec.id for r in self.replicas.values() if r.unfit and r.state is not ReplicaState.DRAINING)
