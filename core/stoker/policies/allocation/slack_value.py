"""`slack-value` (ours): idle replicas give way by how much slack their next requests keep if they must start again
(stoker.policies.eviction.slack_value explains the value), and a free device goes to whoever runs out of slack first.

Among functions that wait with no replica the order is the last instant at which a start could begin for the first
request that waits to be on time: since_us + objective - execution - start, or its arrival where that has passed
already. It is an order by deadline over starts, so it starves nobody: whoever comes later than that instant is behind.
"""

from typing import ClassVar

from stoker.policies.allocation.by_value import ByValue
from stoker.policies.allocation.interface import Wanting
from stoker.policies.eviction import slack_value
from stoker.policies.eviction.interface import EvictionPolicy


class SlackValue(ByValue):
    """Keep what saves the most slack, start what has the least left."""

    name: ClassVar[str] = "slack-value"
    fifo: ClassVar[bool] = False
    _order: ClassVar[EvictionPolicy] = slack_value.SlackValue()

    def urgency(self, wanting: Wanting) -> float:
        resident = wanting.resident
        return wanting.since_us + max(0, resident.latency_us - resident.exec_us - resident.reload_us)
