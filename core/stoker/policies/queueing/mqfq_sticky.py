"""`mqfq-sticky`: MQFQ for functions whose move on and off a device is dear: a slot stays with its flow.

Source: A. Fuerst et al., "MQFQ-Sticky: Fair Queueing For Serverless GPU Functions" (arXiv 2507.08954, 2025) and its
implementation in Iluvatar. A flow is Active (its start tag within V + T), Throttled (beyond) or Inactive (nothing
queued or running, and its grace has passed). Among the Active flows a device keeps serving its last one; then of the k
with the least start tags a warm one, the one with most requests queued, the one with fewest running. Ours: the k are
taken in the order of start tags (the implementation keeps the largest finish tags, which are the most served), and
what is said in `mqfq` of two levels and of throttled flows.

Any choice among Active flows keeps the bound of docs/concepts/theory.md, so this one does.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.fair_level import UNIT
from stoker.policies.queueing.flow_memory import FlowMemory
from stoker.policies.queueing.flow_ranking import WALK, as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView
from stoker.policies.queueing.mqfq import Mqfq, Share

SHORTLIST = 20
"""k, and never fewer than there are slots (the published experiments')."""
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

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._most = max(SHORTLIST, params.slots)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        request = super().pop(slot, now_us)
        if request is not None:
            self._last[slot.device_id] = self._last[_ANY] = request.flow
            self._dispatched_us[request.id] = now_us
        return request

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        super().done(request, actual_us)
        dispatched_us = self._dispatched_us.pop(request.id, None)
        if dispatched_us is not None:
            grace_us = request.predicted_exec_us * _GRACE_PERCENT // 100
            self._grace_ends_us.put(request.flow, dispatched_us + actual_us + grace_us)

    def state(self, flow: str, now_us: int) -> FlowState:
        """What the flow is now; one that was never heard of is Inactive."""
        share = self._backlogged.get(flow)
        if share is not None:
            return FlowState.ACTIVE if self._active(share, self.overrun_us() * UNIT) else FlowState.THROTTLED
        namespace = self._namespaces.members.get(flow.partition("/")[0])
        member = None if namespace is None or namespace.level is None else namespace.level.members.get(flow)
        runs = member is not None and member.running > 0
        return FlowState.ACTIVE if runs or now_us < self._grace_ends_us.get(flow, 0) else FlowState.INACTIVE

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:
        """The device's last flow while it is Active and warm; else the best of the shortlist; else as `mqfq` has it."""
        warm = eligible if slot.warm is None else as_set(slot.warm)
        last = self._last.get(slot.device_id, "")
        share = self._backlogged.get(last)
        if share is not None and last in eligible and last in warm and self._active(share, overrun):
            return share
        shares = self._shortlist(eligible, overrun)
        if not shares:
            return super()._turn(slot, eligible, overrun)
        flows = self._flows
        return min(
            shares,
            key=lambda share: (share.flow.key not in warm, -len(flows[share.flow.key].entries), share.flow.running),
        )

    def _shortlist(self, eligible: AbstractSet[str], overrun: int) -> list[Share]:
        """The first k eligible Active flows, by the start tags of their namespaces and then their own.

        Where more than k are eligible: those of them that a walk over a few times k flows meets.
        """
        backlogged = self._backlogged
        if len(eligible) <= self._most:
            shares = [share for flow in eligible if (share := backlogged.get(flow)) and self._active(share, overrun)]
            shares.sort(key=_place)
            return shares
        found: list[Share] = []
        steps, namespaces = WALK * self._most, self._namespaces.members
        limit = self._namespaces.virtual + overrun
        for tag, _, namespace in self._namespaces.starts:
            level = namespaces[namespace].level
            if tag > limit or level is None:
                break
            within = level.virtual + overrun
            for start, _, flow in level.starts:
                if start > within:
                    break
                if flow in eligible:
                    found.append(backlogged[flow])
                steps -= 1
                if not steps or len(found) == self._most:
                    return found
        return found

    def _active(self, share: Share, overrun: int) -> bool:
        """Whether both start tags lie within T of virtual time."""
        return (
            share.namespace.start <= self._namespaces.virtual + overrun
            and share.flow.start <= share.level.virtual + overrun
        )

    def _begin(self) -> None:
        super()._begin()
        self._last: dict[str, str] = {}
        """The flow that each device served last, and any."""
        self._dispatched_us: dict[str, int] = {}
        """What runs, by request."""
        self._grace_ends_us = FlowMemory[int]()


def _place(share: Share) -> tuple[int, int, int, int]:
    return (share.namespace.start, share.namespace.served, share.flow.start, share.flow.served)
