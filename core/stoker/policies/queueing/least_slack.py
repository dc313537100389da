"""`least-slack`: the request that can wait least runs first.

Source: A. K. Mok, "Fundamental design problems of distributed systems for the hard-real-time environment"
(MIT 1983), least laxity first. Slack = objective - now - predicted execution time. Requests are not preempted,
so `now` is the same for all that wait and the order is that of the latest start, which never changes while a
request is queued.
"""

from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import Guarantees
from stoker.policies.queueing.ordered_flows import OrderedFlows, Rank


class LeastSlack(OrderedFlows):
    """By latest start; equal ones by arrival, then in the order of push."""

    name: ClassVar[str] = "least-slack"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=True, weight_respecting=False, order="latest start"
    )

    def rank(self, request: QueuedRequest) -> Rank:
        return (request.latest_start_us, request.arrival_us)
