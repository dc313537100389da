"""`rrc`: functions that are close to what their objective demands run before those that are far from it.

Source: Torpor (M. Yu et al., USENIX ATC 2025), section 4.1, research notes 4.1. A function's required request count is
how many requests must be on time in a row until the share p of all its requests is: RRC = (p*n - m) / (1 - p), of n
requests so far m were on time. A request joins the first of two groups when its function's RRC is at most a threshold
that adapts to the load, else the second, which runs when the first is empty.

Ours, where the notes say nothing: the group is decided when the request comes, and inside a group it goes by arrival;
a request counts in n when it is known whether it was on time. The threshold starts at 0, grows by 1 with each request
of the first group that is on time and is halved by each that is not: it falls while the first group alone is more
than the slots can serve in time, and rises while there is room for functions that have missed more.
"""

from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_queues import Rank
from stoker.policies.queueing.flow_ranking import as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.ordered_flows import OrderedFlows
from stoker.policies.queueing.tuning import Constant, Constants

_WHOLE = 100_000
"""All requests, in the unit of a percentile that has three decimals."""
_FIRST, _SECOND = 0, 1
_RISE, _KEEP_PERCENT = 1, 50
"""How the threshold follows the load."""


class Rrc(OrderedFlows):
    """By group, then by arrival, then in the order of push."""

    name: ClassVar[str] = "rrc"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=True, weight_respecting=False, order="group, then arrival"
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {
            "rise": Constant(_RISE, 0, 1_000_000, "of the threshold, with each request of the first group on time"),
            "keepPercent": Constant(_KEEP_PERCENT, 0, 100, "of the threshold, with each that is not"),
        }
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._counts: FlowMemory[tuple[int, int]] = FlowMemory()
        """By function: n and m."""
        self._running: dict[str, tuple[int | None, int]] = {}
        """By request that runs: when it was dispatched, and its group."""
        self._threshold = 0

    def required(self, request: QueuedRequest) -> int:
        """RRC of the request's function, rounded up. Up to 0 it has what its objective demands."""
        n, m = self._counts.get(request.flow, (0, 0))
        p = min(round(request.percentile * 1000), _WHOLE - 1)
        return -((_WHOLE * m - p * n) // (_WHOLE - p))

    def rank(self, request: QueuedRequest) -> Rank:
        return (self._group(request), request.arrival_us)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        head = self._heads.least(as_set(slot.eligible))
        if head is None:
            return None
        request = self._take_head(head[2])
        self._running[request.id] = (now_us, head[0][0])
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        """It ended `actual_us` after its pop. What took no time did not run: it comes again, or had expired."""
        began_us, group = self._running.pop(request.id, (None, _SECOND))
        if began_us is None:
            return
        on_time = began_us + actual_us <= request.objective_us
        if actual_us > 0 or not on_time:
            self._learn(request, group, on_time=on_time)

    def missed(self, request: QueuedRequest) -> None:
        self._learn(request, self._group(request), on_time=False)

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        expired = super().drop_expired(now_us)
        for request in expired:
            self.missed(request)
        return expired

    def _group(self, request: QueuedRequest) -> int:
        return _FIRST if self.required(request) <= self._threshold else _SECOND

    def _learn(self, request: QueuedRequest, group: int, *, on_time: bool) -> None:
        n, m = self._counts.get(request.flow, (0, 0))
        self._counts.put(request.flow, (n + 1, m + on_time))
        if group == _FIRST:
            rise, keep_percent = self._tuned["rise"], self._tuned["keepPercent"]
            self._threshold = self._threshold + rise if on_time else self._threshold * keep_percent // 100
