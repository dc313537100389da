"""`sjf`: shortest job first, by predicted execution time.

Source: R. W. Conway, W. L. Maxwell and L. W. Miller, "Theory of scheduling" (1967): no other order of jobs that are
not preempted and are all there has a lower mean wait. As in Iluvatar FaaS (`sjf_gpu.rs`, research notes 3.1) a job
that is not resident counts with its start-up; there it is looked up when the job comes, here (ours) it is that of the
slot's device. Long jobs starve while short ones keep coming.
"""

from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import Entry, FlowQueues, Rank
from stoker.policies.queueing.flow_ranking import SlotRanking
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView


class Sjf(FlowQueues):
    """By predicted time, with start-up where it is not resident; equal ones by arrival, then in the order of push."""

    name: ClassVar[str] = "sjf"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=True, weight_respecting=False, order="predicted time on the slot"
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._jobs = SlotRanking()

    def rank(self, request: QueuedRequest) -> Rank:
        return (request.predicted_exec_us, request.arrival_us)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  a fixed rank needs no clock
        head = self._jobs.least(slot)
        return None if head is None else self._take_head(head[2])

    def schedule(self, now_us: int) -> list[QueuedRequest]:  # noqa: ARG002  a fixed rank needs no clock
        return self._by_rank()

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        if head is None:
            self._jobs.discard(flow)
            return
        rank, push, request = head
        absent = (request.predicted_exec_us + request.start_us, request.arrival_us)
        self._jobs.put(flow, (rank, push, flow), (absent, push, flow))

    def _clear(self) -> None:
        super()._clear()
        self._jobs.clear()
