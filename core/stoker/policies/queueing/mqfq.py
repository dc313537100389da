"""`mqfq`: fair shares of device time over many parallel slots, for namespaces and, within each, for its flows.

Source: M. Hedayati, K. Shen, M. L. Scott, M. Marty, "Multi-Queue Fair Queuing" (USENIX ATC 2019): start-time fair
queueing whose flows may be ahead of virtual time by T, so that parallel slots need not wait for one another. Ours:
- two levels, namespace over function, with the same rules: splitting a function changes no other namespace's share;
- tags are settled by the time that was really taken, start-ups, failures and cancellations included, and what runs
  counts by how long it runs already: predictions order, and bound nothing;
- T is half of the tightest objective that is queued for, and at most 5 s;
- a slot that could serve only flows that are further ahead serves them all the same.

The rules, what they promise and the proof are in docs/concepts/theory.md. This module joins the queues of flows and
two levels of fair shares; it reads no clock and knows no device.
"""

from bisect import bisect_left
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from itertools import accumulate
from types import MappingProxyType
from typing import ClassVar

from msgspec import Struct

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.due_heap import DueHeap
from stoker.policies.queueing.fair_level import UNIT, FairLevel, Member
from stoker.policies.queueing.flow_queues import Entry, FlowQueues
from stoker.policies.queueing.flow_ranking import NONE, FlowRanking, Head, as_set, walk_of
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView, Weights
from stoker.policies.queueing.tuning import Constant, Constants

LARGEST_OVERRUN_US = 5_000_000
"""T where no objective asks for less (the published experiments')."""
OVERRUN_PERCENT = 50
"""T in percent of the tightest objective that is queued for (ours)."""


class Share(Struct, eq=False):
    """A flow's place on both levels."""

    namespace: Member
    level: FairLevel
    flow: Member
    objective_us: int | None = None
    """Its tightest since it became backlogged, from the arrival on."""


class Mqfq(FlowQueues):
    """See the module. Starvation-free among any fixed set of functions; requests of one flow run by arrival."""

    name: ClassVar[str] = "mqfq"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True,
        work_conserving=True,
        weight_respecting=True,
        order="start tag of the namespace, then of the flow",
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {
            "overrunUs": Constant(LARGEST_OVERRUN_US, 0, 3_600_000_000, "the largest T"),
            "overrunPercent": Constant(OVERRUN_PERCENT, 0, 1_000_000, "T in percent of the tightest objective queued"),
        }
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._weights = Weights()
        self._now_us = 0
        """Of the last pop."""
        self._begin()

    @property
    def overrun_us(self) -> int:
        """T: how far one may be ahead of the others, in device time for each unit of weight."""
        tightest_us, largest_us = self._tightest.next_due_us(), self._tuned["overrunUs"]
        if tightest_us is None:
            return largest_us
        return max(0, min(largest_us, tightest_us * self._tuned["overrunPercent"] // 100))

    def push(self, request: QueuedRequest) -> None:
        """Queue a request; StokerError when its id is queued already.

        One whose dispatch failed (popped, then done() after no time) and that comes again before the next pop gives its
        flow the tags back that it had.
        """
        super().push(request)
        if request.id in self._running:
            self.done(request, 0)
        share = self._backlogged.get(request.flow)
        if share is None:
            share = self._enter(request)
        objective_us = request.objective_us - request.arrival_us
        if share.objective_us is None or objective_us < share.objective_us:
            share.objective_us = objective_us
            self._tightest.add(objective_us, request.flow)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        if not self._backlogged:
            return None
        if self._failed:
            self._failed.clear()
        self._now_us = now_us
        outer = self._namespaces
        outer.advance(now_us)
        share = self._turn(slot, as_set(slot.eligible), self.overrun_us * UNIT)
        if share is None:
            return None
        flow, level = share.flow.key, share.level
        entries = self._flows[flow].entries
        request = entries[0][2]
        predicted_us = request.predicted_exec_us
        if slot.warm is not None and flow not in slot.warm:
            predicted_us += request.start_us
        self._running[request.id] = (share, now_us, predicted_us)
        stays = len(entries) > 1
        level.dispatch(share.flow, now_us, predicted_us, stays=stays)
        outer.dispatch(share.namespace, now_us, predicted_us, stays=stays or len(level.starts.heads) > 1)
        return self._take_head(flow)

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        """Settle what a request took. One that another policy popped is charged all the same: it used the slot."""
        run = self._running.pop(request.id, None)
        share = self._share(request) if run is None else run[0]
        if actual_us > 0:
            if self._failed:
                self._failed.clear()
        else:
            self._failed[request.id] = (share.namespace.settled, share.flow.settled)
        if run is None:
            share.level.charge(share.flow, actual_us)
            self._namespaces.charge(share.namespace, actual_us)
        else:
            _, dispatched_us, predicted_us = run
            share.level.settle(share.flow, dispatched_us, predicted_us, actual_us)
            self._namespaces.settle(share.namespace, dispatched_us, predicted_us, actual_us)

    def set_weights(self, weights: Weights) -> None:
        """The shares from now on. Who is ahead stays so by as much device time for each unit of its weight."""
        self._weights = weights
        self._namespaces.weigh(weights.namespaces)
        for namespace in self._namespaces.members.values():
            _level(namespace).weigh(weights.flows)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """An estimate: what others get until their start tags reach that of the request, if predictions are right.

        Of a flow of the same namespace in whole requests; of another namespace one request of mean length more.
        """
        works_us = {flow: self._flows[flow].works_us for flow in as_set(flows) if flow in self._flows}
        own_us = ahead_us = super().work_ahead_us(request, (request.flow,)) if works_us.pop(request.flow, None) else 0
        mine = self._namespaces.members.get(request.namespace)
        tag = 0 if mine is None else _level(mine).start_of(request.flow)
        tag += own_us * UNIT // self._weights.flows.get(request.flow, 1)
        others: dict[str, list[int]] = {}
        for flow, queued_us in works_us.items():
            share = self._backlogged[flow]
            if share.namespace is mine:
                ahead_us += _whole(queued_us, share.flow.until_us(tag))
            else:
                others.setdefault(share.namespace.key, []).extend(queued_us)
        tag = self._namespaces.start_of(request.namespace)
        tag += ahead_us * UNIT // self._weights.namespaces.get(request.namespace, 1)
        for namespace, queued_us in others.items():
            until_us = self._namespaces.members[namespace].until_us(tag)
            if until_us > 0:
                total_us = sum(queued_us)
                ahead_us += min(total_us, until_us + total_us // len(queued_us))
        return ahead_us

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:  # noqa: ARG002
        """Whose turn it is: of the namespace whose turn it is on its level, the flow whose turn it is on its own."""
        head = self._open(self._namespaces.starts, eligible, NONE)
        return None if head is None else self._turn_of(head, eligible, overrun)

    def _turn_of(self, head: Head, eligible: AbstractSet[str], overrun: int) -> Share:
        """The same, of the namespace with this head or, where that one is too far ahead, of the least far ahead."""
        outer, now_us = self._namespaces, self._now_us
        namespace = outer.members[head[2]]
        if namespace.accrued(now_us) > outer.virtual + overrun:
            namespace = outer.relent(
                namespace,
                lambda ranking, but: self._open(ranking, eligible, but),
                lambda key: _level(outer.members[key]).starts.least(eligible) is not None,
                now_us,
                overrun,
            )
        level = _level(namespace)
        level.advance(now_us)
        first = level.starts.least(eligible)
        assert first is not None, "the namespace was chosen for a flow of it"
        flow = level.members[first[2]]
        if flow.accrued(now_us) > level.virtual + overrun:
            flow = level.relent(
                flow, lambda ranking, but: ranking.least(eligible, but), eligible.__contains__, now_us, overrun
            )
        return self._backlogged[flow.key]

    def _open(self, ranking: FlowRanking, eligible: AbstractSet[str], but: AbstractSet[str]) -> Head | None:
        """The first namespace, but for some, that has an eligible flow; as FlowRanking.least, over both levels."""
        namespaces, backlogged = self._namespaces.members, self._backlogged
        steps = walk_of(len(eligible), len(backlogged))
        if steps > 0:
            for head in ranking.heads:
                starts = _level(namespaces[head[2]]).starts
                first = starts.first()
                if head[2] not in but and (
                    (first is not None and first[2] in eligible) or starts.meets(eligible, NONE, steps)
                ):
                    return head
                steps -= len(starts)
                if steps <= 0:
                    break
            else:
                return None
        names = {backlogged[flow].namespace.key for flow in eligible if flow in backlogged}
        return min((ranking[name] for name in names if name not in but), default=None)

    def _begin(self) -> None:
        self._namespaces = FairLevel()
        self._backlogged: dict[str, Share] = {}
        self._running: dict[str, tuple[Share, int, int]] = {}
        """What was popped, by request: the instant of its dispatch and its predicted device time."""
        self._failed: dict[str, tuple[int, int]] = {}
        """Requests that ended after no time since anything else happened: the settled tags of namespace and flow."""
        self._tightest = DueHeap()
        """The backlogged flows by their tightest objective."""

    def _share(self, request: QueuedRequest) -> Share:
        """What a request is charged to; what is not remembered begins."""
        flow, namespace = request.flow, request.namespace
        outer = self._namespaces.meet(namespace, self._weights.namespaces.get(namespace, 1))
        level = _level(outer)
        return Share(outer, level, level.meet(flow, self._weights.flows.get(flow, 1)))

    def _enter(self, request: QueuedRequest) -> Share:
        of_namespace, of_flow = self._failed.pop(request.id, (None, None))
        share = self._backlogged[request.flow] = self._share(request)
        share.level.enter(share.flow, self._now_us, of_flow)
        if not share.namespace.queued:
            self._namespaces.enter(share.namespace, self._now_us, of_namespace)
        return share

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        if head is None:
            share = self._backlogged.pop(flow)
            self._tightest.discard(flow)
            share.level.leave(share.flow)
            if not share.level.starts.heads:
                self._namespaces.leave(share.namespace)

    def _clear(self) -> None:
        """All shares begin anew; what still runs is charged to its flow when it ends."""
        super()._clear()
        self._begin()


def _level(namespace: Member) -> FairLevel:
    if namespace.level is None:
        namespace.level = FairLevel()
    return namespace.level


def _whole(works_us: list[int], until_us: int) -> int:
    """The work of the requests that begin before this much of it is done."""
    if until_us <= 0:
        return 0
    done_us = list(accumulate(works_us))
    return done_us[min(bisect_left(done_us, until_us), len(done_us) - 1)]
