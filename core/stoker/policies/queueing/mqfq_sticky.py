"""`mqfq-sticky`: MQFQ for functions whose move on and off a device is dear: a slot stays with its flow.

Source: A. Fuerst et al., "MQFQ-Sticky: Fair Queueing For Serverless GPU Functions" (arXiv 2507.08954, 2025) and its
implementation in Iluvatar. A flow is Active (its start tag within V + T), Throttled (beyond) or Inactive (nothing
queued or running, and its grace has passed). Among the Active flows a device keeps serving its last one; then of the k
with the least start tags a warm one, the one with most requests queued, the one with fewest running. Ours:
- the k are taken in the order of start tags (the implementation keeps the largest finish tags, the most served ones);
- the grace is of the predicted execution time, which the request carries, and not of a mean of its own;
- a flow that virtual time has overtaken goes first (see _turn), and all that is said in `mqfq`.

Any choice among Active flows keeps the bound of docs/concepts/theory.md, so this one does.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.fair_level import UNIT
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_ranking import NONE, as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.mqfq import Mqfq, Share
from stoker.policies.queueing.tuning import Constant, Constants

SHORTLIST = 20
"""k, and never fewer than there are slots (the published experiments')."""
_WALK = 3
"""Times k flows that are looked at to find k eligible ones (ours)."""
_GRACE_PERCENT = 150
"""How long an idle flow stays Active, in percent of its predicted execution time (the same)."""
_ANY = ""
"""The device of schedule(), which plays on where the last request was dispatched."""


class FlowState(StrEnum):
    """Whose memory should stay on the devices while there is room: that of Active flows."""

    ACTIVE = "Active"
    THROTTLED = "Throttled"
    INACTIVE = "Inactive"


class MqfqSticky(Mqfq):
    """See the module. Starvation-free among any fixed set of functions."""

    name: ClassVar[str] = "mqfq-sticky"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True,
        work_conserving=True,
        weight_respecting=True,
        order="within T of the least start tag: the device's last flow, then warm ones, then the longest queue",
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {**Mqfq.constants, "shortlist": Constant(SHORTLIST, 1, 4096, "k, and never fewer than there are slots")}
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._most = max(self._tuned["shortlist"], params.slots)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        request = super().pop(slot, now_us)
        if request is not None:
            self._last[slot.device_id] = self._last[_ANY] = request.flow
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        run = self._running.get(request.id)
        super().done(request, actual_us)
        if run is not None:
            grace_us = request.predicted_exec_us * _GRACE_PERCENT // 100
            self._grace_ends_us.put(request.flow, run[1] + actual_us + grace_us)

    def state(self, flow: str, now_us: int) -> FlowState:
        """What the flow is now; one that was never heard of is Inactive."""
        share = self._backlogged.get(flow)
        if share is not None:
            overrun = self.overrun_us * UNIT
            active = share.namespace.is_active(now_us, self._namespaces.due(now_us) + overrun)
            active = active and share.flow.is_active(now_us, share.level.due(now_us) + overrun)
            return FlowState.ACTIVE if active else FlowState.THROTTLED
        namespace = self._namespaces.members.get(flow.partition("/")[0])
        runs = namespace is not None and namespace.level is not None and flow in namespace.level.busy
        return FlowState.ACTIVE if runs or now_us < self._grace_ends_us.get(flow, 0) else FlowState.INACTIVE

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:
        """The device's last flow while it is Active and warm; else the best of the shortlist; else as `mqfq` has it.

        One that virtual time has overtaken while it was not eligible comes first: else a flow with a second device, on
        which virtual time follows it, would stay Active for ever on the one that they share.
        """
        outer = self._namespaces
        head = self._open(outer.starts, eligible, NONE) if outer.has_passed(outer.starts) else None
        if head is not None and head[0] < outer.virtual:
            return self._turn_of(head, eligible, overrun)
        warm = eligible if slot.warm is None else as_set(slot.warm)
        last = self._last.get(slot.device_id, "")
        share = self._backlogged.get(last)
        if share is None or last not in eligible or last not in warm or not self._active(share, overrun):
            few = len(eligible) <= self._most
            share = (self._best_of_few if few else self._best_of_first)(eligible, warm, overrun)
        if share is None:
            return super()._turn(slot, eligible, overrun)
        level = share.level
        head = level.starts.least(eligible) if level.has_passed(level.starts) else None
        return share if head is None or head[0] >= level.virtual else self._backlogged[head[2]]

    def _best_of_few(self, eligible: AbstractSet[str], warm: AbstractSet[str], overrun: int) -> Share | None:
        """All that are eligible are on the shortlist; equally good ones by start tag."""
        backlogged, flows = self._backlogged, self._flows
        found = [share for flow in eligible if (share := backlogged.get(flow)) and self._active(share, overrun)]
        return min(
            found,
            key=lambda share: (
                share.flow.key not in warm,
                -len(flows[share.flow.key].entries),
                share.flow.running,
                share.namespace.start,
                share.namespace.served,
                share.flow.start,
                share.flow.served,
            ),
            default=None,
        )

    def _best_of_first(self, eligible: AbstractSet[str], warm: AbstractSet[str], overrun: int) -> Share | None:
        """Those with the least start tags of their namespaces, then of their own, that a walk of some times k meets."""
        backlogged, flows, outer, now_us = self._backlogged, self._flows, self._namespaces, self._now_us
        left, steps = self._most, _WALK * self._most
        best: Share | None = None
        least = (True, 0, 0)
        outer_limit = outer.virtual + overrun
        for tag, _, key in outer.starts.heads:
            if tag > outer_limit:
                break
            namespace = outer.members[key]
            level = namespace.level
            if level is None or (namespace.running and namespace.accrued(now_us) > outer_limit):
                continue
            level.advance(now_us)
            limit = level.virtual + overrun
            for start, _, flow in level.starts.heads:
                if start > limit:
                    break
                if flow in eligible:
                    share = backlogged[flow]
                    running = share.flow.running
                    rank = (flow not in warm, -len(flows[flow].entries), running)
                    if (best is None or rank < least) and (not running or share.flow.accrued(now_us) <= limit):
                        best, least = share, rank
                    left -= 1
                steps -= 1
                if not steps or not left:
                    return best
        return best

    def _active(self, share: Share, overrun: int) -> bool:
        if not share.namespace.is_active(self._now_us, self._namespaces.virtual + overrun):
            return False
        share.level.advance(self._now_us)
        return share.flow.is_active(self._now_us, share.level.virtual + overrun)

    def _begin(self) -> None:
        super()._begin()
        self._last: dict[str, str] = {}
        """The flow that each device served last, and any."""
        self._grace_ends_us = FlowMemory[int]()
