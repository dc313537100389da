"""A queueing policy that writes down what it is asked and what it answers, and is the policy inside otherwise.

What a policy is asked only to look (queued, next_expiry_us) is not written down: it changes nothing and decides
nothing. All else is, work_ahead_us too, because ServeLate turns requests late while it answers.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Place
from stoker.policies.queueing.interface import Guarantees, QueueParams, QueuePolicy, SlotView, Weights
from stoker.policies.queueing.lanes import Lane
from stoker.policies.queueing.registry import exchange
from stoker.replay.journal import Journal
from stoker.replay.picture import picture
from stoker.replay.records import (
    Ahead,
    Arranged,
    Cancelled,
    Done,
    Due,
    Exchanged,
    Expired,
    Exported,
    Missed,
    Popped,
    Pushed,
    Queueing,
    Record,
    Scheduled,
    Weighted,
)

CHECK_EVERY = 1_024
"""Pushes and pops between two digests of the whole order: some policies play it out, which takes milliseconds."""
CHECK_UP_TO = 128
"""Requests queued beyond which no digest is taken."""
_NONE: frozenset[str] = frozenset()


class RecordedQueue:
    """See the module. A part of the journal, joined by whoever makes it."""

    def __init__(self, inner: QueuePolicy, params: QueueParams, journal: Journal) -> None:
        """`inner` is fresh."""
        self.inner = inner
        self._params = params
        self._journal = journal
        self._fresh = True
        self._judged: QueuedRequest | None = None
        self._running: dict[int, tuple[int, QueuedRequest]] = {}
        """By id, which is the request's own while it is kept here: two that run may bear one name."""
        self._pops = 0
        self._eligible: dict[str, frozenset[str]] = {}
        self._since_check = 0

    # The part.

    def begin_file(self, journal: Journal) -> None:
        self._judged = None
        self._eligible.clear()
        running = list(self._running.values())
        self._pops = max((number for number, _ in running), default=0)
        state = None if self._fresh else picture(self.inner)
        self._fresh = False
        journal.put(Queueing(self.inner.name, self._params, state, running))

    def exchange(self, name: str, params: QueueParams) -> None:
        """A fresh policy of that name takes over what is queued. UnknownName changes nothing."""
        self.inner = exchange(self.inner, name, params)
        self._params = params
        self._judged = None
        self._since_check = CHECK_EVERY
        self._write(Exchanged(name, params, self.inner.queued()))

    def judged(self, request: QueuedRequest) -> None:
        """A record that holds the request was written; if it is taken, its push says only so."""
        self._judged = request

    def check(self, now_us: int) -> None:
        """Write a digest of the order down, where that is cheap enough."""
        self._since_check = 0
        if self._journal.open and self.inner.queued() <= CHECK_UP_TO:
            self._journal.write(scheduled(self.inner, now_us))

    # The policy.

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def guarantees(self) -> Guarantees:
        return self.inner.guarantees

    def push(self, request: QueuedRequest) -> None:
        self.inner.push(request)
        if self._journal.open:
            known = request is self._judged
            self._judged = None
            self._write(Pushed(request.id, None if known else request))

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        request = self.inner.pop(slot, now_us)
        if not self._journal.open:
            return request
        device, eligible = slot.device_id, frozenset(slot.eligible)
        before = self._eligible.get(device, _NONE)
        if request is not None:
            self._pops += 1
            self._running[id(request)] = (self._pops, request)
        self._eligible[device] = eligible
        self._write(
            Popped(
                now_us,
                device,
                None if request is None else request.id,
                sorted(eligible - before),
                sorted(before - eligible),
                None if slot.warm is None else sorted(slot.warm),
            )
        )
        self._since_check += 1
        if self._since_check >= CHECK_EVERY:
            self.check(now_us)
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        self.inner.done(request, actual_us)
        if self._journal.open:
            number, _ = self._running.pop(id(request), (0, None))
            self._write(Done(number, actual_us, None if number else request))

    def cancel(self, request_id: str) -> QueuedRequest | None:
        request = self.inner.cancel(request_id)
        self._write(Cancelled(request_id, request is not None))
        return request

    def missed(self, request: QueuedRequest) -> None:
        self.inner.missed(request)
        self._write(Missed(request))

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        expired = self.inner.drop_expired(now_us)
        self._write(Expired(now_us, [request.id for request in expired]))
        return expired

    def next_expiry_us(self) -> int | None:
        return self.inner.next_expiry_us()

    def next_ready_us(self, now_us: int) -> int | None:
        due_us = self.inner.next_ready_us(now_us)
        self._write(Due(now_us, due_us))
        return due_us

    def set_weights(self, weights: Weights) -> None:
        self.inner.set_weights(weights)
        self._write(Weighted(dict(weights.flows), dict(weights.namespaces)))

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        self.inner.arrange(lanes)
        self._write(Arranged(dict(lanes)))

    @property
    def commitments(self) -> Commitments | None:
        return self.inner.commitments

    def place(self, request: QueuedRequest) -> Place:
        return self.inner.place(request)

    def export(self) -> list[QueuedRequest]:
        exported = self.inner.export()
        self._write(Exported([request.id for request in exported]))
        return exported

    def queued(self, flow: str | None = None) -> int:
        return self.inner.queued(flow)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        work_us = self.inner.work_ahead_us(request, flows)
        self._write(Ahead(request, sorted(flows), work_us))
        return work_us

    def queued_us(self, flows: Collection[str]) -> int:
        return self.inner.queued_us(flows)

    def schedule(self, now_us: int) -> Iterable[QueuedRequest]:
        return self.inner.schedule(now_us)

    def _write(self, record: Record) -> None:
        if self._journal.open:
            self._journal.write(record)


def scheduled(policy: QueuePolicy, now_us: int) -> Scheduled:
    """The record of a policy's whole order."""
    ids = [request.id for request in policy.schedule(now_us)]
    return Scheduled(now_us, len(ids), blake2b("\0".join(ids).encode(), digest_size=8).hexdigest())
