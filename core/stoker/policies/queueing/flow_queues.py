"""The structure under every policy: one sorted list of requests per flow, and everything that is the same for all.

A policy on top writes `pop`: it chooses a flow, settles what it settles, and takes the flow's first request. What it
ranks flows by it keeps up to date by one hook, `_head_changed`. Sorted lists hold no garbage: a cancelled request is
found by bisection and taken out (O(log n) comparisons; the move of the pointers behind it is a memmove).

It knows no order of flows, no fairness and no clock. A rank must not change while its request is queued.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Mapping
from copy import deepcopy
from heapq import heapify, heappop, heappush, merge
from typing import ClassVar

from msgspec import Struct

from stoker.errors import StokerError
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Place
from stoker.policies.queueing.flow_ranking import as_set
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, SlotView, Weights
from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.tuning import NO_CONSTANTS, Constants, settled

Rank = tuple[int | str, ...]
"""What a flow's requests are sorted by; equal ranks go in the order of their push."""
Entry = tuple[Rank, int, QueuedRequest]
"""A queued request: its rank, the number of its push, itself."""

_SPARE = 64
"""Garbage entries that are never worth a rebuild."""


class Flow(Struct, eq=False):
    """One flow's requests in order, and their predicted execution times beside them. Never empty while kept.

    A Struct because half of what a plain class costs is its constructor, and flows come and go with their requests.
    """

    entries: list[Entry]
    works_us: list[int]


class FlowQueues(ABC):
    """Everything that QueuePolicy asks for but the name, the guarantees and the choice."""

    constants: ClassVar[Constants] = NO_CONSTANTS
    """What a study may tune (QueueParams.tuning)."""

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        """Raises UnknownName and BadTuning for a constant that is not there or cannot be so."""
        self._tuned = settled(type(self).__name__, self.constants, params.tuning)
        self._flows: dict[str, Flow] = {}
        self.by_id: dict[str, Entry] = {}
        """All that is queued. For reading."""
        self._expiries: list[tuple[int, int, str]] = []
        """Timeout, push and id; garbage once that push has left. Bounded as in DueHeap, without its second dict."""
        self._most_expiries = _SPARE
        self._pushes = 0

    # What a policy says.

    def rank(self, request: QueuedRequest) -> Rank:
        """Where the request stands in its flow; the least rank is the flow's first. By arrival unless overridden."""
        return (request.arrival_us,)

    def _head_changed(self, flow: str, head: Entry | None) -> None:  # noqa: B027  not every policy ranks flows
        """A flow's first request is another now; None: it has none any more."""

    def _clear(self) -> None:
        """Forget what is queued: it was exported. What was learnt of flows stays."""
        self._flows.clear()
        self.by_id.clear()
        self._expiries.clear()

    # What a shell asks.

    def push(self, request: QueuedRequest) -> None:
        """Queue a request; StokerError when its id is queued already (it would leave twice)."""
        request_id, name, by_id, expiries = request.id, request.flow, self.by_id, self._expiries
        if request_id in by_id:
            raise StokerError(f"request {request_id} is queued already; give each request of an agent its own id")
        self._pushes = push = self._pushes + 1
        entry = (self.rank(request), push, request)
        by_id[request_id] = entry
        heappush(expiries, (request.timeout_us, push, request_id))
        if len(expiries) > self._most_expiries:
            self._forget_expiries()
        flow = self._flows.get(name)
        if flow is None:
            self._flows[name] = Flow([entry], [request.predicted_exec_us])
            self._head_changed(name, entry)
        elif flow.entries[-1] < entry:
            flow.entries.append(entry)
            flow.works_us.append(request.predicted_exec_us)
        else:
            at = bisect_left(flow.entries, entry)
            flow.entries.insert(at, entry)
            flow.works_us.insert(at, request.predicted_exec_us)
            if at == 0:
                self._head_changed(name, entry)

    @abstractmethod
    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None: ...

    def done(self, request: QueuedRequest, actual_us: int) -> None:  # noqa: B027  nothing to do is the default
        """Nothing is charged and nothing learnt."""

    def cancel(self, request_id: str) -> QueuedRequest | None:
        return self._remove(request_id) if request_id in self.by_id else None

    def missed(self, request: QueuedRequest) -> None:  # noqa: B027  nothing to do is the default
        """Nothing is learnt of it."""

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        expired: list[QueuedRequest] = []
        while (due_us := self.next_expiry_us()) is not None and due_us <= now_us:
            expired.append(self._remove(heappop(self._expiries)[2]))
        return expired

    def next_expiry_us(self) -> int | None:
        expiries, entries = self._expiries, self.by_id
        while expiries:
            due_us, push, request_id = expiries[0]
            entry = entries.get(request_id)
            if entry is not None and entry[1] == push:
                return due_us
            heappop(expiries)
        return None

    def next_ready_us(self, now_us: int) -> int | None:  # noqa: ARG002  of the policies that hold requests back
        return None

    def set_weights(self, weights: Weights) -> None:  # noqa: B027  nothing to do is the default
        """Ignored: no shares are kept."""

    def arrange(self, lanes: Mapping[str, Lane]) -> None:  # noqa: B027  nothing to do is the default
        """Ignored: nothing is promised by a policy itself."""

    @property
    def commitments(self) -> Commitments | None:
        return None

    def place(self, request: QueuedRequest) -> Place:
        return self.rank(request), self._pushes + 1

    def export(self) -> list[QueuedRequest]:
        by_arrival = sorted(self.by_id.values(), key=lambda entry: (entry[2].arrival_us, entry[1]))
        self._clear()
        return [request for _, _, request in by_arrival]

    def queued(self, flow: str | None = None) -> int:
        if flow is None:
            return len(self.by_id)
        queue = self._flows.get(flow)
        return len(queue.entries) if queue else 0

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """What has a lower rank, as if the rank ordered the requests of all flows."""
        bound: Entry = (self.rank(request), self._pushes + 1, request)
        total_us = 0
        for name in as_set(flows):
            flow = self._flows.get(name)
            if flow is not None and flow.entries[0] < bound:
                total_us += sum(flow.works_us[: bisect_left(flow.entries, bound)])
        return total_us

    def queued_us(self, flows: Collection[str]) -> int:
        return sum(self._work_us(flow) for flow in as_set(flows))

    def schedule(self, now_us: int) -> list[QueuedRequest]:
        """Played out on a copy of the policy, by one slot on which everything is resident."""
        twin = deepcopy(self, {id(entry[2]): entry[2] for entry in self.by_id.values()})
        everyone = SlotView("", twin._flows.keys())  # noqa: SLF001  of the same class
        order: list[QueuedRequest] = []
        while len(order) < len(self.by_id):
            request = twin.pop(everyone, now_us)
            if request is None:
                ready_us = twin.next_ready_us(now_us)
                assert ready_us is not None, "what is held back is due at some time"
                now_us = ready_us
            else:
                order.append(request)
                twin.done(request, request.predicted_exec_us)
        return order

    # For policies.

    def _by_rank(self) -> list[QueuedRequest]:
        """All that is queued, as if the rank ordered the requests of all flows."""
        return [request for _, _, request in merge(*(flow.entries for flow in self._flows.values()))]

    def _work_us(self, flow: str) -> int:
        """Predicted execution time of all that is queued in a flow."""
        queue = self._flows.get(flow)
        return sum(queue.works_us) if queue else 0

    def _remove(self, request_id: str) -> QueuedRequest:
        entry = self.by_id[request_id]
        request = entry[2]
        flow = self._flows[request.flow]
        if flow.entries[0] is entry:
            return self._take_head(request.flow)
        del self.by_id[request_id]
        at = bisect_left(flow.entries, entry)
        del flow.entries[at]
        del flow.works_us[at]
        return request

    def _take_head(self, name: str) -> QueuedRequest:
        """_remove() of a flow's first request, which need not be looked for."""
        flow = self._flows[name]
        entries = flow.entries
        request = entries[0][2]
        del self.by_id[request.id]
        if len(entries) == 1:
            del self._flows[name]
            self._head_changed(name, None)
        else:
            del entries[0]
            del flow.works_us[0]
            self._head_changed(name, entries[0])
        return request

    def _forget_expiries(self) -> None:
        """Drop the garbage."""
        self._expiries = [(entry[2].timeout_us, entry[1], request_id) for request_id, entry in self.by_id.items()]
        heapify(self._expiries)
        self._most_expiries = 2 * len(self._expiries) + _SPARE
