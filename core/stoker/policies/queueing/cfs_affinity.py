"""`cfs-affinity`: completely fair scheduling that prefers functions which are resident on the slot's device.

Source: KaaS (N. Pemberton et al., arXiv 2212.08146), `CfsQueue` of its public code, research notes 2.4. Each tenant has
a virtual time that grows by its weight, the expected time of its request, whenever it is served; the least one is
next, and a tenant without affinity to the device counts as 10 weights later, since reloading costs more than a short
imbalance. Requests of one tenant run by arrival.

Ours, where the source has something else or nothing:
- affinity is residence (SlotView.warm); KaaS assigns devices to tenants when they register;
- two levels, namespace over function, each with a virtual time, a penalty and shares (Weights): a function that is
  split gains nothing. A namespace's penalty is that of its first function;
- who comes back from idleness starts at max(its own virtual time, baseV). KaaS takes baseV, and then a tenant with
  one request at a time that asks again before the next pop is always first, and the others starve.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import ClassVar

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.flow_queues import Entry, FlowQueues
from stoker.policies.queueing.flow_ranking import AT_ONCE, NONE, FlowRanking, Head, as_set, parts, walk_of
from stoker.policies.queueing.interface import DEFAULTS, Guarantees, QueueParams, SlotView, Weights
from stoker.policies.queueing.tuning import Constant, Constants
from stoker.policies.queueing.turns import Level

PENALTY = 10
"""Weights of its own by which a tenant counts as later where it is not resident (KaaS)."""
SCALE = 1 << 20
"""Virtual time per microsecond at weight 1 (ours): a charge divided by any weight stays above 0."""
_SPARE = 64
"""Idle namespaces whose functions' virtual times are kept in any case (ours)."""


class CfsAffinity(FlowQueues):
    """See the module. Starvation-free among any fixed set of functions."""

    name: ClassVar[str] = "cfs-affinity"
    guarantees: ClassVar[Guarantees] = Guarantees(
        starvation_free=True, work_conserving=True, weight_respecting=True, order="virtual time, resident ones first"
    )
    constants: ClassVar[Constants] = MappingProxyType(
        {"penalty": Constant(PENALTY, 0, 1_000_000, "weights by which who is not resident counts as later")}
    )

    def __init__(self, params: QueueParams = DEFAULTS) -> None:
        super().__init__(params)
        self._penalty = self._tuned["penalty"]
        self._weights = Weights()
        self._namespaces = Level()
        self._functions: dict[str, Level] = {}
        self._namespace_of: dict[str, str] = {}
        """Of each flow that has something queued."""

    def set_weights(self, weights: Weights) -> None:
        self._weights = Weights(dict(weights.flows), dict(weights.namespaces))

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:  # noqa: ARG002  virtual time is the only one
        flow = self._least(slot)
        if flow is None:
            return None
        request = self._flows[flow].entries[0][2]
        namespace, cost = request.namespace, _cost(request)
        of_flow, of_namespace = self._shares(flow, namespace)
        self._functions[namespace].charge(flow, cost // of_flow)
        self._namespaces.charge(namespace, cost // of_namespace)
        return self._take_head(flow)

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """A fluid estimate: until the request runs, its function's queue does, and the others' meanwhile by share."""
        flows, namespace = as_set(flows), request.namespace
        of_flow, of_namespace = self._shares(request.flow, namespace)
        own_us = self._work_us(request.flow)
        level_us = (own_us + request.predicted_exec_us) // of_flow
        namespace_us = own_us if request.flow in flows else 0
        others_us: dict[str, int] = {}
        for flow in flows:
            theirs = flow.partition("/")[0]
            if theirs != namespace:
                others_us[theirs] = others_us.get(theirs, 0) + self._work_us(flow)
            elif flow != request.flow:
                namespace_us += min(self._work_us(flow), level_us * self._shares(flow, namespace)[0])
        level_us = (namespace_us + request.predicted_exec_us) // of_namespace
        return namespace_us + sum(
            min(us, level_us * self._weights.namespaces.get(name, 1)) for name, us in others_us.items()
        )

    def _least(self, slot: SlotView) -> str | None:
        """The flow that is next: of the first namespace that has one for the slot, its first."""
        eligible, warm = parts(slot)
        resident = self._namespaces.ranking.resident
        if warm is None:
            namespace = self._walk(resident, eligible, NONE)
            if namespace is None:
                return None
            head = self._functions[namespace[2]].ranking.resident.least(eligible)
        else:
            here = self._walk(resident, warm, NONE)
            elsewhere = self._walk(self._namespaces.ranking.absent, eligible, warm)
            namespace = min((head for head in (here, elsewhere) if head is not None), default=None)
            if namespace is None:
                return None
            head = self._functions[namespace[2]].ranking.least(slot)
        assert head is not None, "the namespace was chosen for a flow of it"
        return head[2]

    def _walk(self, order: FlowRanking, among: AbstractSet[str], but: AbstractSet[str]) -> Head | None:
        """The first namespace with a flow in `among` and not in `but`."""
        head, met_all = self._meet(order, among, but, AT_ONCE)
        # As FlowRanking.least over both levels, but a step costs as much as a look-up: what is expected to be shorter.
        if not met_all and (steps := walk_of(len(among), len(self._flows))) > AT_ONCE:
            head, met_all = self._meet(order, among, but, steps)
        if met_all:
            return head
        names = set(map(self._namespace_of.get, among - but if but else among))
        return min((order[name] for name in names if name is not None), default=None)

    def _meet(
        self, order: FlowRanking, among: AbstractSet[str], but: AbstractSet[str], steps: int
    ) -> tuple[Head | None, bool]:
        """The same by looking at so many flows, and whether they were enough to know it."""
        for head in order.heads:
            members = self._functions[head[2]].ranking.resident
            if members.meets(among, but, steps):
                return head, True
            steps -= len(members)
            if steps < 0:
                return None, False
        return None, True

    def _head_changed(self, flow: str, head: Entry | None) -> None:
        namespace = self._namespace_of.get(flow)
        if namespace is None:
            namespace = self._namespace_of[flow] = flow.partition("/")[0]
        level = self._functions.get(namespace)
        if level is None:
            level = self._functions[namespace] = Level()
        of_flow, of_namespace = self._shares(flow, namespace)
        if head is None:
            level.leave(flow)
            del self._namespace_of[flow]
        else:
            level.enter(flow, self._penalty * (_cost(head[2]) // of_flow))
        first = level.first()
        if first is None:
            self._namespaces.leave(namespace)
            if len(self._functions) > 2 * len(self._namespaces) + _SPARE:
                self._functions = {name: level for name, level in self._functions.items() if name in self._namespaces}
        else:
            cost = _cost(self._flows[first].entries[0][2])
            self._namespaces.enter(namespace, self._penalty * (cost // of_namespace))

    def _shares(self, flow: str, namespace: str) -> tuple[int, int]:
        return self._weights.flows.get(flow, 1), self._weights.namespaces.get(namespace, 1)

    def _clear(self) -> None:
        super()._clear()
        self._namespace_of.clear()
        self._namespaces.clear()
        for level in self._functions.values():
            level.clear()


def _cost(request: QueuedRequest) -> int:
    return max(1, request.predicted_exec_us) * SCALE
