"""Further tries at agents come out of a budget, so that trouble is not multiplied; and who is refused is told apart."""

from itertools import pairwise

import pytest
from gateway_fake_agent import GatewayUnderTest, Run, Start, function, serve, starting

from stoker.model.function import OnMiss, QueueBounds
from stoker.reasons import Reason

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

REFUSES = function(on_predicted_miss=(OnMiss.REFUSE,))


def spend(g: GatewayUnderTest, key: str = "ns/f") -> None:
    """All of the retry budget of a function."""
    while g.gateway._states[key].retry_budget.take(g.gateway._clock_us()):
        pass


async def hang_up(run: Run) -> None:
    await run.body()
    run.hang_up()


async def refuse(run: Run) -> None:
    await run.body()
    await run.refuse(Reason.PREDICTED_MISS, retry_after_ms=60)


def tries(g: GatewayUnderTest) -> int:
    return sum(len(agent.runs) for agent in g.agents)


async def test_ten_times_as_many_requests_as_agents_take_are_not_three_times_as_many_tries(start: Start) -> None:
    g = await start(REFUSES, agents=3)
    for agent in g.agents:
        agent.on_run = refuse
    spend(g)  # the hundred that a quiet function has
    client = await g.client()
    for _ in range(60):
        await client.send(b"GET /ns/f/ HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.answer()).status == 429
    assert tries(g) == 66
    figures = g.metrics.values
    assert figures["stoker_retries_total", "ns", "f", "made"] == 6
    assert figures["stoker_retries_total", "ns", "f", "withheld"] > 0


async def test_a_spent_budget_answers_a_refusal_at_once(start: Start) -> None:
    g = await start(REFUSES, agents=3)
    for agent in g.agents:
        agent.on_run = refuse
    spend(g)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "PredictedMiss")
    assert answer.headers["stoker-retry-after-ms"] == "60"
    assert tries(g) == 1
    assert any("retry budget" in step.what for step in (await g.ended()).steps)


async def test_a_spent_budget_ends_a_request_whose_agent_was_lost(start: Start) -> None:
    g = await start()
    g.agent.on_run = hang_up
    spend(g)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert "stoker-retry-after-ms" in answer.headers
    assert tries(g) == 1


async def test_a_spent_budget_of_one_function_is_not_that_of_another(start: Start) -> None:
    g = await start(function("f"), function("other"))
    spend(g)

    async def once(run: Run) -> None:
        await (hang_up if len(g.agent.runs) == 1 else serve)(run)

    g.agent.on_run = once
    assert (await g.call("/ns/other/")).status == 200
    assert tries(g) == 2


async def test_a_diversion_is_no_retry(start: Start) -> None:
    g = await start(function(on_predicted_miss=(OnMiss.SERVE_LATE,)))

    async def strict(run: Run) -> None:
        await (refuse if run.header("stoker-late-ok") == "0" else serve)(run)

    g.agent.on_run = strict
    spend(g)
    assert (await g.call()).status == 200


async def test_those_whom_a_full_queue_refuses_are_told_to_come_when_there_is_room_and_not_all_at_once(
    start: Start,
) -> None:
    g = await start(function(queue=QueueBounds(max_requests=1)))
    await g.warm(exec_ms=200.0, wait_ms=30_000.0)
    await g.until(lambda: g.gateway._states["ns/f"].gpu.warm == 1)

    async def hang(run: Run) -> None:
        await run.gone()

    g.agent.on_run = hang
    waiting = await g.client()
    await waiting.send(b"GET /ns/f/ HTTP/1.1\r\nhost: x\r\n\r\n")
    await g.agent.run_number(1)
    told = [int((await g.call()).headers["stoker-retry-after-ms"]) for _ in range(5)]
    assert 150 <= told[0] <= 200, "one execution, not the whole queue"
    assert all(100 < later - earlier <= 201 for earlier, later in pairwise(told))


async def test_what_can_never_fit_is_refused_at_once_and_far_from_now(start: Start) -> None:
    g = await start(warm=False)
    g.gateway.set_unplaceable({"ns/f": dict.fromkeys(g.functions["ns/f"].variants, "no device has 80 GiB")})
    answers = [await g.call() for _ in range(2)]
    assert [answer.status for answer in answers] == [503, 503]
    assert {answer.headers["stoker-retry-after-ms"] for answer in answers} == {"60000"}
