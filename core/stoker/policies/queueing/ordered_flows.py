"""The structure under every policy that orders all requests by a fixed rank.

A slot may be used by some flows only, so the next request is the least head among the eligible flows
(stoker.policies.queueing.flow_ranking). Sorted lists make `work_ahead_us` one bisection and one sum in C per flow.
It knows no clock and no fairness. A rank must not change while its request is queued.
"""

from abc import abstractmethod
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import Entry, FlowQueues, Rank
from stoker.policies.queueing.flow_ranking import FlowRanking, as_set
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, SlotView

__all__ = ["OrderedFlows", "Rank"]


class OrderedFlows(FlowQueues):
    """Everything that QueuePolicy asks for but the name, the guarantees and the rank."""

    by_rank_alone: ClassVar[bool] = True
    """Whether pop() takes the least rank, whatever ran before: only then can the order be promised (commitments)."""

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._heads = FlowRanking()

    @abstractmethod
    def rank(self, request: QueuedRequest) -> Rank:
        """Where the request stands; the least rank runs first."""

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  a fixed rank needs no clock
        """Take the least-ranked request among those of eligible flows."""
        heads = self._heads.heads
        if not heads:
            return None
        # Mostly the first one is eligible: least() would find it too, and costs a tenth of a pop more.
        name = heads[0][2]
        if name in slot.eligible:
            return self._take_head(name)
        head = self._heads.least(as_set(slot.eligible))
        return None if head is None else self._take_head(head[2])

    def schedule(self, now_us: int) -> list[QueuedRequest]:  # noqa: ARG002  a fixed rank needs no clock
        return self._by_rank()

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        if head is None:
            self._heads.discard(flow)
        else:
            self._heads.put(flow, (head[0], head[1], flow))

    def _clear(self) -> None:
        super()._clear()
        self._heads.clear()
