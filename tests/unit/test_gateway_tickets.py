"""A place that an agent gave goes to the client as a ticket, and back to that agent; no ticket is just believed."""

import asyncio
from typing import Any

import pytest
from gateway_fake_agent import Answer, FakeAgent, GatewayUnderTest, Run, Start, function, serve, starting
from msgspec.structs import replace

from stoker.explanation import explain
from stoker.model.function import OnMiss, Variant
from stoker.reasons import Reason
from stoker.tickets import Ticket, TicketKeys, agent_mark, seal
from stoker.wire.agent import WANT_PLACE
from stoker_gateway.ticketing import Ticketing

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

KEYS = TicketKeys(b"k" * 32)
REFUSES = function(on_predicted_miss=(OnMiss.REFUSE,))
DIVERTS = function(on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE), cpu_variant=True)


class Wall:
    """A wall clock for tickets that stands unless it is told."""

    def __init__(self, g: GatewayUnderTest) -> None:
        self.now_ms = 1_800_000_000_000
        ticketing: Ticketing = g.gateway._ticketing
        ticketing._wall_ms = lambda: self.now_ms


class Places:
    """An agent without a free slot: it refuses, gives a place to each who wants one, and honours what it is told to."""

    def __init__(self, agent: FakeAgent) -> None:
        self.said: list[str | None] = []
        self.outcomes: dict[str, str] = {}
        agent.on_run = agent.on_admit = self

    async def __call__(self, run: Run) -> None:
        said = run.header("stoker-ticket")
        self.said.append(said)
        outcome = self.outcomes.get(said or "")
        if outcome == "honoured" and run.target == "/v1/admit":
            line = "HTTP/1.1 200 OK\r\nstoker-ticket: honoured\r\nstoker-dispatched: 0\r\ncontent-length: 0\r\n\r\n"
            await run.raw(line.encode())
        elif outcome == "honoured":
            body = await run.body()
            await run.raw(b"HTTP/1.1 102 Processing\r\nstoker-ticket: honoured\r\n\r\n")
            await run.answer(body)
        else:
            await run.body()
            more: dict[str, Any] = {"redemption": outcome} if outcome else {}
            if said == WANT_PLACE:
                more |= {"ticket": "a-7", "ticket_window_ms": 250}
            await run.refuse(Reason.PREDICTED_MISS, retry_after_ms=1_234, predicted_finish_ms=900, **more)


async def crowded(start: Start, *functions: Any, **options: Any) -> tuple[GatewayUnderTest, Places]:
    g = await start(*(functions or (REFUSES,)), **options)
    g.gateway.set_ticket_keys(KEYS)
    await g.warm(free=0, wait_ms=700.0)
    return g, Places(g.agent)


async def come_back(g: GatewayUnderTest, ticket: str, target: str = "/ns/f/", **more: Any) -> Answer:
    return await g.call(target, headers=f"Stoker-Ticket: {ticket}\r\n", **more)


def ticket(g: GatewayUnderTest, place: str = "a-7", of: str = "ns/f", keys: TicketKeys = KEYS, **more: Any) -> str:
    plain = Ticket(agent_mark("127.0.0.1", g.agent.port), place, Variant.GPU, 1 << 50, 250)
    return seal(keys, replace(plain, **more), of)


async def test_a_refusal_carries_a_ticket_and_when_it_is_good(start: Start) -> None:
    g, places = await crowded(start)
    answer = await g.call()
    assert places.said == [WANT_PLACE]
    assert (answer.status, answer.headers["retry-after"], answer.headers["stoker-retry-after-ms"]) == (429, "2", "1234")
    assert answer.headers["stoker-ticket-window-ms"] == "250"
    problem = answer.problem()
    assert (problem.ticket, problem.ticket_window_ms) == (answer.headers["stoker-ticket"], 250)
    assert "a-7" not in problem.ticket
    assert g.metrics.values["stoker_tickets_given_total", "ns", "f"] == 1


async def test_who_comes_back_with_a_ticket_goes_to_its_agent_with_its_place(start: Start) -> None:
    g, places = await crowded(start, agents=3)
    for agent in g.agents[1:]:
        agent.on_run = lambda run: run.refuse(Reason.PREDICTED_MISS)
    shown = ticket(g)
    places.outcomes["a-7"] = "honoured"
    answer = await come_back(g, shown, method="POST", body=b"mine")
    assert (answer.status, answer.body) == (200, b"mine")
    assert places.said == ["a-7"]
    assert not any(agent.runs for agent in g.agents[1:])
    record = await g.ended()
    assert record.ticket == "honoured"
    assert "its ticket was honoured" in explain(record)
    assert g.metrics.values["stoker_tickets_shown_total", "ns", "f", "honoured"] == 1


async def test_a_large_body_redeems_its_place_by_its_admission(start: Start) -> None:
    g, places = await crowded(start)
    places.outcomes["a-7"] = "honoured"
    body = b"x" * 200_000
    answer = await come_back(g, ticket(g), method="POST", body=body)
    assert (answer.status, answer.body) == (200, body)
    assert (await g.ended()).ticket == "honoured"
    assert len(g.agent.admissions) == 1


@pytest.mark.parametrize("outcome", ["early", "late", "used", "unknown"])
async def test_a_place_that_is_not_good_costs_the_request_nothing(start: Start, outcome: str) -> None:
    g, places = await crowded(start)
    places.outcomes["a-7"] = outcome
    answer = await come_back(g, ticket(g))
    assert answer.status == 429
    assert places.said == ["a-7", WANT_PLACE]
    assert (await g.ended()).ticket == outcome
    assert answer.headers["stoker-ticket"]


async def test_a_ticket_that_is_refused_too_early_goes_back_to_its_client(start: Start) -> None:
    g, places = await crowded(start)

    async def early(run: Run) -> None:
        places.said.append(run.header("stoker-ticket"))
        more: dict[str, Any] = {}
        if places.said[-1] == "a-7":
            more = {"ticket": "a-7", "ticket_window_ms": 250, "redemption": "early"}
        await run.refuse(Reason.PREDICTED_MISS, retry_after_ms=321, **more)

    g.agent.on_run = early
    answer = await come_back(g, ticket(g))
    assert (answer.status, answer.headers["stoker-retry-after-ms"]) == (429, "321")
    assert answer.headers["stoker-ticket"]
    assert places.said == ["a-7", None], "it has a place and wants no other"


async def test_what_no_gateway_sealed_is_never_asked_about(start: Start) -> None:
    g, _ = await crowded(start)
    await g.warm(free=1)
    g.agent.on_run = serve
    g.functions["ns/g"] = function("g")
    shown = {
        "forged": [ticket(g, keys=TicketKeys(b"z" * 32)), "nonsense", "a-7", "x" * 2000],
        "foreign": [ticket(g, of="ns/g"), ticket(g, of="team/f")],
        "late": [ticket(g, at_ms=1, window_ms=1)],
        "agent_gone": [seal(KEYS, Ticket(agent_mark("10.9.9.9", 1), "p", Variant.GPU, 1 << 50, 1), "ns/f")],
    }
    count = 0
    for outcome, texts in shown.items():
        for text in texts:
            count += 1
            assert (await come_back(g, text)).status == 200
            assert (await g.ended(count)).ticket == outcome
    assert {run.header("stoker-ticket") for run in g.agent.runs} <= {None, WANT_PLACE}


async def test_a_ticket_of_another_gateway_is_good_by_the_key_that_they_share(start: Start) -> None:
    g, places = await crowded(start)
    places.outcomes["a-7"] = "honoured"
    g.gateway.set_ticket_keys(TicketKeys(b"n" * 32, KEYS.current))
    assert (await come_back(g, ticket(g))).status == 200
    g.gateway.set_ticket_keys(None)
    assert (await come_back(g, ticket(g))).status == 429
    assert (await g.ended(2)).ticket == "forged"


async def test_a_ticket_is_late_by_the_wall_clock_and_needs_no_agent_then(start: Start) -> None:
    g, places = await crowded(start)
    wall = Wall(g)
    shown = (await g.call()).headers["stoker-ticket"]
    places.outcomes["a-7"] = "honoured"
    wall.now_ms += 1_234 + 250
    assert (await come_back(g, shown)).status == 200
    wall.now_ms += 1
    assert (await come_back(g, shown)).status == 429
    assert (await g.ended(3)).ticket == "late"


async def test_an_agent_that_is_lost_leaves_the_request_as_any_other(start: Start) -> None:
    g, _ = await crowded(start)

    async def lost(run: Run) -> None:
        await run.body()
        if run.header("stoker-ticket") == "a-7":
            run.hang_up()
        else:
            await serve(run)

    g.agent.on_run = lost
    assert (await come_back(g, ticket(g))).status == 200
    assert (await g.ended()).ticket == "agent_gone"


async def test_without_a_key_nobody_gets_a_ticket(start: Start) -> None:
    g, _ = await crowded(start)
    g.gateway.set_ticket_keys(None)
    answer = await g.call()
    assert answer.status == 429
    assert "stoker-ticket" not in answer.headers
    assert answer.headers["stoker-retry-after-ms"] == "1234"


async def test_only_the_last_agent_is_asked_for_a_place_and_only_where_a_refusal_would_follow(start: Start) -> None:
    g, _ = await crowded(start, agents=3)
    every = [Places(agent) for agent in g.agents]
    await g.call()
    assert sorted(str(said) for places in every for said in places.said) == [WANT_PLACE, "None", "None"]


@pytest.mark.parametrize(
    ("on_miss", "free", "wants"),
    [
        ((OnMiss.REFUSE,), 0, True),
        ((OnMiss.REFUSE,), 1, False),
        ((OnMiss.SERVE_LATE,), 0, False),
        ((OnMiss.DIVERT, OnMiss.REFUSE), 0, True),
        ((OnMiss.DIVERT, OnMiss.SERVE_LATE), 0, False),
    ],
)
async def test_a_place_is_wanted_where_the_agent_is_full_and_nothing_but_a_refusal_follows(
    start: Start, on_miss: tuple[OnMiss, ...], free: int, wants: bool
) -> None:
    g, places = await crowded(start, function(on_predicted_miss=on_miss))
    await g.warm(free=free, wait_ms=701.0)
    await g.until(lambda: g.gateway._view._links[0].functions["ns/f"][Variant.GPU].wait_ms == 701.0)
    await g.call(headers="Stoker-Deadline-Ms: 400\r\n")
    assert (places.said[0] == WANT_PLACE) is wants


async def test_no_place_is_wanted_where_the_cpu_variant_would_be_on_time(start: Start) -> None:
    g, places = await crowded(start, DIVERTS)
    await g.warm(variant=Variant.CPU, free=1, exec_ms=20.0)
    await g.warm(free=0, wait_ms=700.0)
    await g.call()
    assert places.said[0] is None


async def test_a_ticket_for_the_cpu_variant_goes_there(start: Start) -> None:
    g, places = await crowded(start, DIVERTS)
    await g.warm(variant=Variant.CPU, free=0, wait_ms=5_000.0)
    places.outcomes["a-7"] = "honoured"
    assert (await come_back(g, ticket(g, variant=Variant.CPU))).status == 200
    assert [run.header("stoker-variant") for run in g.agent.runs] == ["cpu"]
    assert (await g.ended()).diverted


async def test_a_client_that_leaves_while_its_place_is_redeemed_leaves_nothing_behind(start: Start) -> None:
    g, _ = await crowded(start)

    async def hang(run: Run) -> None:
        await run.gone()

    g.agent.on_run = hang
    client = await g.client()
    head = f"GET /ns/f/ HTTP/1.1\r\nhost: x\r\nstoker-ticket: {ticket(g)}\r\n\r\n"
    await client.send(head.encode())
    await g.agent.run_number(1)
    client.hang_up()
    await g.ended()
    async with asyncio.timeout(5):
        await g.until(g.at_rest)
