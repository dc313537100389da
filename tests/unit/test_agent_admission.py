"""Admission at a live agent: promises, early drop, shedding, the modes and policies of a GpuPolicy."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, function
from msgspec.structs import replace

from stoker.metrics import ADMISSIONS, BROKEN_PROMISES, FINISHES
from stoker.model.function import OnMiss, Priority, Sharing, Variant
from stoker.model.policy import AdmissionMode, Policy, default_policy

pytestmark = pytest.mark.unit

REFUSES = (OnMiss.REFUSE,)


class Counts:
    """A sink that counts."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], float] = {}

    def inc(self, spec: Any, *labels: str, amount: float = 1) -> None:
        key = (spec.name, *labels)
        self.sums[key] = self.sums.get(key, 0) + amount

    def set(self, spec: Any, value: float, *labels: str) -> None: ...
    def observe(self, spec: Any, value: float, *labels: str) -> None: ...
    def forget(self, spec: Any, *labels: str) -> None: ...

    def verdicts(self, name: str = "f") -> dict[str, float]:
        return {key[4]: count for key, count in self.sums.items() if key[0] == ADMISSIONS.name and key[2] == name}

    def broken(self, how: str) -> float:
        return sum(count for key, count in self.sums.items() if key[0] == BROKEN_PROMISES.name and key[4] == how)


@pytest.fixture
async def counts() -> Counts:
    return Counts()


@pytest.fixture
async def agent(counts: Counts) -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest(metrics=counts).start()
    under_test.apply(function(on_predicted_miss=REFUSES))
    yield under_test
    await under_test.close()


def teach(agent: AgentUnderTest, ms: int, key: str = "ns/f") -> None:
    """Its requests take so long, always."""
    for _ in range(70):
        agent.agent.prediction().observe_exec(key, Variant.GPU, "A100-40GB", ms * 1000)
        agent.agent.prediction().observe_finish(key, 99.0, ms * 1000, ms * 1000)


def policy(**changed: Any) -> Policy:
    return replace(default_policy(), **changed)


async def test_an_answer_says_what_was_promised_of_it(agent: AgentUnderTest, counts: Counts) -> None:
    await agent.warm()
    teach(agent, 20)
    answer = await agent.call(late_ok=False)
    words = answer.headers["stoker-promised"].split(", ")
    assert words[0] == "predicted=20.000"
    assert float(words[1].removeprefix("latest=")) > 20
    assert counts.verdicts() == {"Promised": 1}
    assert counts.sums[FINISHES.name, "ns", "f", "gpu", "true"] == 1, "it took less than 20 ms and a margin"


async def test_a_promise_that_no_schedule_guards_says_that_it_is_an_estimate(agent: AgentUnderTest) -> None:
    agent.agent.set_queueing("mqfq-sticky")
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    teach(agent, 20)
    running = await agent.send("/running", late_ok=False)
    await running.dispatched()
    waiting = await agent.send("/waiting", late_ok=False, objective_ms=4000)
    await agent.until(lambda: agent.queued() == 1)
    gate.let(2)
    assert "estimated" not in (await running.final()).headers["stoker-promised"], "its slot was free"
    assert (await waiting.final()).headers["stoker-promised"].endswith(", estimated")


async def test_what_was_promised_with_a_grant_holds_for_the_request_that_follows_it(
    agent: AgentUnderTest, counts: Counts
) -> None:
    await agent.warm()
    teach(agent, 20)
    status, connection = await agent.admit(late_ok=False, request_id="large")
    assert status == 200
    answer = await agent.call(body=b"x" * 70_000, on=connection, late_ok=False, request_id="large")
    assert answer.headers["stoker-promised"].startswith("predicted=20.000, latest=")
    assert counts.verdicts() == {"Promised": 1}


async def test_what_can_no_longer_be_on_time_is_refused_while_it_waits_and_never_runs(
    agent: AgentUnderTest, counts: Counts
) -> None:
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    teach(agent, 20)
    running = await agent.send("/running", late_ok=False)
    await running.dispatched()
    waiting = await agent.send("/waiting", late_ok=False, objective_ms=120)
    refused = await waiting.final()  # the one that runs takes much longer than predicted
    assert (refused.status, refused.problem["reason"], refused.dispatched) == (429, "PredictedMiss", "0")
    assert "no longer" in refused.problem["detail"]
    assert counts.broken("dropped") == 1
    gate.let()
    assert (await running.final()).status == 200
    assert gate.waiting == ["/running"]


async def test_what_its_function_serves_late_is_not_dropped(agent: AgentUnderTest) -> None:
    agent.apply(function(on_predicted_miss=(OnMiss.SERVE_LATE,)))
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    teach(agent, 20)
    running = await agent.send("/running", late_ok=False)
    await running.dispatched()
    waiting = await agent.send("/waiting", late_ok=False, objective_ms=60)
    await agent.until(lambda: agent.queued() == 1)
    assert (await agent.call("/refused", late_ok=False, objective_ms=1)).status == 429
    gate.let(2)
    assert (await running.final()).status == 200
    assert (await waiting.final()).status == 200


async def test_a_batch_request_gives_way_to_a_critical_one(agent: AgentUnderTest, counts: Counts) -> None:
    agent.apply(
        function("batch", on_predicted_miss=REFUSES, priority=Priority.BATCH),
        function("critical", on_predicted_miss=REFUSES, priority=Priority.CRITICAL),
    )
    gate = Gate()
    server = FakeReplica(gate)
    for name in ("batch", "critical"):
        await agent.warm(name, server=server, sharing=Sharing.SHARED)
        teach(agent, 100, f"ns/{name}")
    running = await agent.send("/running", name="batch", late_ok=False)
    await running.dispatched()
    shed = await agent.send("/shed", name="batch", late_ok=False, objective_ms=300)
    await agent.until(lambda: agent.queued("batch") == 1)
    # Behind what runs there is time for one of them.
    critical = await agent.send("/critical", name="critical", late_ok=False, objective_ms=300)
    given_way = await shed.final()
    assert (given_way.status, given_way.problem["reason"]) == (429, "Shed")
    assert counts.broken("shed") == 1
    gate.let(2)
    assert (await running.final()).status == (await critical.final()).status == 200
    assert gate.waiting == ["/running", "/critical"]


async def test_observe_takes_everything_and_counts_what_it_would_have_refused(
    agent: AgentUnderTest, counts: Counts
) -> None:
    agent.agent.set_shares(policy(admission=AdmissionMode.OBSERVE))
    await agent.warm()
    teach(agent, 20)
    answers = [await agent.call(late_ok=False, objective_ms=1), await agent.call(late_ok=False)]
    assert [answer.status for answer in answers] == [200, 200]
    assert not any("stoker-promised" in answer.headers for answer in answers)
    assert counts.verdicts() == {"ObservedPredictedMiss": 1, "Observed": 1}


async def test_without_an_admission_policy_nobody_is_asked_and_late_ones_run(
    agent: AgentUnderTest, counts: Counts
) -> None:
    agent.agent.set_shares(policy(admission_policy="none"))
    gate = Gate()
    await agent.warm(server=FakeReplica(gate))
    teach(agent, 20)
    sent = [await agent.send(late_ok=False, objective_ms=1) for _ in range(3)]
    await agent.until(lambda: agent.queued() == 2)
    gate.let(3)
    assert [(await one.final()).status for one in sent] == [200] * 3
    assert counts.verdicts() == {"Unasked": 3}


async def test_a_function_that_seems_too_slow_for_its_objective_is_tried_now_and_then(
    agent: AgentUnderTest, counts: Counts
) -> None:
    await agent.warm()
    teach(agent, 400)
    tried = await agent.call(late_ok=False)
    assert tried.status == 200
    assert "stoker-promised" not in tried.headers
    refused = await agent.call(late_ok=False)
    assert refused.status == 429
    assert counts.verdicts() == {"Explored": 1, "PredictedMiss": 1}
