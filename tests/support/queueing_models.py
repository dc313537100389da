"""Queueing policies whose order depends on what happened, said a second time: plainly, and slowly by looking at all."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Protocol

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import SlotView, Weights


class Held:
    """A queued request and the number of its push."""

    def __init__(self, request: QueuedRequest, number: int) -> None:
        self.request = request
        self.number = number
        self.age = (request.arrival_us, number)


class Model(Protocol):
    """`held` is everything that is queued, in the order of push."""

    def pushed(self, one: Held, held: Sequence[Held]) -> None:
        """`one` was pushed; it is the last of `held`."""

    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        """What a pop must give."""

    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None:
        """`one`, still in `held`, was given."""

    def done(self, request: QueuedRequest, actual_us: int, held: Sequence[Held]) -> None: ...

    def missed(self, request: QueuedRequest) -> None: ...


def absent(slot: SlotView, flow: str) -> bool:
    return slot.warm is not None and flow not in slot.warm


class Plain:
    """A model that learns nothing."""

    def pushed(self, one: Held, held: Sequence[Held]) -> None: ...
    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None: ...
    def done(self, request: QueuedRequest, actual_us: int, held: Sequence[Held]) -> None: ...
    def missed(self, request: QueuedRequest) -> None: ...


class SjfModel(Plain):
    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        def key(one: Held) -> tuple[int, int, int]:
            request = one.request
            start_us = request.start_us if absent(slot, request.flow) else 0
            return (request.predicted_exec_us + start_us, *one.age)

        return min((one for one in held if one.request.flow in slot.eligible), key=key, default=None)


class LazyModel(Plain):
    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        def lazy_start_us(one: Held) -> int:
            return one.request.objective_us - one.request.predicted_exec_us * 14 // 10

        def slack_us(one: Held) -> int:
            start_us = one.request.start_us if absent(slot, one.request.flow) else 0
            return lazy_start_us(one) - start_us - now_us

        heads = {flow: min(of(held, flow), key=lambda one: (lazy_start_us(one), one.age)) for flow in flows(held, slot)}
        ready = [
            one
            for one in heads.values()
            if lazy_start_us(one) - one.request.start_us - one.request.arrival_us <= 20_000 or slack_us(one) <= 1_000
        ]
        return min(ready, key=lambda one: (slack_us(one), one.age), default=None)


class BatchModel(Plain):
    """A batch is a device, a flow, and the instant by which its members had come."""

    def __init__(self) -> None:
        self.batches: dict[str, tuple[str, str, int]] = {}
        self.ended: list[tuple[str, str, int]] = []

    def members(self, batch: tuple[str, str, int], held: Sequence[Held]) -> list[Held]:
        return [one for one in of(held, batch[1]) if one.request.arrival_us <= batch[2]]

    def goes_on(self, slot: SlotView, held: Sequence[Held]) -> tuple[str, str, int] | None:
        mine = [batch for batch in reversed(self.ended) if batch[0] == slot.device_id and batch[1] in slot.eligible]
        return next((batch for batch in mine if self.members(batch, held)), None)

    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        batch = self.goes_on(slot, held)
        # Batches whose slot came free later than that of the one that goes on could not go on themselves.
        at = len(self.ended) - 1 - self.ended[::-1].index(batch) if batch else -1
        self.ended = [other for number, other in enumerate(self.ended) if other[0] != slot.device_id or number <= at]
        candidates = self.members(batch, held) if batch else [one for one in held if one.request.flow in slot.eligible]
        return min(candidates, key=lambda one: one.age, default=None)

    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None:
        batch = self.goes_on(slot, held)
        self.batches[one.request.id] = batch or (slot.device_id, one.request.flow, now_us)
        if batch:
            del self.ended[len(self.ended) - 1 - self.ended[::-1].index(batch)]

    def done(self, request: QueuedRequest, actual_us: int, held: Sequence[Held]) -> None:
        batch = self.batches.pop(request.id)
        if self.members(batch, held):
            self.ended.append(batch)


class PaellaModel(Plain):
    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self.deficits: dict[str, int] = {}

    def pushed(self, one: Held, held: Sequence[Held]) -> None:
        self.deficits.setdefault(one.request.flow, 0)

    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        heads = [min(of(held, flow), key=lambda one: one.age) for flow in flows(held, slot)]
        if not heads:
            return None
        neglected = min(heads, key=lambda one: (-self.deficits[one.request.flow], one.number))
        if self.deficits[neglected.request.flow] >= self.threshold:
            return neglected

        def key(one: Held) -> tuple[int, int]:
            start_us = one.request.start_us if absent(slot, one.request.flow) else 0
            return (one.request.predicted_exec_us + start_us, one.number)

        return min(heads, key=key)

    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None:
        for flow in self.deficits:
            self.deficits[flow] += 1_000_000 // len(self.deficits)
        self.deficits[one.request.flow] -= 1_000_000


class RrcModel(Plain):
    def __init__(self) -> None:
        self.outcomes: dict[str, list[bool]] = {}
        self.threshold = 0
        self.groups: dict[str, int] = {}
        self.running: dict[str, tuple[int, int]] = {}

    def group(self, request: QueuedRequest) -> int:
        outcomes = self.outcomes.get(request.flow, [])
        p = Fraction(str(request.percentile)) / 100
        return int(ceil((p * len(outcomes) - sum(outcomes)) / (1 - p)) > self.threshold)

    def pushed(self, one: Held, held: Sequence[Held]) -> None:
        self.groups[one.request.id] = self.group(one.request)

    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        candidates = (one for one in held if one.request.flow in slot.eligible)
        return min(candidates, key=lambda one: (self.groups[one.request.id], one.age), default=None)

    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None:
        self.running[one.request.id] = (now_us, self.groups[one.request.id])

    def done(self, request: QueuedRequest, actual_us: int, held: Sequence[Held]) -> None:
        began_us, group = self.running.pop(request.id)
        on_time = began_us + actual_us <= request.objective_us
        if actual_us or not on_time:
            self.learn(request, group, on_time=on_time)

    def missed(self, request: QueuedRequest) -> None:
        self.learn(request, self.group(request), on_time=False)

    def learn(self, request: QueuedRequest, group: int, *, on_time: bool) -> None:
        self.outcomes.setdefault(request.flow, []).append(on_time)
        if group == 0:
            self.threshold = self.threshold + 1 if on_time else self.threshold // 2


class Clock:
    def __init__(self) -> None:
        self.virtual = 0
        self.turn = 0


class CfsModel(Plain):
    """`scale` is the policy's own: what it rounds away decides ties."""

    def __init__(self, weights: Weights, penalty: int, scale: int) -> None:
        self.weights = weights
        self.penalty = penalty
        self.scale = scale
        self.clocks: dict[str, Clock] = {}
        """Of flows, and of namespaces by their bare name."""
        self.bases: dict[str, int] = {}
        """Of the functions of a namespace; of all namespaces by the empty name."""
        self.turns = 0

    def clock(self, member: str) -> Clock:
        if member not in self.clocks:
            clock = self.clocks[member] = Clock()
            self.turns += 1
            clock.turn = self.turns
        return self.clocks[member]

    def cost(self, request: QueuedRequest, member: str) -> int:
        weights = self.weights.flows if "/" in member else self.weights.namespaces
        return max(1, request.predicted_exec_us) * self.scale // weights.get(member, 1)

    def pushed(self, one: Held, held: Sequence[Held]) -> None:
        before = [other.request for other in held if other is not one]
        flow, namespace = one.request.flow, one.request.namespace
        for member, level, idle in (
            (flow, namespace, all(request.flow != flow for request in before)),
            (namespace, "", all(request.namespace != namespace for request in before)),
        ):
            clock = self.clock(member)
            if idle:
                clock.virtual = max(clock.virtual, self.bases.get(level, 0))

    def choose(self, slot: SlotView, now_us: int, held: Sequence[Held]) -> Held | None:
        heads = {flow: min(of(held, flow), key=lambda one: one.age).request for flow in {o.request.flow for o in held}}
        able = [flow for flow in heads if flow in slot.eligible]
        if not able:
            return None

        def namespace_key(namespace: str) -> tuple[int, int]:
            clock = self.clocks[namespace]
            mine = [flow for flow in heads if heads[flow].namespace == namespace]
            first = min(mine, key=lambda flow: (self.clocks[flow].virtual, self.clocks[flow].turn))
            away = all(absent(slot, flow) for flow in mine if flow in able)
            return (clock.virtual + away * self.penalty * self.cost(heads[first], namespace), clock.turn)

        def flow_key(flow: str) -> tuple[int, int]:
            clock = self.clocks[flow]
            return (clock.virtual + absent(slot, flow) * self.penalty * self.cost(heads[flow], flow), clock.turn)

        namespace = min({heads[flow].namespace for flow in able}, key=namespace_key)
        flow = min((flow for flow in able if heads[flow].namespace == namespace), key=flow_key)
        return next(one for one in held if one.request is heads[flow])

    def popped(self, one: Held, slot: SlotView, now_us: int, held: Sequence[Held]) -> None:
        flow, namespace = one.request.flow, one.request.namespace
        mine = {other.request.flow for other in held if other.request.namespace == namespace}
        self.bases[namespace] = min(self.clocks[other].virtual for other in mine)
        self.bases[""] = min(self.clocks[other.request.namespace].virtual for other in held)
        for member in (flow, namespace):
            clock = self.clocks[member]
            clock.virtual += self.cost(one.request, member)
            self.turns += 1
            clock.turn = self.turns


def of(held: Sequence[Held], flow: str) -> list[Held]:
    return [one for one in held if one.request.flow == flow]


def flows(held: Sequence[Held], slot: SlotView) -> list[str]:
    return sorted({one.request.flow for one in held if one.request.flow in slot.eligible})
