"""The agent's replicas: those of stoker.slots with what their connections need. The table itself is shared."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaSpec, ReplicaStatus
from stoker.names import flow_of, parse_replica_id
from stoker.policies.queueing.interface import QueuePolicy
from stoker.slots import table
from stoker_node.call import Call
from stoker_runtime.http_client import HttpPool


class Replica(table.Replica[Call]):
    """One replica and the way to it."""

    __slots__ = ("drained", "pool", "probe_task")

    if TYPE_CHECKING:
        flow: "FlowState"
        device: "DeviceSlots"

    def __init__(
        self, spec: ReplicaSpec, flow: "FlowState", device: "DeviceSlots", *, exclusive: bool, now_us: int
    ) -> None:
        super().__init__(spec, flow, device, exclusive=exclusive, now_us=now_us)
        self.pool: HttpPool | None = None
        self.probe_task: asyncio.Task[None] | None = None
        self.drained: list[asyncio.Future[None]] = []

    def tell_drained(self) -> None:
        """Nothing is in flight here any more: whoever waits for that goes on."""
        for waiter in self.drained:
            if not waiter.done():
                waiter.set_result(None)
        self.drained.clear()


def flow_key_of(spec: ReplicaSpec, functions: Mapping[str, Function]) -> str:
    """The flow of a replica: by its function, or by its id where that is not known (any more)."""
    function = functions.get(spec.function)
    if function is not None:
        return flow_of(spec.function, spec.variant, function.primary)
    primary = Variant.GPU if parse_replica_id(spec.id).beside_gpu else spec.variant
    return flow_of(spec.function, spec.variant, primary)


DeviceSlots = table.DeviceSlots[Replica]
FlowState = table.FlowState[Replica]
ReplicaTable = table.ReplicaTable[Replica]


def statuses(replicas: Iterable[Replica], policy: QueuePolicy, now_us: int) -> tuple[ReplicaStatus, ...]:
    """What the control plane is told of the replicas."""
    return tuple(replica.status(now_us, queued=policy.queued(replica.flow.key)) for replica in replicas)


def queued_by_function(flows: Iterable[FlowState], policy: QueuePolicy) -> dict[str, dict[Variant, int]]:
    """Requests queued, by function and variant; only those with any."""
    found: dict[str, dict[Variant, int]] = {}
    for flow in flows:
        if queued := policy.queued(flow.key):
            found.setdefault(flow.function, {})[flow.variant] = queued
    return found
