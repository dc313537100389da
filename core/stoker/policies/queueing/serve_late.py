"""ServeLate: the one wrapper that keeps requests that are late already from making others late.

A request whose slack has turned negative misses its objective whenever it runs. It leaves the wrapped policy for
a queue that is served by arrival, what is resident first, and only on slots that no on-time request could use (DESIGN
section 3). One that may not be served late is handed out to be dropped instead; one that was taken behind all promises
is in that queue from the start. Beside a policy of a fixed rank stand its commitments, as soon as lanes are arranged.
The wrapper is a QueuePolicy itself and knows the wrapped one by that interface only.
"""

from collections.abc import Collection, Iterator, Mapping

from stoker.errors import StokerError
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Place
from stoker.policies.queueing.due_heap import DueHeap
from stoker.policies.queueing.flow_ranking import as_set
from stoker.policies.queueing.interface import Guarantees, QueuePolicy, SlotView, Weights
from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.ordered_flows import OrderedFlows, Rank


class _LateOrder(OrderedFlows):
    """By arrival; equal arrivals by id, so that schedule() can tell the order without moving anything.

    What is resident goes first: nothing late is loaded, and drives others out, before all that needs no start-up.
    """

    def rank(self, request: QueuedRequest) -> Rank:
        return _late_rank(request)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        warm = slot.warm
        head = self._heads.least(as_set(warm)) if warm and self._heads.heads else None
        return super().pop(slot, now_us) if head is None else self._take_head(head[2])


def _late_rank(request: QueuedRequest) -> Rank:
    return (request.arrival_us, request.id)


class ServeLate:
    """`inner` for what can still be on time, arrival order behind it for what cannot.

    A request is late from the first instant after its `latest_start_us`, and stays late: now_us never goes back.
    """

    def __init__(self, inner: QueuePolicy) -> None:
        self._inner = inner
        self._late = _LateOrder()
        self._turning = DueHeap()
        """What `inner` holds, by latest start."""
        self._late_running: set[str] = set()
        self._dropped: dict[str, QueuedRequest] = {}
        """Those that may not be served late and cannot be on time any more, until pop() hands them out."""
        self._commitments = Commitments() if isinstance(inner, OrderedFlows) and inner.by_rank_alone else None
        self._arranged = False
        self._new: dict[str, tuple[int, QueuedRequest]] = {}
        """Pushed since the commitments were asked for last: most have left before that, and are never put in."""
        self._pushes = 0
        self._now_us = 0

    @property
    def name(self) -> str:
        """The wrapped policy's: users choose by it."""
        return self._inner.name

    @property
    def guarantees(self) -> Guarantees:
        """The wrapped policy's, but a late request may starve behind ever new on-time ones."""
        inner = self._inner.guarantees
        return Guarantees(
            starvation_free=False,
            work_conserving=inner.work_conserving,
            weight_respecting=False,
            order=f"{inner.order} while on time, then late ones by arrival",
        )

    def push(self, request: QueuedRequest) -> None:
        if request.id in self._late.by_id or request.id in self._dropped:
            raise StokerError(f"request {request.id} is queued already; give each request of an agent its own id")
        if self._late_running:
            self._late_running.discard(request.id)
        if request.behind:
            self._late.push(request)
            return
        self._inner.push(request)
        self._turning.add(request.objective_us - request.predicted_exec_us, request.id)
        if self._arranged:
            self._pushes += 1
            self._new[request.id] = self._pushes, request

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        if now_us > self._now_us:  # noqa: PLR1730  max() costs as much as three lines of this
            self._now_us = now_us
        heap = self._turning.heap
        if heap and heap[0][0] < self._now_us:
            self._turn_late(self._turning.pop_due(self._now_us - 1))
        if self._dropped:
            dropped = self._dropped.pop(next(iter(self._dropped)))
            self._late_running.add(dropped.id)
            return dropped
        request = self._inner.pop(slot, now_us)
        if request is not None:
            self._turning.discard(request.id)
            if self._arranged:
                self._discard(request.id)
            return request
        request = self._late.pop(slot, now_us)
        if request is not None:
            self._late_running.add(request.id)
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        """Told to the wrapped policy, unless the request left it late: then it never popped it."""
        if request.id in self._late_running:
            self._late_running.remove(request.id)
        else:
            self._inner.done(request, actual_us)

    def cancel(self, request_id: str) -> QueuedRequest | None:
        request = self._inner.cancel(request_id)
        if request is None:
            return self._dropped.pop(request_id, None) or self._late.cancel(request_id)
        self._turning.discard(request_id)
        self._discard(request_id)
        return request

    def missed(self, request: QueuedRequest) -> None:
        self._inner.missed(request)

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        expired = self._inner.drop_expired(now_us)
        for request in expired:
            self._turning.discard(request.id)
            self._discard(request.id)
        dropped = [request for request in self._dropped.values() if request.timeout_us <= now_us]
        for request in dropped:
            del self._dropped[request.id]
        return expired + self._late.drop_expired(now_us) + dropped

    def next_expiry_us(self) -> int | None:
        dues = [self._inner.next_expiry_us(), self._late.next_expiry_us()]
        dues += [request.timeout_us for request in self._dropped.values()]
        return min((due for due in dues if due is not None), default=None)

    def next_ready_us(self, now_us: int) -> int | None:
        """The wrapped policy's: late requests are never held back."""
        return self._inner.next_ready_us(now_us)

    def set_weights(self, weights: Weights) -> None:
        self._inner.set_weights(weights)

    def export(self) -> list[QueuedRequest]:
        self._turning.clear()
        self._new.clear()
        if self._commitments is not None:
            self._commitments.clear()
        dropped = list(self._dropped.values())
        self._dropped.clear()
        return sorted(self._inner.export() + self._late.export() + dropped, key=lambda request: request.arrival_us)

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        if self._commitments is None:
            return
        self._commitments.arrange(lanes)
        if not self._arranged:
            self._arranged = True
            for request in self._inner.schedule(self._now_us):
                self._pushes += 1
                self._commit(self._pushes, request)

    @property
    def commitments(self) -> Commitments | None:
        if not self._arranged:
            return None
        if self._new:
            new, self._new = self._new, {}
            for push, request in new.values():
                self._commit(push, request)
        return self._commitments

    def queued(self, flow: str | None = None) -> int:
        count = self._inner.queued(flow) + self._late.queued(flow)
        if self._dropped:
            count += sum(flow is None or request.flow == flow for request in self._dropped.values())
        return count

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """On-time work that runs before an on-time request; for a late one all on-time work and the earlier late one.

        Now is taken as the latest instant that a call brought: of a request that has just come, its arrival.
        """
        self._now_us = max(self._now_us, request.arrival_us)
        self._turn_late(self._turning.pop_due(self._now_us - 1))
        if request.latest_start_us >= self._now_us:
            return self._inner.work_ahead_us(request, flows)
        return self._inner.queued_us(flows) + self._late.work_ahead_us(request, flows)

    def queued_us(self, flows: Collection[str]) -> int:
        return self._inner.queued_us(flows) + self._late.queued_us(flows)

    def schedule(self, now_us: int) -> Iterator[QueuedRequest]:
        late = self._late.schedule(now_us)
        for request in self._inner.schedule(now_us):
            if request.latest_start_us >= now_us:
                yield request
            else:
                late.append(request)
        yield from sorted(late, key=_late_rank)

    def _turn_late(self, due: list[str]) -> None:
        for request_id in due:
            request = self._inner.cancel(request_id)
            assert request is not None, f"{self.name} lost request {request_id}"
            self._inner.missed(request)
            if self._arranged:
                self._discard(request_id)
            if request.late_ok:
                self._late.push(request)
            else:
                self._dropped[request_id] = request

    def place(self, request: QueuedRequest) -> Place:
        """Where a request that is pushed now would stand among the commitments."""
        assert isinstance(self._inner, OrderedFlows)
        return self._inner.rank(request), self._pushes + 1

    def _commit(self, push: int, request: QueuedRequest) -> None:
        assert isinstance(self._inner, OrderedFlows)
        assert self._commitments is not None
        place, level = (self._inner.rank(request), push), request.priority.level
        self._commitments.add(place, request.id, request.flow, request.predicted_exec_us, request.promise_us, level)

    def _discard(self, request_id: str) -> None:
        if self._new.pop(request_id, None) is None and self._commitments is not None:
            self._commitments.discard(request_id)
