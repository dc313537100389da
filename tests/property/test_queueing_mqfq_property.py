"""The bounds of docs/concepts/theory.md on parallel slots: random sizes, estimates up to five times wrong, start-ups,
failed dispatches, weights, and flows that come, go and are eligible or not as they please.

The theorem is about whatever its rules allow, so beside the policies there is one that picks as unfairly as it may.
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
from msgspec.structs import replace

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.fair_level import UNIT, FairLevel
from stoker.policies.queueing.interface import QueueParams, SlotView, Weights
from stoker.policies.queueing.lean_slack import LeanSlack
from stoker.policies.queueing.mqfq import Mqfq, Share
from stoker.policies.queueing.mqfq_sticky import MqfqSticky
from stoker.testing.builders import make_request

pytestmark = pytest.mark.property


class Unfair(Mqfq):
    """Serves the one that is furthest ahead among those that rule 2 allows."""

    def _turn(self, slot: SlotView, eligible: AbstractSet[str], overrun: int) -> Share | None:
        now_us, allowed = self._now_us, []
        for flow in sorted(eligible):
            share = self._backlogged.get(flow)
            if share and share.namespace.accrued(now_us) <= self._namespaces.virtual + overrun:
                share.level.advance(now_us)
                if share.flow.accrued(now_us) <= share.level.virtual + overrun:
                    allowed.append(share)
        furthest = max(allowed, key=lambda share: (share.namespace.start, share.flow.start), default=None)
        return furthest or super()._turn(slot, eligible, overrun)


def lean_slack(params: QueueParams) -> Mqfq:
    """With a short window; no slot may stay idle here."""
    return LeanSlack(replace(params, tuning={"windowUs": 10, "holdPercent": 0}))


POLICIES: dict[str, Callable[[QueueParams], Mqfq]] = {
    "mqfq": Mqfq,
    "mqfq-sticky": MqfqSticky,
    "lean-slack": lean_slack,
    "unfair": Unfair,
}
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
        errors: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.policy = POLICIES[name](QueueParams(slots=slots))
        self.weights = weights or Weights()
        self.policy.set_weights(self.weights)
        self.random, self.slots, self.steady = random, slots, steady
        self.restless = restless or {}
        """The longest execution of a flow's requests in microseconds, as in `steady`."""
        self.objectives_us = objectives_us
        self.errors = errors or {}
        """What is predicted for a flow's requests, in fifths of what they take."""
        self.now_us = 0
        self.requests = 0
        self.exec_us: dict[str, int] = {}
        self.running: list[tuple[int, int, QueuedRequest, int]] = []
        self.spans: list[tuple[str, int, int]] = []
        """Flow, dispatch and end of each request, running ones included."""
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
            predicted_exec_us=max(1, exec_us * self.random.choice(self.errors.get(flow, (1, 5, 25))) // 5),
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

    def dispatch(self, eligible: set[str]) -> None:
        self.overrun_us = max(self.overrun_us, self.policy.overrun_us)
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
        self.spans.append((request.flow, self.now_us, self.now_us + actual_us))
        for share in (request.flow, request.namespace):
            self.longest_us[share] = max(self.longest_us[share], actual_us)

    def weight(self, share: str) -> int:
        return self.weights.flows.get(share, 1) if "/" in share else self.weights.namespaces.get(share, 1)

    def gap(self, one: str, other: str, *, settled: bool, since_us: int = 0) -> int:
        """The largest |W / w - W' / w'|, times w w', over all intervals from an instant on.

        W is the device time that was used, or, where `settled`, that of the requests that ended.
        """
        steps: list[tuple[int, int, int]] = []
        for flow, begin_us, end_us in self.spans:
            shares = (flow, flow.partition("/")[0])
            sign = self.weight(other) if one in shares else -self.weight(one) if other in shares else 0
            if settled and since_us < end_us <= self.now_us:
                steps.append((end_us, 0, sign * (end_us - begin_us)))
            elif not settled and end_us > since_us and begin_us < self.now_us:
                steps += [(max(begin_us, since_us), sign, 0), (min(end_us, self.now_us), -sign, 0)]
        lead = least = most = slope = last_us = 0
        for at_us, turn, jump in sorted(steps):
            lead += slope * (at_us - last_us) + jump
            least, most, slope, last_us = min(least, lead), max(most, lead), slope + turn, at_us
        return most - least

    def bound(self, one: str, other: str, requests: int) -> int:
        """2 T and so many of the longest requests of each, times w w', and 1 for tags that are rounded down."""
        mine, theirs = self.weight(one), self.weight(other)
        longest = self.longest_us[one] * theirs + self.longest_us[other] * mine
        return 2 * self.overrun_us * mine * theirs + requests * longest + 1


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
    errors=st.fixed_dictionaries(dict.fromkeys(STEADY, st.sampled_from(((1, 5, 25), (25,), (1,))))),
)


@each
@settings(max_examples=16, deadline=None)
@common
def test_two_backlogged_shares_stay_within_the_bound_of_each_other(name: str, seed: int, **site: Any) -> None:
    one = Site(name, Random(seed), **site)
    one.run(90)
    for pair in PAIRS:
        assert one.gap(*pair, settled=False) <= one.bound(*pair, one.slots + 1)
        assert one.gap(*pair, settled=True) <= one.bound(*pair, 2 * one.slots)


@each
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), slots=st.integers(2, 6), objectives_us=T_US)
def test_flows_that_are_always_predicted_wrong_get_no_other_share_in_the_long_run(
    name: str, seed: int, slots: int, objectives_us: tuple[int, ...]
) -> None:
    steady = dict.fromkeys(("a/f", "a/g"), 100)
    errors: dict[str, tuple[int, ...]] = {"a/f": (25,), "a/g": (1,)}
    one = Site(name, Random(seed), slots=slots, steady=steady, objectives_us=objectives_us, errors=errors)
    one.run(300)
    assert one.gap("a/f", "a/g", settled=False) <= one.bound("a/f", "a/g", slots + 1)


@each
@settings(max_examples=8, deadline=None)
@common
def test_a_share_that_could_not_be_served_for_long_catches_up_by_one_request_only(
    name: str, seed: int, **site: Any
) -> None:
    one = Site(name, Random(seed), **site)
    one.run(20)
    one.run(40, steady=set(STEADY) - {"a/f", "b/f", "b/g"})
    since_us = one.now_us
    one.run(60)
    for pair in PAIRS:
        assert one.gap(*pair, settled=False, since_us=since_us) <= one.bound(*pair, one.slots + 1)


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
                accrued, longest = member.accrued(one.now_us), one.longest_us[key] * UNIT / member.weight
                assert accrued <= level.virtual + one.overrun_us * UNIT + slots * longest
                assert member.queued or member.running or member.settled > level.virtual
                if key in ("a", "b", *STEADY):
                    assert accrued >= level.virtual - longest - UNIT  # tags are rounded down
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
    for share in ("x", "y"):
        used_us = [
            sum(
                min(end_us, until_us) - begin_us
                for flow, begin_us, end_us in one.spans
                if flow.startswith(f"{share}/") and begin_us < until_us
            )
            for one in (whole, split)
        ]
        gaps = sum(
            weight[other] * one.bound(share, other, slots + 1) / (weight[share] * weight[other])
            for one in (whole, split)
            for other in NAMESPACES
            if other != share
        )
        assert abs(used_us[0] - used_us[1]) <= gaps * weight[share] / sum(weight.values())


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
