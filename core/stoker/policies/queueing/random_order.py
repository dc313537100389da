"""`random`: service in random order. Whoever waits is as likely as anybody else to run next.

Source: E. Vaulot, "Delais d'attente des appels telephoniques traites au hasard" (1946); J. F. C. Kingman, "On queues in
which customers are served in random order" (1962): the mean wait of fcfs, with a larger variance. The yardstick for
whether an order does anything at all. It draws from QueueParams.seed, so that the same calls pop the same requests.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import ClassVar

from stoker.draws import Draws
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import FlowQueues
from stoker.policies.queueing.flow_ranking import AT_ONCE, as_set
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView

_WALK = 3
"""Draws for each eligible flow before what they have queued is counted instead (ours)."""


class RandomOrder(FlowQueues):
    """Uniform over the queued requests of eligible flows, drawn anew at each pop."""

    name: ClassVar[str] = "random"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=False, work_conserving=True, weight_respecting=False, order="drawn"
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._draws = Draws(params.seed)
        self._all: list[QueuedRequest] = []
        self._at: dict[str, int] = {}
        """Where each stands in `_all`."""

    def push(self, request: QueuedRequest) -> None:
        super().push(request)
        self._at[request.id] = len(self._all)
        self._all.append(request)

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  a draw needs no clock
        request = self._draw(as_set(slot.eligible))
        return None if request is None else self._remove(request.id)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:  # noqa: ARG002
        """Expected: of whatever waits, half runs before a newcomer."""
        return sum(self._work_us(flow) for flow in as_set(flows)) // 2

    def _draw(self, eligible: AbstractSet[str]) -> QueuedRequest | None:
        if not self._all:
            return None
        # Drawn from all until one is eligible: uniform over those that are. With few of them their counts are summed.
        tries, most = 0, AT_ONCE
        while tries < most:
            request = self._all[self._draws.below(len(self._all))]
            if request.flow in eligible:
                return request
            tries += 1
            if tries == AT_ONCE:
                most = max(AT_ONCE, min(_WALK * len(eligible), len(self._all)))
        queues = [self._flows[flow].entries for flow in sorted(eligible) if flow in self._flows]
        total = sum(len(entries) for entries in queues)
        if total == 0:
            return None
        drawn = self._draws.below(total)
        for entries in queues:
            if drawn < len(entries):
                return entries[drawn][2]
            drawn -= len(entries)
        raise AssertionError("the counts add up to their sum")

    def _remove(self, request_id: str) -> QueuedRequest:
        request = super()._remove(request_id)
        at, last = self._at.pop(request_id), self._all.pop()
        if last is not request:
            self._all[at] = last
            self._at[last.id] = at
        return request

    def _clear(self) -> None:
        super()._clear()
        self._all.clear()
        self._at.clear()
