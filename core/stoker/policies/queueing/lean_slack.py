"""`lean-slack` (ours): slack first, locality where slack allows, and unfairness that is bounded.

1. The least of `execution + start-up + slack / 20` goes first. Execution and start-up are what a request takes from all
   others, as in shortest job first; the share of slack lets what is urgent pass, and what waits grow old. What is
   resident needs no start-up, so it goes first wherever slack does not say otherwise.
2. A function that is resident elsewhere is not loaded a second time while all of its queued requests will be on time
   where it is, if predictions are right: the slot serves another function or waits. While nothing is seen to
   have been driven out, memory is not tight: nothing is held back, and of a function that was called often an eighth
   of the start-up counts.
3. Nobody is further ahead than the window: 1 and 2 choose among the flows that `mqfq` would let run if its T were what
   all slots give in 10 s, for namespaces and for the flows of each. Where none of them may, it is `mqfq`'s turn.
4. What cannot be on time any more leaves for ServeLate, as with every policy (early drop), and claims no share there.

Sources: A. K. Mok (MIT 1983) for slack; `sjf`; `mqfq` for the window, and docs/concepts/theory.md for what follows from
it. That a second copy is loaded only where slack asks for it, the blend in 1, and the constants, are ours; they were
chosen on the tuning half of the study (docs/results/own-policy.md), which also says what each part is worth.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_queues import Entry, FlowQueues, Rank
from stoker.policies.queueing.flow_ranking import SlotRanking, as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.mqfq import Mqfq, Share
from stoker.policies.queueing.residence import Residence
from stoker.policies.queueing.tuning import Constant, Constants

_TRIES = 16
"""Flows that are looked at for a slot before it is `mqfq`'s turn."""
_MOST_HELD = 32
"""Queued requests of a flow that one copy may be left alone with."""
_FOREVER_US = 1 << 62
_HOUR_US = 3_600_000_000


class LeanSlack(Mqfq):
    """See the module. No flow starves; the requests of one flow run in the order of 1, too."""

    name: ClassVar[str] = "lean-slack"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False,
        work_conserving=False,
        weight_respecting=True,
        order="within the window, least execution, start-up and share of slack; held back while slack allows",
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {
            "slackPercent": Constant(5, 0, 100, "slack in the order, in percent of it"),
            "holdPercent": Constant(100, 0, 10_000, "prediction in the test of 2, in percent; 0: nothing is held back"),
            "windowUs": Constant(10_000_000, 0, _HOUR_US, "T"),
            "roomHalvings": Constant(3, 0, 32, "how often a start-up is halved in the order while memory is not tight"),
        }
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._window_us = self._tuned["windowUs"] * params.slots
        self._residence = Residence()
        self._pushed = FlowMemory[int]()
        """How often a flow was asked for."""

    @property
    def overrun_us(self) -> int:
        """T: what all slots give in the window."""
        return self._window_us

    def rank(self, request: QueuedRequest) -> Rank:
        share = self._tuned["slackPercent"]
        return (100 * request.predicted_exec_us + share * request.latest_start_us, request.arrival_us)

    def push(self, request: QueuedRequest) -> None:
        flow = request.flow
        pushed = self._pushed.get(flow, 0) + 1
        self._pushed.put(flow, pushed)
        super().push(request)
        if not self._residence.is_tight and pushed & (pushed - 1) == 0:
            self._place(flow, self._flows[flow].entries[0])

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        request = super().pop(slot, now_us)
        if request is not None and slot.warm is not None:
            _, _, predicted_us = self._running[request.id]
            loads = request.flow not in slot.warm
            self._residence.dispatch(slot.device_id, request.id, request.flow, now_us + predicted_us, loads=loads)
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        super().done(request, actual_us)
        self._residence.end(request.id)

    def next_ready_us(self, now_us: int) -> int | None:
        return min((until_us for until_us in self._held_until_us.values() if until_us > now_us), default=None)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """An estimate: what goes before it where everything is resident and nobody is beyond the window."""
        return FlowQueues.work_ahead_us(self, request, flows)

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:
        device, warm = slot.device_id, None if slot.warm is None else as_set(slot.warm)
        if warm is not None:
            self._residence.see(device, warm)
        self._held_until_us.pop(device, None)
        outer = self._namespaces
        head = self._open(outer.settled, eligible, outer.busy.keys()) if outer.has_passed(outer.settled) else None
        if head is not None and head[0] < outer.virtual:
            return super()._turn(slot, eligible, overrun)
        passed: set[str] = set()
        held: list[int] = []
        while len(passed) < _TRIES:
            flow, loads = _least(self._order, eligible, warm, passed)
            if flow is None:
                break
            share = self._backlogged[flow]
            if self._may(share, overrun):
                until_us = self._held_us(flow, device) if loads else None
                if until_us is None:
                    return self._unless_overtaken(share, eligible)
                held.append(until_us)
            passed.add(flow)
        if held and len(held) == len(passed) < _TRIES:
            self._held_until_us[device] = min(held)
            return None
        return super()._turn(slot, eligible, overrun)

    def _may(self, share: Share, overrun: int) -> bool:
        """Whether it is within the window on both levels."""
        now_us, level = self._now_us, share.level
        if share.namespace.accrued(now_us) > self._namespaces.virtual + overrun:
            return False
        level.advance(now_us)
        return share.flow.accrued(now_us) <= level.virtual + overrun

    def _unless_overtaken(self, share: Share, eligible: AbstractSet[str]) -> Share:
        """The flow, or one of its namespace that virtual time has overtaken while it was not eligible."""
        level = share.level
        head = level.settled.least(eligible) if level.has_passed(level.settled) else None
        return share if head is None or head[0] >= level.virtual else self._backlogged[head[2]]

    def _held_us(self, flow: str, device: str) -> int | None:
        """Until when it need not be loaded here; None: not all of it would be on time where it is resident."""
        caution = self._tuned["holdPercent"]
        if not caution or not self._residence.is_tight:
            return None
        free_us = self._residence.elsewhere_us(flow, device, self._now_us)
        if free_us is None:
            return None
        entries = self._flows[flow].entries
        if len(entries) > _MOST_HELD:
            return None
        ahead_us, until_us = 0, _FOREVER_US
        for _, _, request in entries:
            until_us = min(until_us, request.latest_start_us - ahead_us)
            if until_us < free_us:
                return None
            ahead_us += request.predicted_exec_us * caution // 100
        return until_us + 1

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        super()._head_changed(flow, head)
        if head is None:
            self._order.discard(flow)
        else:
            self._place(flow, head)

    def _place(self, flow: str, head: Entry) -> None:
        (resident, _), push, request = head
        often = 0 if self._residence.is_tight else self._pushed.get(flow, 1).bit_length() - 1
        start = 100 * request.start_us >> min(often, self._tuned["roomHalvings"])
        absent = int(resident) + start - self._tuned["slackPercent"] * request.start_us
        self._order.put(flow, (resident, push, flow), (absent, push, flow))

    def _begin(self) -> None:
        super()._begin()
        self._order = SlotRanking()
        self._held_until_us: dict[str, int] = {}
        """Of devices that a slot of was left idle: until when at the latest."""


def _least(
    order: SlotRanking, eligible: AbstractSet[str], warm: AbstractSet[str] | None, but: AbstractSet[str]
) -> tuple[str | None, bool]:
    """The first eligible flow but for some, and whether it would be loaded."""
    if warm is None:
        head = order.resident.least(eligible, but)
        return (None, False) if head is None else (head[2], False)
    here = order.resident.least(warm, but)
    there = order.absent.least(eligible, warm | but if but else warm)
    if there is None or (here is not None and here[0] <= there[0]):
        return (None, False) if here is None else (here[2], False)
    return there[2], True
