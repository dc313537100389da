"""Agents come, go and move while requests run: none is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gateway_fake_agent import FakeAgent, GatewayUnderTest, Run, Start, serve, starting

from stoker.model.function import Variant
from stoker_gateway.config import AgentAddress

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)


def addresses(*agents: FakeAgent) -> list[AgentAddress]:
    return [AgentAddress("127.0.0.1", agent.port) for agent in agents]


@pytest.fixture
async def second() -> AsyncIterator[FakeAgent]:
    agent = FakeAgent()
    agent.functions = {}
    await agent.start()
    yield agent
    await agent.close()


async def warm_at(g: GatewayUnderTest, agent: FakeAgent, total: int) -> None:
    agent.load("ns/f", warm=1, free=1)
    await g.until(lambda: g.gateway._view.warm("ns/f", Variant.GPU) == total)


async def test_a_new_agent_gets_requests_that_were_held(start: Start, second: FakeAgent) -> None:
    g = await start(warm=False)
    calling = asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 1)
    g.gateway.set_agents(addresses(g.agent, second))
    await warm_at(g, second, 1)
    assert (await calling).status == 200
    assert len(second.runs) == 1
    assert g.gateway.settled


async def test_what_runs_at_an_agent_that_goes_ends_there(start: Start, second: FakeAgent) -> None:
    g = await start()
    running, finish = asyncio.Event(), asyncio.Event()

    async def slow(run: Run) -> None:
        await run.body()
        await run.processing()
        running.set()
        await finish.wait()
        await run.answer(b"from the old one")

    g.agent.on_run = slow
    calling = asyncio.create_task(g.call())
    await running.wait()
    link = g.gateway._view._links[0]
    g.gateway.set_agents(addresses(second))
    assert g.gateway._view.warm("ns/f", Variant.GPU) == 0
    await warm_at(g, second, 1)
    assert (await g.call(body=b"new")).body == b"new"
    assert len(second.runs) == 1
    finish.set()
    assert (await calling).body == b"from the old one"
    await g.until(lambda: link.pool.open == 0)
    g.gateway.set_agents(addresses(second))
    assert not g.gateway._view._retired


async def test_a_request_on_its_way_to_an_agent_that_goes_is_held_and_goes_elsewhere(
    start: Start, second: FakeAgent
) -> None:
    g = await start()

    async def gone(run: Run) -> None:
        # It left the list while this request was queued there, and ends.
        g.gateway.set_agents(addresses(second))
        await run.body()
        run.hang_up()

    g.agent.on_run = gone
    calling = asyncio.create_task(g.call(method="POST", body=b"kept"))
    await g.agent.run_number(1)
    await warm_at(g, second, 1)
    answer = await calling
    assert (answer.status, answer.body) == (200, b"kept")


async def test_an_agent_that_stays_keeps_its_stream_and_connections(start: Start, second: FakeAgent) -> None:
    g = await start()
    await g.call()
    link = g.gateway._view._links[0]
    g.gateway.set_agents(addresses(second, g.agent))
    g.gateway.set_agents(addresses(g.agent))
    assert g.gateway._view._links == [link]
    assert (await g.call()).status == 200
    assert len(g.agent._streams) == 1


async def test_agents_that_go_and_come_in_between_are_served_again(start: Start) -> None:
    g = await start()
    g.gateway.set_agents([])
    calling = asyncio.create_task(g.call())
    await g.until(lambda: len(g.gateway._live) == 1)
    g.gateway.set_agents(addresses(g.agent))
    assert (await calling).status == 200


async def test_without_any_agent_for_long_requests_are_told_so(start: Start) -> None:
    g = await start(control_plane_grace_s=0.01)
    g.agent.on_run = serve
    g.gateway.set_agents([])
    await asyncio.sleep(0.02)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert g.gateway.settled


async def test_stopping_hangs_up_on_agents_that_went_too(start: Start, second: FakeAgent) -> None:
    g = await start()
    hanging = asyncio.Event()

    async def never(run: Run) -> None:
        await run.processing()
        hanging.set()
        await run.gone()

    g.agent.on_run = never
    calling = asyncio.create_task(g.call())
    await hanging.wait()
    g.gateway.set_agents(addresses(second))
    await g.gateway.stop(drain_s=0.01)
    assert (await calling).status == 503
