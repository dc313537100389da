"""The agent's replicas: those of stoker.slots with what their connections need. The table itself is shared."""

import asyncio
from typing import TYPE_CHECKING

from stoker.model.replica import ReplicaSpec
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


DeviceSlots = table.DeviceSlots[Replica]
FlowState = table.FlowState[Replica]
ReplicaTable = table.ReplicaTable[Replica]
