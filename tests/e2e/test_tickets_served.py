"""Clients that are refused by an overloaded platform and come back with their tickets are served."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from platform_under_test import Platform, function

from stoker.replay.replayer import replay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENTS = 400
OVER_S = 4.0
"""Four times as many requests as one replica can do in that time, at 40 ms each."""


class Crowd:
    """Clients that come once, and come back once for each ticket that they get."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.first: Counter[int] = Counter()
        self.with_ticket: Counter[int] = Counter()
        self.told_ms: list[int] = []

    async def come(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        answer = await self.platform.call("f", "/sleep?ms=40")
        self.first[answer.status] += 1
        ticket = answer.headers.get("Stoker-Ticket")
        if ticket is not None:
            retry_ms = int(answer.headers["Stoker-Retry-After-Ms"])
            assert int(answer.headers["Retry-After"]) == -(-retry_ms // 1000)
            self.told_ms.append(retry_ms)
            await asyncio.sleep(retry_ms / 1000)
            answer = await self.platform.call("f", "/sleep?ms=40", headers={"Stoker-Ticket": ticket})
            self.with_ticket[answer.status] += 1


async def test_those_who_come_back_with_a_ticket_are_served(platform: Platform) -> None:
    platform.apply(
        function(
            "f",
            slo={"latency": "400ms"},
            onPredictedMiss=["Refuse"],
            scaling={"minReplicas": 1, "maxReplicas": 1},
        )
    )
    log = platform.folder / "decisions.log"
    await platform.start("--event-log", str(log), gpus="1xA100-40GB")
    await platform.until_warm("f")
    for _ in range(5):
        assert (await platform.call("f", "/sleep?ms=40")).status == 200
    crowd = Crowd(platform)
    await asyncio.gather(*(crowd.come(OVER_S * number / CLIENTS) for number in range(CLIENTS)))
    assert set(crowd.first) == {200, 429}
    given = sum(crowd.with_ticket.values())
    assert given >= 30
    assert crowd.with_ticket[200] >= 0.95 * given, crowd.with_ticket
    assert len(set(crowd.told_ms)) > given // 2, "they were spread"
    shown = await platform.metric("stoker_tickets_shown_total")
    honoured = await platform.metric("stoker_tickets_shown_total", outcome="honoured")
    assert (shown, honoured >= 0.95 * given) == (given, True)
    assert await platform.metric("stoker_tickets_given_total") >= given
    assert await platform.stop() == 0
    assert_replays(log)


def assert_replays(log: Path) -> None:
    """Every place that was given and redeemed is so again."""
    with log.open("rb") as lines:
        found = replay(lines)
    assert found.difference is None, found.difference
    assert found.compared["offer"] > 0
    assert found.compared["redeem"] > 0


async def test_a_ticket_is_good_once_and_for_its_function_only(platform: Platform) -> None:
    one = {"slo": {"latency": "300ms"}, "onPredictedMiss": ["Refuse"], "scaling": {"minReplicas": 1, "maxReplicas": 1}}
    platform.apply(function("f", **one), function("g", **one))  # type: ignore[arg-type]
    await platform.start(gpus="2xA100-40GB")
    await platform.until_warm("f")
    await platform.until_warm("g")
    for _ in range(5):
        await platform.call("f", "/sleep?ms=100")
    calls = await asyncio.gather(*(platform.call("f", "/sleep?ms=100") for _ in range(12)))
    ticket = next(answer.headers["Stoker-Ticket"] for answer in calls if answer.status == 429)
    shown = {"Stoker-Ticket": ticket}
    await asyncio.sleep(0.3)
    assert (await platform.call("g", headers=shown)).status == 200
    assert await platform.metric("stoker_tickets_shown_total", function="g", outcome="foreign") == 1
    forged = {"Stoker-Ticket": ticket[:-4] + ("AAAA" if not ticket.endswith("AAAA") else "BBBB")}
    assert (await platform.call("f", headers=forged)).status == 200
    assert await platform.metric("stoker_tickets_shown_total", function="f", outcome="forged") == 1
