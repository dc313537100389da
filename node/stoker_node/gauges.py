"""Gauges and device figures of the agent, set from the latest state when something changed, never per request."""

from collections.abc import Callable, Collection, Iterable

from stoker import metrics as m
from stoker.model.device import Device
from stoker.model.replica import ReplicaState
from stoker.policies.queueing.interface import QueuePolicy
from stoker.slots.reservations import Reservations
from stoker_node.replica_table import FlowState, ReplicaTable

_STATES = (ReplicaState.STARTING, ReplicaState.WARM, ReplicaState.DRAINING)


class Gauges:
    """See the module. Series of what is gone are dropped."""

    def __init__(self, table: ReplicaTable, sink: m.MetricsSink, policy: Callable[[], QueuePolicy]) -> None:
        self._table = table
        self._sink = sink
        self._policy = policy

    def changed(self, flows: dict[str, FlowState]) -> None:
        for flow in flows.values():
            self._replicas(flow)
        for function in {flow.function for flow in flows.values()}:
            self._requests(function)
        for slots in self._table.devices.values():
            if slots.busy_us:
                device = slots.device
                self._sink.inc(m.DEVICE_BUSY_SECONDS, device.id, device.product, amount=slots.busy_us / 1e6)
                slots.busy_us = 0

    def devices(self, devices: Collection[Device]) -> None:
        for device in devices:
            self._sink.set(m.DEVICE_MEMORY, device.memory_mib * 2**20, device.id, device.product)
            self._sink.set(m.DEVICE_RESERVED, 0, device.id, device.product)
            self._sink.set(m.DEVICE_RESIDENTS, 0, device.id, device.product)
        self.health(devices)

    def health(self, devices: Iterable[Device]) -> None:
        for device in devices:
            self._sink.set(m.DEVICE_HEALTHY, int(device.healthy), device.id, device.product)

    def reserved(self, reservations: Reservations, device_ids: Iterable[str]) -> None:
        for device in map(reservations.device, device_ids):
            parts = reservations.on(device.id)
            promised_mib = sum(part.memory_mib for part in parts)
            self._sink.set(m.DEVICE_RESERVED, promised_mib * 2**20, device.id, device.product)
            residents = len({part.replica_id for part in parts})
            self._sink.set(m.DEVICE_RESIDENTS, residents, device.id, device.product)

    def _replicas(self, flow: FlowState) -> None:
        labels = (flow.namespace, flow.name, flow.variant.value)
        for state in _STATES:
            if flow.replicas:
                self._sink.set(m.REPLICAS, flow.count(state), *labels, state.value)
            else:
                self._sink.forget(m.REPLICAS, *labels, state.value)

    def _requests(self, function: str) -> None:
        namespace, _, name = function.partition("/")
        flows = self._table.of_function(function)
        if flows:
            queued = sum(self._policy().queued(flow.key) for flow in flows)
            self._sink.set(m.QUEUED, queued, namespace, name)
            self._sink.set(m.RUNNING, sum(flow.running for flow in flows), namespace, name)
        else:
            self._sink.forget(m.QUEUED, namespace, name)
            self._sink.forget(m.RUNNING, namespace, name)
