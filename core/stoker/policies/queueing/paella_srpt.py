"""`paella-srpt`: shortest remaining time first, until a function has been passed over too often.

Source: Paella (K. K. W. Ng et al., SOSP 2023) and its public code, with the threshold of Iluvatar's re-implementation,
research notes 7. Every function has a deficit: each dispatch gives all known functions 1/N and takes 1 from the one
that is served, so the deficits sum to 0. While no deficit of a function that waits reaches the threshold of 25, the
shortest predicted time runs; else the function with the largest deficit. Functions without requests gain deficit too,
as in both sources: one that comes back after long is served ahead of shorter ones for a while.

Runs are not preempted here, so what remains of a queued request is all of it, with its start-up where it is not
resident on the slot's device (ours). Requests of one function run by arrival.
"""

from collections.abc import Collection
from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_queues import Entry, FlowQueues
from stoker.policies.queueing.flow_ranking import FlowRanking, SlotRanking, as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.tuning import Constant, Constants

UNIT = 1_000_000
"""One dispatch; deficits are whole parts of it."""
THRESHOLD = 25 * UNIT


class PaellaSrpt(FlowQueues):
    """See the module. Starvation-free among any fixed set of functions."""

    name: ClassVar[str] = "paella-srpt"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True, work_conserving=True, weight_respecting=False, order="predicted time, bounded deficit"
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {"threshold": Constant(THRESHOLD // UNIT, 1, 1_000_000, "dispatches of deficit from which a function is next")}
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._threshold = self._tuned["threshold"] * UNIT
        self._shortest = SlotRanking()
        self._neglected = FlowRanking()
        """By debit, so that the largest deficit is first."""
        self._debits: FlowMemory[int] = FlowMemory()
        """By function that is known: what its deficit is short of `_fair`."""
        self._fair = 0
        """What each function that has been known from the start would have been served: the sum of all 1/N."""

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  lengths are all that counts
        head = self._neglected.least(as_set(slot.eligible))
        if head is None:
            return None
        if self._fair - head[0] < self._threshold:
            head = self._shortest.least(slot)
            assert head is not None, "some eligible flow has a request"
        flow = head[2]
        self._debits.put(flow, self._debits.get(flow, self._fair) + UNIT)
        self._fair += UNIT // len(self._debits)
        return self._take_head(flow)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """Its function's queue and those of functions that are not longer, as if no deficit grew large."""
        heads = ((flow, self._flows[flow].entries[0][2]) for flow in as_set(flows) if flow in self._flows)
        exec_us = request.predicted_exec_us
        return sum(
            self._work_us(flow) for flow, head in heads if flow == request.flow or head.predicted_exec_us <= exec_us
        )

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        if head is None:
            self._shortest.discard(flow)
            self._neglected.discard(flow)
            return
        debit = self._debits.get(flow, self._fair)
        self._debits.put(flow, debit)
        _, push, request = head
        exec_us = request.predicted_exec_us
        self._shortest.put(flow, (exec_us, push, flow), (exec_us + request.start_us, push, flow))
        self._neglected.put(flow, (debit, push, flow))

    def _clear(self) -> None:
        super()._clear()
        self._shortest.clear()
        self._neglected.clear()
