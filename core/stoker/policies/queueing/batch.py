"""`batch`: all that waits for one function runs together, the function whose oldest request is oldest first.

Source: the baseline of MQFQ-Sticky (arXiv 2507.08954), Iluvatar FaaS `oldest_gpu.rs` (research notes 3.1): what is
queued for a function when its oldest request is the oldest of all runs as one batch on one device; what comes
meanwhile is a later batch. One start-up is then paid for many requests, and others wait for the whole batch.

A request is popped at a time, so a batch is held by the slot that runs it: when that run ends, the device goes on
with the same batch. A batch that cannot go on there (its replica is gone or taken) is given up: its requests wait as
all others do, and being older than most they are soon a batch again (ours; the source never meets this).
"""

from collections.abc import Collection
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import Rank
from stoker.policies.queueing.flow_ranking import as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.ordered_flows import OrderedFlows

_Batch = tuple[str, int]
"""Its flow, and the instant at which it was made: whoever had arrived by then is in it."""


class Batch(OrderedFlows):
    """See the module. Inside a batch by arrival."""

    name: ClassVar[str] = "batch"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True, work_conserving=True, weight_respecting=False, order="arrival of the function's oldest"
    )

    by_rank_alone: ClassVar[bool] = False

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._running: dict[str, tuple[str, _Batch]] = {}
        """By request that runs: its device and its batch."""
        self._paused: dict[str, list[_Batch]] = {}
        """By device: batches whose slot has just come free."""

    def rank(self, request: QueuedRequest) -> Rank:
        return (request.arrival_us,)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        eligible = as_set(slot.eligible)
        paused = self._paused.get(slot.device_id)
        while paused:
            batch = paused.pop()
            if batch[0] in eligible and self._goes_on(batch):
                break
        else:
            head = self._heads.least(eligible)
            if head is None:
                return None
            batch = (head[2], now_us)
        request = self._take_head(batch[0])
        self._running[request.id] = (slot.device_id, batch)
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:  # noqa: ARG002  time is not what a batch is of
        device_id, batch = self._running.pop(request.id, ("", None))
        if batch is not None and self._goes_on(batch):
            self._paused.setdefault(device_id, []).append(batch)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """All of the functions whose oldest request is older than the newcomer's function's: it joins that batch.

        What is left of a batch that runs counts only if its function is one of these.
        """
        mine = self._flows.get(request.flow)
        oldest = mine.entries[0][:2] if mine is not None else (self.rank(request), self._pushes + 1)
        return sum(
            self._work_us(flow)
            for flow in as_set(flows)
            if flow in self._flows and self._flows[flow].entries[0][:2] <= oldest
        )

    def schedule(self, now_us: int) -> list[QueuedRequest]:  # noqa: ARG002  batches are made of what is here
        """Batches that run are ended first, the oldest first; then as the heads' ages say."""
        begun = [batch for _, batch in self._running.values()]
        begun += [batch for batches in self._paused.values() for batch in batches]
        order: dict[str, QueuedRequest] = {}
        for flow, made_us in sorted(begun, key=lambda batch: batch[1]):
            entries = self._flows[flow].entries if flow in self._flows else []
            order.update({entry[2].id: entry[2] for entry in entries if entry[2].arrival_us <= made_us})
        rest = [[entry for entry in flow.entries if entry[2].id not in order] for flow in self._flows.values()]
        for entries in sorted(entries for entries in rest if entries):
            order.update({entry[2].id: entry[2] for entry in entries})
        return list(order.values())

    def _goes_on(self, batch: _Batch) -> bool:
        flow = self._flows.get(batch[0])
        return flow is not None and flow.entries[0][2].arrival_us <= batch[1]

    def _clear(self) -> None:
        super()._clear()
        self._paused.clear()
