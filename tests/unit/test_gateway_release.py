"""How many held requests which agent gets while replicas start on several: none should queue beside an idle one."""

import asyncio

import pytest
from gateway_fake_agent import FakeAgent, GatewayUnderTest, Run, Start, starting

from stoker.model.function import Variant

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)


def until_told(agent: FakeAgent, told: asyncio.Event) -> None:
    """Its replica takes its time for every request."""

    async def serve(run: Run) -> None:
        await run.body()
        await run.processing()
        await told.wait()
        await run.answer()

    agent.on_run = serve


async def held(g: GatewayUnderTest, count: int) -> list[asyncio.Task[object]]:
    calls: list[asyncio.Task[object]] = [asyncio.create_task(g.call()) for _ in range(count)]
    await g.until(lambda: len(g.gateway._live) == count)
    return calls


async def starting_on_both(start: Start) -> tuple[GatewayUnderTest, FakeAgent, FakeAgent, asyncio.Event]:
    g = await start(warm=False, agents=2)
    told = asyncio.Event()
    first, second = g.agents
    for agent in (first, second):
        until_told(agent, told)
        agent.load("ns/f", starting=1)
    await g.until(lambda: g.gateway._view.forecasts("ns/f").get(Variant.GPU) is not None)
    return g, first, second, told


async def test_held_requests_wait_for_the_second_node_rather_than_behind_one_another(start: Start) -> None:
    g, first, second, told = await starting_on_both(start)
    calls = await held(g, 4)
    first.load("ns/f", warm=1, free=1)
    await g.until(lambda: len(first.runs) == 1)
    first.load("ns/f", warm=1, free=0, running=1)
    await asyncio.sleep(0.05)
    assert len(first.runs) == 1, "the others may be sooner elsewhere"
    second.load("ns/f", warm=1, free=1)
    await g.until(lambda: len(first.runs) + len(second.runs) == 4)
    assert len(second.runs) >= 1
    told.set()
    await asyncio.gather(*calls)


async def test_short_requests_are_released_ahead_so_that_no_replica_idles_between_two_frames(start: Start) -> None:
    g, first, _, told = await starting_on_both(start)
    calls = await held(g, 30)
    first.load("ns/f", warm=1, free=1, exec_ms=50.0, samples=3)
    await g.until(lambda: len(first.runs) == 11)  # what is free, and half a second's work
    await asyncio.sleep(0.05)
    assert len(first.runs) == 11
    first.load("ns/f", warm=1, free=0, running=1, queued=4, exec_ms=50.0, samples=3)
    await g.until(lambda: len(first.runs) == 17)
    g.agents[1].load("ns/f")
    await g.until(lambda: len(first.runs) == 30)
    told.set()
    await asyncio.gather(*calls)


async def test_a_burst_between_two_frames_is_spread_over_agents(start: Start) -> None:
    g = await start(warm=False, agents=2)
    told = asyncio.Event()
    for agent in g.agents:
        until_told(agent, told)
        agent.load("ns/f", warm=1, free=1, exec_ms=100.0, samples=5)
    await g.until(lambda: g.gateway._view.warm("ns/f", Variant.GPU) == 2)
    calls = await held(g, 8)
    await g.until(lambda: sum(len(agent.runs) for agent in g.agents) == 8)
    assert [len(agent.runs) for agent in g.agents] == [4, 4]
    told.set()
    await asyncio.gather(*calls)
