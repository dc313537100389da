"""A gateway refuses on the word of agents, without asking them again, and only those that the word speaks for."""

import asyncio
from typing import Any

import pytest
from gateway_fake_agent import GatewayUnderTest, Run, Start, clock_us, function, serve, starting

from stoker.explanation import explain
from stoker.model.function import OnMiss, Slo, Variant
from stoker.reasons import Reason
from stoker.tickets import Ticket, TicketKeys, agent_mark, seal

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

LONG_US = 60_000_000
KEYS = TicketKeys(b"k" * 32)
REFUSES = function(on_predicted_miss=(OnMiss.REFUSE,))
CLASSES = Slo(latency_us=250_000, classes={"patient": 900_000})


@pytest.fixture(autouse=True)
def words_that_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits on a clock: a word counts for a minute."""
    monkeypatch.setattr("stoker.closed_book.CLOSED_MAX_US", LONG_US)


async def closed(
    start: Start, *functions: Any, closed_us: int = LONG_US, exec_ms: float = 5.0, **said: Any
) -> GatewayUnderTest:
    """Every agent has refused one request, and `said` for how long it refuses others, and when there is room."""
    g = await start(*(functions or (REFUSES,)))
    await g.warm(free=0, wait_ms=700.0, exec_ms=exec_ms)

    async def refuse(run: Run) -> None:
        await run.body()
        more: dict[str, Any] = {"retry_after_ms": 1_234, "room_us": 1_234_000, "predicted_finish_ms": 900}
        more |= {"closed_us": closed_us, **said}
        await run.refuse(Reason.OVER_SHARE, detail="it is over its share", **more)

    for agent in g.agents:
        agent.on_run = refuse
    assert (await g.call()).status == 429
    return g


def asked(g: GatewayUnderTest) -> int:
    return sum(len(agent.runs) for agent in g.agents)


async def test_the_next_request_is_refused_in_the_same_form_without_being_sent(start: Start) -> None:
    g = await closed(start)
    answer = await g.call()
    assert asked(g) == 1
    assert (answer.status, answer.problem().reason, answer.headers["stoker-outcome"]) == (429, "OverShare", "refused")
    assert 1_000 < int(answer.headers["stoker-retry-after-ms"]) <= 2_300
    assert answer.headers["retry-after"] in ("2", "3")
    assert "stoker-ticket" not in answer.headers
    assert answer.problem().predicted_finish_ms == 900


async def test_who_is_refused_so_is_not_told_the_instant_of_a_place_that_another_got(start: Start) -> None:
    g = await closed(start, ticket="a-7", ticket_window_ms=1_000, retry_after_ms=40_000, room_us=80_000)
    told = [int((await g.call()).headers["stoker-retry-after-ms"]) for _ in range(5)]
    assert asked(g) == 1
    assert max(told) < 2_000


async def test_its_record_says_that_no_agent_was_asked(start: Start) -> None:
    g = await closed(start)
    await g.call()
    record = await g.ended(2)
    assert (record.reason, record.variant) == (Reason.OVER_SHARE, Variant.GPU)
    assert "the gateway asked no agent of the gpu variant" in explain(record)
    assert "it is over its share (said " in explain(record)
    assert g.metrics.values["stoker_requests_refused_unasked_total", "ns", "f"] == 1


async def test_those_who_are_refused_so_are_told_different_instants(start: Start) -> None:
    g = await closed(start, exec_ms=100.0)
    told = [int((await g.call()).headers["stoker-retry-after-ms"]) for _ in range(5)]
    assert len(set(told)) == 5


async def test_what_is_refused_so_still_counts_as_demand_and_leaves_nothing_behind(start: Start) -> None:
    g = await closed(start)
    await g.call()
    demand = g.gateway.demand()["ns/f"][Variant.GPU]
    assert (demand.arrivals, demand.in_system, demand.held) == (2, 0, 0)
    assert g.at_rest()


async def test_an_agent_whose_word_is_over_is_asked_again(start: Start) -> None:
    g = await closed(start, closed_us=1)
    await g.call()
    assert asked(g) == 2


async def test_one_request_is_sent_before_a_word_ends_and_the_others_wait_for_no_answer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = await closed(start)
    # Half of its time is over, and it is to be renewed from then on.
    monkeypatch.setattr("stoker.closed_book.RENEW_US", LONG_US // 2)
    now_us = clock_us()
    word = g.gateway._view._links[0].closed.find(
        "ns/f", Variant.GPU, objective_us=250_000, due_us=now_us + 250_000, now_us=now_us
    )
    assert word is not None
    word.sent_us = word.heard_us = now_us - LONG_US
    word.until_us = now_us + LONG_US // 3
    unanswered = asyncio.Event()

    async def silent(run: Run) -> None:
        await unanswered.wait()
        await serve(run)

    g.agent.on_run = silent
    renewing = asyncio.create_task(g.call())
    await g.agent.run_number(2)
    assert (await g.call()).status == 429
    assert asked(g) == 2
    unanswered.set()
    assert (await renewing).status == 200


async def test_an_agent_that_told_anew_how_it_stands_is_asked_again(start: Start) -> None:
    g = await closed(start)
    await g.warm(free=0, wait_ms=600.0)
    await g.call()
    assert asked(g) == 2


async def test_a_request_that_may_take_longer_is_sent(start: Start) -> None:
    g = await closed(start, function(on_predicted_miss=(OnMiss.REFUSE,), slo=CLASSES))
    await g.call(headers="Stoker-Class: patient\r\n")
    assert asked(g) == 2


async def test_who_shows_a_ticket_is_sent_to_its_agent(start: Start) -> None:
    g = await closed(start)
    g.gateway.set_ticket_keys(KEYS)
    g.agent.on_run = serve
    ticket = seal(KEYS, Ticket(agent_mark("127.0.0.1", g.agent.port), "a-7", Variant.GPU, 1 << 50, 250), "ns/f")
    assert (await g.call(headers=f"Stoker-Ticket: {ticket}\r\n")).status == 200


async def test_an_admission_by_the_agent_reopens_it(start: Start) -> None:
    # One that was sent there before, and is dispatched after the word.
    g = await start(REFUSES)
    await g.warm(free=0, wait_ms=700.0)
    may = asyncio.Event()

    async def serve_later(run: Run) -> None:
        await may.wait()
        await serve(run)

    async def refuse(run: Run) -> None:
        await run.refuse(Reason.OVER_SHARE, closed_us=LONG_US)

    g.agent.on_run = serve_later
    first = asyncio.create_task(g.call())
    await g.agent.run_number(1)
    g.agent.on_run = refuse
    assert (await g.call()).status == 429
    assert (await g.call()).status == 429
    assert asked(g) == 2
    may.set()
    assert (await first).status == 200
    g.agent.on_run = serve
    assert (await g.call()).status == 200


async def test_only_agents_that_are_closed_are_passed_over(start: Start) -> None:
    g = await start(REFUSES, agents=2)
    await g.warm(free=0, wait_ms=700.0)

    async def refuse(run: Run) -> None:
        await run.refuse(Reason.OVER_SHARE, closed_us=LONG_US)

    g.agents[0].on_run = refuse
    statuses = {(await g.call()).status for _ in range(3)}
    assert statuses == {200}
    assert len(g.agents[0].runs) <= 1


async def test_a_request_that_may_divert_diverts(start: Start) -> None:
    diverts = function(on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE), cpu_variant=True)
    g = await start(diverts)
    await g.warm(free=0, wait_ms=700.0)
    await g.warm(variant=Variant.CPU, exec_ms=1.0, samples=5)

    async def refuse_on_gpu(run: Run) -> None:
        if run.header("stoker-variant") == "gpu":
            await run.body()
            await run.refuse(Reason.OVER_SHARE, closed_us=LONG_US)
        else:
            await serve(run)

    g.agent.on_run = refuse_on_gpu
    for _ in range(3):
        answer = await g.call()
        assert (answer.status, answer.headers["stoker-device-reason"]) == (200, "OverShare")
    variants = [run.header("stoker-variant") for run in g.agent.runs]
    assert variants == ["gpu", "cpu", "cpu", "cpu"]


async def test_what_serves_late_is_sent(start: Start) -> None:
    g = await start(function(on_predicted_miss=(OnMiss.SERVE_LATE,)))
    await g.warm(free=0, wait_ms=700.0)

    async def late_only(run: Run) -> None:
        if run.header("stoker-late-ok") == "1":
            await serve(run)
        else:
            await run.body()
            await run.refuse(Reason.PREDICTED_MISS, closed_us=LONG_US)

    g.agent.on_run = late_only
    assert [(await g.call()).status for _ in range(2)] == [200, 200]
    assert g.agent.runs[-1].header("stoker-late-ok") == "1"
