"""How many replicas of a pair its objective needs, as far as its demand is known: rates, model of queueing, stabilised.

The count is the model's (stoker.sizing.queueing_model) at a high percentile of the rate, held steady
(stoker.sizing.steady). A backlog, such as a slow start leaves behind, adds one replica to it and never more: the count
is what the rate needs, and what a backlog would need would stand idle soon (fission#2452: 88 pods, one warm function).
While a history is young there is no rate yet: then the count is what the requests that are here need to end within the
objective. None is said of a variant whose execution times are not known; it is scaled by its concurrency.

Level-triggered: all state is in FunctionMemory.sizing, and a new leader begins with the replicas that it finds, so that
none goes before DOWN_US of looks have said that it is not needed. It says what is wanted, not what may be had.
"""

from math import ceil

from msgspec import Struct
from msgspec.structs import replace

from stoker.control.draft import Draft
from stoker.control.planning import Pair, Sizing
from stoker.model.demand import new_arrivals
from stoker.model.function import Function
from stoker.model.policy import ScalingPolicy
from stoker.sizing import arrival_rate, steady
from stoker.sizing.arrival_rate import BUCKET_US, GROUP, ArrivalRates
from stoker.sizing.queueing_model import replicas_needed
from stoker.sizing.service_time import ServiceTime, smoothed

MIN_SAMPLES = 10
"""Runs that a variant's execution times count as known from (ours)."""
SURGE = 3
"""Buckets that a surge must last to count, whatever a start-up takes (ours)."""
BACKLOG_CHANCE = 1.5
"""A backlog is evidence of its own: beside one, a recent rate is believed by fewer standard deviations (ours)."""


class _Queue(Struct, frozen=True, kw_only=True):
    """What of a function the model asks for."""

    service: ServiceTime
    objective_us: int
    percentile: float
    concurrency: int
    most: int

    def needed(self, per_s: float) -> int:
        return replicas_needed(per_s, self.service, self.objective_us, self.percentile, self.concurrency, self.most)

    def clearing(self, load: int) -> int:
        """Replicas that end `load` requests within the objective; no more than these can occupy."""
        servers = load * self.service.mean_us / self.objective_us
        return min(ceil(servers / self.concurrency), -(-load // self.concurrency))

    def outlasts(self, per_s: float, load: int, replicas: int, us: float) -> bool:
        """Whether a backlog is left when so many replicas have worked on it, and on what comes, for `us`."""
        offered = per_s * self.service.mean_us / 1e6
        idle = replicas * self.concurrency - offered
        return (load - offered) * self.service.mean_us > max(0.0, idle) * us


def learn(draft: Draft, function: Function) -> None:
    """Fold what is observed of the function into its memory; once in a plan."""
    memory = draft.memory[function.key]
    if draft.params.scaling is not ScalingPolicy.SLO:
        if memory.sizing:
            draft.memory[function.key] = replace(memory, sizing={})
        return
    sizing = {}
    for variant in function.variants:
        found = _learn(draft, function, (function.key, variant), memory.sizing.get(variant))
        if found is not None:
            sizing[variant] = found
    if sizing != memory.sizing:
        draft.memory[function.key] = replace(memory, sizing=sizing)


def sized(draft: Draft, pair: Pair, load: int) -> int | None:
    """Replicas that are wanted while `load` requests are in the system or were lately; None: not known."""
    sizing = draft.memory[pair[0]].sizing.get(pair[1])
    if sizing is None or sizing.steady is None:
        return None
    count = steady.wanted(sizing.steady, draft.now_us)
    return max(count, 1) if load else count


def _learn(draft: Draft, function: Function, pair: Pair, before: Sizing | None) -> Sizing | None:
    load, now_us = draft.whole_load(pair), draft.now_us
    if not load and not draft.fleet.all_of(pair):
        # It sleeps: what comes after says more than what was before.
        return None
    rates = _count_in(draft, pair, None if before is None else before.rates)
    held = None if before is None else before.steady
    seen = draft.observed.service.get(pair[0], {}).get(pair[1])
    if seen is None or seen.samples < MIN_SAMPLES:
        if held is not None and -(-load // function.concurrency_of(pair[1])) > held.count:
            held = steady.surge(held, held.count + 1, now_us)
        return Sizing(rates=rates, service=None if before is None else before.service, steady=held)
    looks = before is None or before.rates.bucket_us != rates.bucket_us
    service = seen
    if before is None:
        live = len(draft.fleet.live(pair))
        held = steady.Steady(count=live) if live else None
    elif before.service is not None:
        service = smoothed(before.service, seen) if looks else before.service
    queue = _Queue(
        service=service,
        objective_us=max(1, function.spec.slo.latency_us),
        percentile=function.spec.slo.percentile,
        concurrency=function.concurrency_of(pair[1]),
        most=function.max_replicas_of(pair[1]),
    )
    # What is over before a replica could be warm needs none: a surge has to last for a part of that.
    least = max(1, min(SURGE, draft.start_us(pair) // 2 // BUCKET_US))
    if held is None or looks:
        recent = max(arrival_rate.recent_per_s(rates, buckets) for buckets in (least, SURGE, GROUP))
        per_s = max(arrival_rate.peak_per_s(rates), recent)
        held = steady.settle(held, queue.needed(per_s), queue.needed(per_s * steady.MARGIN), now_us)
    window_us = max(BUCKET_US, min(queue.objective_us, SURGE * BUCKET_US))
    if now_us - rates.began_us < window_us:
        # No rate yet. What is here came within one objective, so that what it needs in one is no more than its rate.
        came, _ = arrival_rate.recent(rates, SURGE)
        here = min(queue.clearing(load), queue.needed(came / (window_us / 1e6)))
        return Sizing(rates=rates, service=service, steady=replace(held, count=here) if here > held.count else held)
    if load > held.count * queue.concurrency:
        windows = range(least, GROUP + 1)
        per_s = max(arrival_rate.recent_per_s(rates, buckets, BACKLOG_CHANCE) for buckets in windows)
        if queue.outlasts(per_s, load, held.count, queue.objective_us + draft.start_us(pair)):
            # It would still be there when one more replica is warm.
            held = steady.surge(held, max(held.count, queue.needed(per_s)) + 1, now_us)
    return Sizing(rates=rates, service=service, steady=held)


def _count_in(draft: Draft, pair: Pair, before: ArrivalRates | None) -> ArrivalRates:
    """The history up to now. Of a variant that the gateways say nothing about, nothing came."""
    demand = draft.observed.demand.get(pair[0], {}).get(pair[1])
    if before is None:
        load = draft.whole_load(pair)
        told = 0 if demand is None else demand.arrivals
        return arrival_rate.begin(told, new_arrivals(None, told, load), draft.now_us)
    if demand is None:
        return arrival_rate.learn(before, before.told, 0, draft.now_us)
    arrived = new_arrivals(before.told, demand.arrivals, demand.in_system)
    return arrival_rate.learn(before, demand.arrivals, arrived, draft.now_us)
