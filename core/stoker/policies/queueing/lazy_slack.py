"""`lazy-slack`: what can wait is held back until it has to run.

Source: gShare (ASPLOS 2026), "Dual-Queue Lazy Scheduling", known here from notes on it only (research notes 4.2). Slack
= objective - now - 1.4 * predicted time (- start-up where not resident). A request with a small slack goes to the cache
queue: its function stays resident and it runs as soon as it may. Any other goes to the share queue, ordered by slack,
and runs only when its slack has come down to about 0, even while a slot is idle: until then other functions can have
the device's memory, and requests that come meanwhile find the slot free. So this policy is not work-conserving:
`next_ready_us` says when the next request becomes due.

Ours: a slack is small up to 20 ms (gShare's time slice; its own threshold is not in the notes), taken when the request
comes and as if nothing were resident; "about 0" is 1 ms, since timers come late by as much; of both queues the least
slack runs first; the requests of one function run by slack, so one that is held back holds back those behind it.
"""

from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import Entry, FlowQueues, Rank
from stoker.policies.queueing.flow_ranking import Head, SlotRanking
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.tuning import Constant, Constants

SMALL_US = 20_000
DUE_US = 1_000
MARGIN_PERCENT = 140


class LazySlack(FlowQueues):
    """By slack; equal slacks by arrival, then in the order of push."""

    name: ClassVar[str] = "lazy-slack"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=False, weight_respecting=False, order="slack, held back until about 0"
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {
            "smallUs": Constant(SMALL_US, 0, 3_600_000_000, "slack up to which a request is not held back"),
            "dueUs": Constant(DUE_US, 0, 3_600_000_000, "slack that is about 0"),
            "marginPercent": Constant(MARGIN_PERCENT, 100, 10_000, "what a request is taken to run, of its prediction"),
        }
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._due_us = self._tuned["dueUs"]
        self._margin_percent = self._tuned["marginPercent"]
        self._cache = SlotRanking()
        """Flows whose first request is in the cache queue."""
        self._share = SlotRanking()
        """Flows whose first request is held back until it is due."""

    def rank(self, request: QueuedRequest) -> Rank:
        return (self._lazy_start_us(request), request.arrival_us)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        cached, shared = self._cache.least(slot), self._share.least(slot)
        if shared is not None and shared[0][0] - now_us > self._due_us:
            shared = None
        head = min((head for head in (cached, shared) if head is not None), default=None)
        return None if head is None else self._take_head(head[2])

    def next_ready_us(self, now_us: int) -> int | None:
        """When a flow's first request becomes due next, on a slot where it is resident or on one where it is not."""
        not_due: Head = ((now_us + self._due_us + 1,), 0, "")
        heads = (self._share.resident.first_from(not_due), self._share.absent.first_from(not_due))
        return min((head[0][0] - self._due_us for head in heads if head is not None), default=None)

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        if head is None:
            self._cache.discard(flow)
            self._share.discard(flow)
            return
        rank, push, request = head
        mine, other = (self._cache, self._share) if self._is_small(request) else (self._share, self._cache)
        other.discard(flow)
        absent = (self._lazy_start_us(request) - request.start_us, request.arrival_us)
        mine.put(flow, (rank, push, flow), (absent, push, flow))

    def _clear(self) -> None:
        super()._clear()
        self._cache.clear()
        self._share.clear()

    def _lazy_start_us(self, request: QueuedRequest) -> int:
        """When its slack is 0 where it is resident."""
        return request.objective_us - request.predicted_exec_us * self._margin_percent // 100

    def _is_small(self, request: QueuedRequest) -> bool:
        return self._lazy_start_us(request) - request.start_us - request.arrival_us <= self._tuned["smallUs"]
