"""Every queueing policy at work in an agent: exchanged live, and woken when it holds requests back."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Final, Gate, function, gpu

from stoker.model.function import Sharing
from stoker.policies.queueing.registry import POLICIES

pytestmark = pytest.mark.unit


def queue_ms(answer: Final) -> float:
    """What the answer says of its wait for a slot."""
    waited = re.search(r"queue;dur=([0-9.]+)", answer.headers["server-timing"])
    assert waited is not None
    return float(waited[1])


@pytest.fixture
async def agent() -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest(gpu(slots=1)).start()
    yield under_test
    await under_test.close()


async def test_policies_are_exchanged_in_a_cycle_through_all_of_them_without_losing_a_request(
    agent: AgentUnderTest,
) -> None:
    agent.apply(function("a"), function("b"))
    gate = Gate()
    for name in ("a", "b"):
        await agent.warm(name, FakeReplica(gate), sharing=Sharing.SHARED)
    cycle = [*POLICIES, *sorted(POLICIES, reverse=True)]
    sent = []
    for number in range(len(cycle) + 3):
        # Some are late already, some have no time to lose, and some could be held back for long.
        objective_ms = (-50, 120, 4_000, 60_000)[number % 4]
        sent.append(await agent.send(f"/{number}", name="ab"[number % 2], objective_ms=objective_ms, timeout_ms=90_000))
    await agent.until(lambda: agent.queued("a") + agent.queued("b") == len(sent) - 1)
    for number, name in enumerate(cycle):
        agent.agent.set_queueing(name)
        gate.let(1)
        # A policy that holds back may leave the slot idle; the next one does not.
        if POLICIES[name]().guarantees.work_conserving:
            await agent.until(lambda served=number: len(gate.waiting) > served)  # type: ignore[misc]
    agent.agent.set_queueing("fcfs")
    gate.let(len(sent))
    answers = await asyncio.gather(*(one.final() for one in sent))
    assert [answer.status for answer in answers] == [200] * len(sent)
    assert [answer.body for answer in answers] == [b"/%d" % number for number in range(len(sent))]
    assert sorted(gate.waiting) == sorted(f"/{number}" for number in range(len(sent)))


async def test_a_request_that_is_held_back_runs_when_it_is_due_though_nothing_else_happens(
    agent: AgentUnderTest,
) -> None:
    agent.apply(function())
    _, server = await agent.warm()
    agent.agent.set_queueing("lazy-slack")
    # 125 ms are predicted for a function that never ran, so the slack is 75 ms: the idle slot waits that long.
    held = await agent.call("/held", objective_ms=250)
    assert held.status == 200
    assert queue_ms(held) >= 70
    assert [request.target for request in server.seen] == ["/held"]


async def test_a_request_that_is_due_soon_overtakes_one_that_is_held_back_for_long(agent: AgentUnderTest) -> None:
    agent.apply(function("a"), function("b"))
    gate = Gate()
    for name in ("a", "b"):
        await agent.warm(name, FakeReplica(gate), sharing=Sharing.SHARED)
    agent.agent.set_queueing("lazy-slack")
    later = await agent.send("/later", name="a", objective_ms=60_000, timeout_ms=90_000)
    await agent.until(lambda: agent.queued("a") == 1)
    sooner = await agent.send("/sooner", name="b", objective_ms=240)
    gate.let(2)
    assert (await sooner.final()).status == 200
    agent.agent.set_queueing("fcfs")
    assert (await later.final()).status == 200
    assert gate.waiting == ["/sooner", "/later"]


async def test_what_was_held_back_runs_at_once_under_a_policy_that_holds_nothing_back(agent: AgentUnderTest) -> None:
    agent.apply(function())
    await agent.warm()
    agent.agent.set_queueing("lazy-slack")
    held = await agent.send(objective_ms=3_600_000, timeout_ms=7_200_000)
    await agent.until(lambda: agent.queued() == 1)
    agent.agent.set_queueing("least-slack")
    assert (await held.final()).status == 200
