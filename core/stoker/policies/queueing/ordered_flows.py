"""The structure under every policy that orders requests by a fixed rank: one sorted list per flow, and the heads.

A slot may be used by some flows only, so the next request is the least head among the eligible flows. The heads
of all flows are kept in one sorted list: with many eligible flows a short walk along it meets one of them; with
few the eligible flows' heads are compared directly. Sorted lists hold no garbage: a cancelled request is found by
bisection and taken out (O(log n) comparisons; the move of the pointers behind it is a memmove). They also make
`work_ahead_us` one bisection and one sum in C per flow.

It knows no clock and no fairness. A rank must not change while its request is queued.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from heapq import merge
from itertools import islice

from stoker.errors import StokerError
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.due_heap import DueHeap
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, SlotView, Weights

Rank = tuple[int | str, ...]
"""What a policy sorts by; equal ranks go in the order of their push."""
_Entry = tuple[Rank, int, QueuedRequest]
_Head = tuple[Rank, int, str]

_WALK = 3
"""Heads walked per eligible flow before the eligible flows are looked up instead: a step is that much cheaper."""


class _Flow:
    """One flow's requests in order, and their predicted execution times beside them. Never empty while kept."""

    __slots__ = ("entries", "works_us")

    def __init__(self, entry: _Entry) -> None:
        self.entries = [entry]
        self.works_us = [entry[2].predicted_exec_us]


class OrderedFlows(ABC):
    """Everything that QueuePolicy asks for but the name, the guarantees and the rank."""

    def __init__(self, params: QueueParams = DEFAULTS) -> None:  # noqa: ARG002  a fixed rank needs none
        self._flows: dict[str, _Flow] = {}
        self._heads: list[_Head] = []
        self._head_of: dict[str, _Head] = {}
        self._entries: dict[str, _Entry] = {}
        self._expiries = DueHeap()
        self._pushes = 0

    @abstractmethod
    def rank(self, request: QueuedRequest) -> Rank:
        """Where the request stands; the least rank runs first."""

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._entries

    def push(self, request: QueuedRequest) -> None:
        """Queue a request; StokerError when its id is queued already (it would leave twice)."""
        if request.id in self._entries:
            raise StokerError(f"request {request.id} is queued already; give each request of an agent its own id")
        self._pushes += 1
        entry = (self.rank(request), self._pushes, request)
        flow = self._flows.get(request.flow)
        if flow is None:
            self._flows[request.flow] = _Flow(entry)
            self._set_head(request.flow, entry)
        else:
            at = bisect_left(flow.entries, entry)
            flow.entries.insert(at, entry)
            flow.works_us.insert(at, request.predicted_exec_us)
            if at == 0:
                self._drop_head(request.flow)
                self._set_head(request.flow, entry)
        self._entries[request.id] = entry
        self._expiries.add(request.timeout_us, request.id)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  a fixed rank needs no clock
        """Take the least-ranked request among those of eligible flows."""
        head = self._least_head(_as_set(slot.eligible))
        if head is None:
            return None
        request = self._flows[head[2]].entries[0][2]
        self._remove(request.id)
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:  # noqa: B027  nothing to do is the default
        """Nothing is charged: a rank does not depend on service."""

    def cancel(self, request_id: str) -> QueuedRequest | None:
        return self._remove(request_id) if request_id in self._entries else None

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        return [self._remove(request_id) for request_id in self._expiries.pop_due(now_us)]

    def next_expiry_us(self) -> int | None:
        return self._expiries.next_due_us()

    def set_weights(self, weights: Weights) -> None:  # noqa: B027  nothing to do is the default
        """Ignored: a rank knows no shares."""

    def export(self) -> list[QueuedRequest]:
        by_arrival = sorted(self._entries.values(), key=lambda entry: (entry[2].arrival_us, entry[1]))
        self._flows.clear()
        self._heads.clear()
        self._head_of.clear()
        self._entries.clear()
        self._expiries.clear()
        return [request for _, _, request in by_arrival]

    def queued(self, flow: str | None = None) -> int:
        if flow is None:
            return len(self._entries)
        queue = self._flows.get(flow)
        return len(queue.entries) if queue else 0

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        bound: _Entry = (self.rank(request), self._pushes + 1, request)
        total_us = 0
        for name in _as_set(flows):
            flow = self._flows.get(name)
            if flow is not None and flow.entries[0] < bound:
                total_us += sum(flow.works_us[: bisect_left(flow.entries, bound)])
        return total_us

    def schedule(self, now_us: int) -> list[QueuedRequest]:  # noqa: ARG002  a fixed rank needs no clock
        return [request for _, _, request in merge(*(flow.entries for flow in self._flows.values()))]

    def _least_head(self, eligible: AbstractSet[str]) -> _Head | None:
        steps = _WALK * len(eligible)
        for head in islice(self._heads, steps):
            if head[2] in eligible:
                return head
        if steps >= len(self._heads):
            return None
        return min((self._head_of[flow] for flow in eligible if flow in self._head_of), default=None)

    def _remove(self, request_id: str) -> QueuedRequest:
        entry = self._entries.pop(request_id)
        request = entry[2]
        self._expiries.discard(request_id)
        flow = self._flows[request.flow]
        at = bisect_left(flow.entries, entry)
        del flow.entries[at]
        del flow.works_us[at]
        if at == 0:
            self._drop_head(request.flow)
            if flow.entries:
                self._set_head(request.flow, flow.entries[0])
            else:
                del self._flows[request.flow]
        return request

    def _set_head(self, flow: str, entry: _Entry) -> None:
        head = (entry[0], entry[1], flow)
        self._head_of[flow] = head
        insort(self._heads, head)

    def _drop_head(self, flow: str) -> None:
        del self._heads[bisect_left(self._heads, self._head_of.pop(flow))]


def _as_set(flows: Collection[str]) -> AbstractSet[str]:
    return flows if isinstance(flows, (set, frozenset, AbstractSet)) else frozenset(flows)
