"""`fcfs`: first come, first served, over all flows.

Source: the discipline of A. K. Erlang's waiting-time formula, "Solution of some problems in the theory of
probabilities of significance in automatic telephone exchanges" (1917). The yardstick for every other policy:
it looks at no objective and no execution time.
"""

from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import Guarantees
from stoker.policies.queueing.ordered_flows import OrderedFlows, Rank


class Fcfs(OrderedFlows):
    """By arrival; equal arrivals in the order of push. A request that is pushed again keeps its place."""

    name: ClassVar[str] = "fcfs"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True, work_conserving=True, weight_respecting=False, order="arrival"
    )

    def rank(self, request: QueuedRequest) -> Rank:
        return (request.arrival_us,)
