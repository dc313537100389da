"""`edf`: earliest (objective) deadline first.

Source: J. R. Jackson, "Scheduling a production line to minimize maximum tardiness" (1955); C. L. Liu and
J. W. Layland, "Scheduling algorithms for multiprogramming in a hard-real-time environment" (JACM 1973). On one
slot it meets every deadline of released jobs if any order does. Under overload it spends the slot on requests
that are about to be late anyway (the domino effect), which is what ServeLate around it prevents.
"""

from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import Guarantees
from stoker.policies.queueing.ordered_flows import OrderedFlows, Rank


class Edf(OrderedFlows):
    """By objective; equal objectives by arrival, then in the order of push."""

    name: ClassVar[str] = "edf"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=True, weight_respecting=False, order="objective deadline"
    )

    def rank(self, request: QueuedRequest) -> Rank:
        return (request.objective_us, request.arrival_us)
