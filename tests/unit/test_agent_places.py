"""An agent reserves places for requests that it refuses, and takes each that comes back for its place, once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Final, Gate, clock_us, function, gpu

from stoker.wire.agent import H_TICKET, WANT_PLACE

pytestmark = pytest.mark.unit

LONG_MS = 20_000


class Clock:
    """The clock of the agent, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return clock_us() + self.ahead_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def agent(clock: Clock) -> AsyncIterator[AgentUnderTest]:
    agent = await AgentUnderTest(gpu("sim-0"), gpu("sim-1"), clock_us=clock).start()
    yield agent
    await agent.close()


async def busy(agent: AgentUnderTest) -> Gate:
    """One slot that is taken; a request takes some ten milliseconds, by what was measured."""
    gate = Gate()
    agent.apply(function("f"), function("g"))
    await agent.warm("f", FakeReplica(gate))
    for _ in range(3):
        gate.let()
        await agent.call()
    agent.agent._predictions._profiles.clear()
    agent.agent._predictions.observe_exec("ns/f", agent.agent._table.flows["ns/f"].variant, "A100-40GB", 10_000)
    await agent.send()
    await agent.until(lambda: len(gate.waiting) == 4)
    return gate


async def refused(agent: AgentUnderTest, said: str | None = WANT_PLACE, **options: Any) -> Final:
    """A request that cannot be on time: its objective is nearer than the end of the run under way."""
    extra = {} if said is None else {H_TICKET: said}
    final = await agent.call(late_ok=False, objective_ms=10.2, extra=extra, **options)
    assert final.status == 429
    return final


async def test_a_refusal_comes_with_a_place_if_one_is_wanted(agent: AgentUnderTest) -> None:
    await busy(agent)
    assert "ticket" not in (await refused(agent, None)).problem
    problem = (await refused(agent)).problem
    assert problem["ticket"]
    assert problem["retryAfterMs"] >= 50
    assert 900 < problem["ticketWindowMs"] <= 1000


async def test_two_who_are_refused_at_once_get_different_places(agent: AgentUnderTest) -> None:
    await busy(agent)
    first, second = [(await refused(agent)).problem for _ in range(2)]
    assert first["ticket"] != second["ticket"]
    assert second["retryAfterMs"] > first["retryAfterMs"] + 10


async def test_who_comes_back_for_a_place_is_taken_once(agent: AgentUnderTest) -> None:
    gate = await busy(agent)
    problem = (await refused(agent)).problem
    await asyncio.sleep(problem["retryAfterMs"] / 1000)
    sent = await agent.send("/back", late_ok=False, objective_ms=10.2, extra={H_TICKET: problem["ticket"]})
    await agent.until(lambda: agent.queued() == 1)
    again = await refused(agent, problem["ticket"])
    assert again.problem["redemption"] == "used"
    gate.let(2)
    head = await sent.next_head()
    assert (head.status, head.get(H_TICKET.encode())) == (102, b"honoured")
    assert (await sent.final()).status == 200


async def test_a_grant_says_what_came_of_the_place(agent: AgentUnderTest) -> None:
    gate = await busy(agent)
    problem = (await refused(agent)).problem
    await asyncio.sleep(problem["retryAfterMs"] / 1000)
    status, connection = await agent.admit(
        late_ok=False, objective_ms=10.2, request_id="back", extra={H_TICKET: problem["ticket"]}
    )
    assert status == 200
    sent = await agent.send("/back", b"x", on=connection, late_ok=False, objective_ms=10.2, request_id="back")
    gate.let(2)
    assert (await sent.final()).status == 200


async def test_who_comes_too_early_is_told_the_same_place_again(agent: AgentUnderTest) -> None:
    await busy(agent)
    await refused(agent)
    problem = (await refused(agent)).problem
    early = (await refused(agent, problem["ticket"])).problem
    assert (early["redemption"], early["ticket"]) == ("early", problem["ticket"])
    assert early["retryAfterMs"] <= problem["retryAfterMs"]


async def test_a_place_of_another_function_or_of_nobody_is_not_known(agent: AgentUnderTest) -> None:
    await busy(agent)
    await agent.warm("g", device="sim-1")
    problem = (await refused(agent)).problem
    await asyncio.sleep(problem["retryAfterMs"] / 1000)
    sent = await agent.send(name="g", late_ok=False, extra={H_TICKET: problem["ticket"]})
    assert (await sent.next_head()).get(H_TICKET.encode()) == b"unknown"
    for said in ("nobody", problem["ticket"][:-1], "x" * 300):
        assert (await refused(agent, said)).problem["redemption"] == "unknown"


async def test_a_place_that_comes_after_its_window_is_void(agent: AgentUnderTest, clock: Clock) -> None:
    await busy(agent)
    problem = (await refused(agent)).problem
    clock.ahead_us = (problem["retryAfterMs"] + problem["ticketWindowMs"] + 2) * 1000
    assert (await refused(agent, problem["ticket"])).problem["redemption"] in ("late", "unknown")
