"""The bounds of docs/concepts/theory.md on parallel slots: random sizes, estimates up to five times wrong, start-ups,
failed dispatches, weights, and flows that come, go and are eligible or not as they please.

The theorem is about whatever its rules allow, so beside the two policies there is one that picks as unfairly as it may.
"""

from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.fair_level import UNIT, FairLevel
from stoker.policies.queueing.interface import QueueParams, SlotView, Weights
from stoker.policies.queueing.mqfq import Mqfq, Share
from stoker.policies.queueing.mqfq_sticky import MqfqSticky
from stoker.testing.builders import make_request

pytestmark = pytest.mark.property


class Unfair(Mqfq):
    """Serves the one that is furthest ahead among those that rule 2 allows."""

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:
        allowed = [
            share
            for flow in sorted(eligible)
            if (share := self._backlogged.get(flow))
            and share.namespace.floor <= self._namespaces.virtual + overrun
            and share.flow.floor <= share.level.virtual + overrun
        ]
        furthest = max(allowed, key=lambda share: (share.namespace.start, share.flow.start), default=None)
        return furthest or super()._turn(slot, eligible, overrun)


POLICIES: dict[str, Callable[[QueueParams], Mqfq]] = {"mqfq": Mqfq, "mqfq-sticky": MqfqSticky, "unfair": Unfair}
each = pytest.mark.parametrize("name", POLICIES)


class Site:
    """D slots that are never idle, and what settles on them.

    Steady flows are always backlogged and eligible; restless ones are queued for, cancelled and eligible at random.
    """

    def __init__(
        self,
        name: str,
        random: Random,
        *,
        slots: int,
        steady: dict[str, int],
        restless: dict[str, int] | None = None,
        weights: Weights | None = None,
        objectives_us: tuple[int, ...] = (10**9,),
    ) -> None:
        self.policy = POLICIES[name](QueueParams(slots=slots))
        self.weights = weights or Weights()
        self.policy.set_weights(self.weights)
        self.random, self.slots, self.steady = random, slots, steady
        self.restless = restless or {}
        """The longest execution of a flow's requests in microseconds, as in `steady`."""
        self.objectives_us = objectives_us
        self.now_us = 0
        self.requests = 0
        self.exec_us: dict[str, int] = {}
        self.running: list[tuple[int, int, QueuedRequest, int]] = []
        self.settled: list[tuple[int, str, int]] = []
        """Instant, flow and device time of each request that has ended."""
        self.longest_us: Counter[str] = Counter()
        self.overrun_us = 0
        """The largest T so far."""

    def push(self, flow: str) -> None:
        longest_us = self.steady.get(flow) or self.restless[flow]
        exec_us = self.random.randint(max(1, longest_us // 10), longest_us)
        self.requests += 1
        request = make_request(
            f"{self.requests}",
            flow,
            arrival_us=self.now_us,
            objective_us=self.now_us + self.random.choice(self.objectives_us),
            timeout_us=10**15,
            predicted_exec_us=max(1, exec_us * self.random.choice((1, 5, 25)) // 5),
            start_us=self.random.choice((0, exec_us)),
        )
        self.exec_us[request.id] = exec_us
        self.policy.push(request)

    def fill(self) -> None:
        for flow in self.steady:
            while self.policy.queued(flow) < 4:  # more than stir() may cancel
                self.push(flow)

    def stir(self) -> set[str]:
        """Something of the restless flows comes or goes; which of them are eligible now."""
        random = self.random
        self.fill()
        for flow in self.restless:
            if random.random() < 0.3 and self.policy.queued(flow) < 4:
                self.push(flow)
            elif random.random() < 0.05:
                self.policy.cancel(f"{random.randint(1, self.requests)}")
        return {flow for flow in self.restless if random.random() < 0.5}

    def run(self, ends: int, *, steady: AbstractSet[str] | None = None) -> None:
        """Until that many requests have ended; `steady`: those of the steady flows that are eligible, for once."""
        for _ in range(ends):
            while len(self.running) < self.slots:
                self.dispatch(self.stir() | (self.steady.keys() if steady is None else steady))
            self.now_us, _, request, actual_us = heappop(self.running)
            self.policy.done(request, actual_us)
            self.settled.append((self.now_us, request.flow, actual_us))
            for share in (request.flow, request.namespace):
                self.longest_us[share] = max(self.longest_us[share], actual_us)

    def dispatch(self, eligible: set[str]) -> None:
        self.overrun_us = max(self.overrun_us, self.policy.overrun_us())
        warm = {flow for flow in sorted(eligible) if self.random.random() < 0.7}
        slot = SlotView(f"sim-{self.random.randrange(self.slots)}", eligible, warm)
        request = self.policy.pop(slot, self.now_us)
        assert request is not None, "an eligible flow is backlogged"
        if self.random.random() < 0.05:
            self.policy.done(request, 0)
            self.policy.push(request)
            return
        actual_us = self.exec_us[request.id] + (request.start_us if request.flow not in warm else 0)
        heappush(self.running, (self.now_us + actual_us, int(request.id), request, actual_us))

    def weight(self, share: str) -> int:
        return self.weights.flows.get(share, 1) if "/" in share else self.weights.namespaces.get(share, 1)

    def gap(self, one: str, other: str, *, since: int = 0) -> int:
        """The largest |W / w - W' / w'|, times w w', over all intervals after `since` requests had settled."""
        mine, theirs = self.weight(one), self.weight(other)
        lead = least = most = 0
        for _, flow, us in self.settled[since:]:
            shares = (flow, flow.partition("/")[0])
            lead += us * theirs if one in shares else -us * mine if other in shares else 0
            least, most = min(least, lead), max(most, lead)
        return most - least

    def bound(self, one: str, other: str, *, more: int = 0) -> int:
        """2 T + (D + 1 + more) (l / w + l' / w'), times w w', and 1 for tags that are rounded down."""
        mine, theirs = self.weight(one), self.weight(other)
        longest = self.longest_us[one] * theirs + self.longest_us[other] * mine
        return 2 * self.overrun_us * mine * theirs + (self.slots + 1 + more) * longest + 1


SIZES_US = st.sampled_from((10, 100, 1_000, 5_000))
WEIGHTS = st.sampled_from((1, 1, 2, 5))
T_US = st.sampled_from(((0,), (200,), (2_000,), (20_000,), (10**9,), (2_000, 20_000)))
"""The objectives of requests, twice T."""


def sizes(*flows: str) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(dict.fromkeys(flows, SIZES_US))


def weights(*shares: str) -> st.SearchStrategy[Weights]:
    flows = st.fixed_dictionaries({share: WEIGHTS for share in shares if "/" in share})
    return st.builds(Weights, flows, st.fixed_dictionaries({share: WEIGHTS for share in shares if "/" not in share}))


STEADY = ("a/f", "a/g", "b/f", "b/g")
RESTLESS = ("a/h", "c/f", "c/g")
PAIRS = (("a/f", "a/g"), ("b/f", "b/g"), ("a", "b"))
common = given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 6),
    steady=sizes(*STEADY),
    restless=sizes(*RESTLESS),
    weights=weights(*STEADY, *RESTLESS, "a", "b", "c"),
    objectives_us=T_US,
)


@each
@settings(max_examples=25, deadline=None)
@common
def test_two_backlogged_shares_stay_within_the_bound_of_each_other(name: str, seed: int, **site: Any) -> None:
    one = Site(name, Random(seed), **site)
    one.run(100)
    for pair in PAIRS:
        assert one.gap(*pair) <= one.bound(*pair)


@each
@settings(max_examples=8, deadline=None)
@common
def test_a_share_that_could_not_be_served_for_long_catches_up_by_one_request_only(
    name: str, seed: int, **site: Any
) -> None:
    one = Site(name, Random(seed), **site)
    one.run(20)
    one.run(40, steady=set(STEADY) - {"a/f", "b/f", "b/g"})
    since = len(one.settled)
    one.run(60)
    for pair in PAIRS:
        assert one.gap(*pair, since=since) <= one.bound(*pair, more=1)


@each
@settings(max_examples=8, deadline=None)
@common
def test_virtual_time_never_goes_back_and_nobody_is_further_ahead_than_the_lemma_says(
    name: str, seed: int, slots: int, **site: Any
) -> None:
    one = Site(name, Random(seed), slots=slots, **site)
    before: dict[int, tuple[FairLevel, int]] = {}
    for _ in range(60):
        one.run(1)
        namespaces = one.policy._namespaces
        levels = [namespaces, *(member.level for member in namespaces.members.values() if member.level)]
        for level in levels:
            assert level.virtual >= before.get(id(level), (level, 0))[1]
            for key, member in level.members.items():
                most_us = one.overrun_us + (slots + 1) * one.longest_us[key] / member.weight
                assert member.settled <= level.virtual + most_us * UNIT
                assert member.queued or member.running or member.settled > level.virtual
                if key in ("a", "b", *STEADY):
                    assert member.settled >= level.virtual
        before = {id(level): (level, level.virtual) for level in levels}


NAMESPACES = ("split", "x", "y")


@each
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 2**32), slots=st.integers(1, 4), weights=weights(*NAMESPACES), objectives_us=T_US.filter(any)
)
def test_a_function_split_over_fifty_changes_no_other_namespace_beyond_the_bound(
    name: str, seed: int, slots: int, weights: Weights, objectives_us: tuple[int, ...]
) -> None:
    objectives_us = tuple(min(us, 2_000) for us in objectives_us)

    def site(parts: int) -> Site:
        flows = (*(f"split/f{part}" for part in range(parts)), "x/f", "y/f", "y/g")
        steady = dict.fromkeys(flows, 1_000)
        one = Site(name, Random(seed), slots=slots, steady=steady, weights=weights, objectives_us=objectives_us)
        one.run(250)
        return one

    whole, split = site(1), site(50)
    until_us = min(whole.now_us, split.now_us)
    weight = {share: weights.namespaces[share] for share in NAMESPACES}
    longest_us = max(one.longest_us[share] for one in (whole, split) for share in NAMESPACES)
    for share in ("x", "y"):
        served = [
            sum(us for end_us, flow, us in one.settled if flow.startswith(f"{share}/") and end_us <= until_us)
            for one in (whole, split)
        ]
        gaps = sum(
            weight[other] * one.bound(share, other) / (weight[share] * weight[other])
            for one in (whole, split)
            for other in NAMESPACES
            if other != share
        )
        assert abs(served[0] - served[1]) <= (slots * longest_us + gaps) * weight[share] / sum(weight.values())


@settings(max_examples=15, deadline=None)
@common
def test_the_work_ahead_is_that_of_the_schedule_but_for_two_requests_of_each_flow(seed: int, **site: Any) -> None:
    random = Random(seed)
    one = Site("mqfq", random, **site)
    one.run(random.randint(1, 30))
    for flow in one.restless | one.steady:
        for _ in range(random.choice((0, 20))):
            one.push(flow)
    newcomer = make_request(flow=random.choice((*STEADY, *RESTLESS, "c/new", "d/new")), arrival_us=one.now_us)
    ahead_us = one.policy.work_ahead_us(newcomer, {*STEADY, *RESTLESS})
    one.policy.push(newcomer)
    order = one.policy.schedule(one.now_us)
    want_us = sum(request.predicted_exec_us for request in order[: order.index(newcomer)])
    largest_us: Counter[str] = Counter()
    for request in order:
        if request is not newcomer:
            largest_us[request.flow] = max(largest_us[request.flow], request.predicted_exec_us)
    assert abs(ahead_us - want_us) <= 2 * largest_us.total()
