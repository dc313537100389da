"""Policies whose order depends on what was served, missed or held back, against models that look at everything."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing_models import (
    BatchModel,
    CfsModel,
    Held,
    LazyModel,
    Model,
    PaellaModel,
    RrcModel,
    SjfModel,
)

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.cfs_affinity import PENALTY, SCALE
from stoker.policies.queueing.interface import QueueParams, SlotView, Weights
from stoker.policies.queueing.paella_srpt import UNIT
from stoker.policies.queueing.registry import POLICIES
from stoker.testing.builders import MS, make_request

pytestmark = pytest.mark.property

FLOWS = ("default/a", "default/b", "default/b:cpu", "team/c", "team/d")
STARTS_US = dict(zip(FLOWS, (0, 0, 30 * MS, 0, 55 * MS), strict=True))
WEIGHTS = Weights({"default/a": 3, "team/d": 2}, {"team": 2})
DEFICITS = 2
"""A threshold that a few pops reach."""
TUNING = {"paella-srpt": {"threshold": DEFICITS}}

MODELS: dict[str, Callable[[], Model]] = {
    "batch": BatchModel,
    "cfs-affinity": lambda: CfsModel(WEIGHTS, PENALTY, SCALE),
    "lazy-slack": LazyModel,
    "paella-srpt": lambda: PaellaModel(DEFICITS * UNIT),
    "rrc": RrcModel,
    "sjf": SjfModel,
}


class Run:
    """A policy and its model through one random life. Steps are drawn from `random` alone."""

    def __init__(self, name: str, random: Random) -> None:
        self.policy = POLICIES[name](QueueParams(tuning=TUNING.get(name, {})))
        self.policy.set_weights(WEIGHTS)
        self.model = MODELS[name]()
        self.random = random
        self.held: list[Held] = []
        self.running: list[QueuedRequest] = []
        self.pushes = 0
        self.now_us = 0

    def push(self, request: QueuedRequest | None = None) -> None:
        self.pushes += 1
        one = Held(request or self.request(), self.pushes)
        self.policy.push(one.request)
        self.held.append(one)
        self.model.pushed(one, self.held)

    def request(self) -> QueuedRequest:
        random, exec_us = self.random, self.random.choice((1, 5, 20, 50)) * MS
        flow = random.choice(FLOWS)
        slack_us = random.choice((-1, 0, 5, 20, 21, 40, 90)) * MS
        return make_request(
            f"{self.pushes}",
            flow,
            arrival_us=self.now_us,
            objective_us=self.now_us + exec_us * 14 // 10 + slack_us,
            timeout_us=self.now_us + random.randrange(100, 400) * MS,
            predicted_exec_us=exec_us,
            start_us=STARTS_US[flow],
            percentile=random.choice((50.0, 99.0)),
        )

    def pop(self) -> None:
        random = self.random
        eligible = set(random.sample(FLOWS, random.choice((1, 3, 5, 5))))
        warm = random.choice((None, set(random.sample(sorted(eligible), random.randint(0, len(eligible))))))
        slot = SlotView(random.choice(("sim-0", "sim-1")), eligible, warm)
        want = self.model.choose(slot, self.now_us, self.held)
        got = self.policy.pop(slot, self.now_us)
        assert got is (None if want is None else want.request)
        if want is not None:
            self.model.popped(want, slot, self.now_us, self.held)
            self.held.remove(want)
            self.running.append(want.request)

    def end(self) -> None:
        if self.running:
            request = self.running.pop(self.random.randrange(len(self.running)))
            actual_us = self.random.choice((0, 5, 50)) * MS
            self.policy.done(request, actual_us)
            self.model.done(request, actual_us, self.held)
            if actual_us == 0:
                self.push(request)

    def cancel(self) -> None:
        if self.held:
            one = self.random.choice(self.held)
            assert self.policy.cancel(one.request.id) is one.request
            self.held.remove(one)
            if self.random.random() < 0.5:
                self.policy.missed(one.request)
                self.model.missed(one.request)

    def expire(self) -> None:
        for request in self.policy.drop_expired(self.now_us):
            self.held = [one for one in self.held if one.request is not request]
            self.model.missed(request)

    def wait(self) -> None:
        self.now_us += self.random.choice((1, 7, 30)) * MS


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_policy_gives_what_its_model_chooses_whatever_happens(name: str, seed: int) -> None:
    random = Random(seed)
    run = Run(name, random)
    steps = (run.push, run.push, run.push, run.pop, run.pop, run.end, run.end, run.wait, run.cancel, run.expire)
    for step in random.choices(steps, (5, 5, 5, 5, 5, 4, 4, 2, 1, 1), k=70):
        step()
    assert run.policy.queued() == len(run.held)
