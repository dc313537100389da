"""In a storm the newest requests are refused unseen, so that the others are looked at in time."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoker.metrics import SHED_UNSEEN, MetricSpec
from stoker_gateway.crowd import PATIENCE_US, Crowd
from stoker_gateway.inbound import CLOSE, KEEP, Inbound, Reply
from stoker_gateway.turnstile import AT_ONCE

pytestmark = pytest.mark.unit

FIT = 3 * AT_ONCE


class Sink:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def inc(self, spec: MetricSpec, *_: str) -> None:
        self.counts[spec.name] = self.counts.get(spec.name, 0) + 1


class Client(Inbound):
    """A request, and what was written to it."""

    def __init__(self, *, body: bool = False, chunked: bool = False, last: bool = False) -> None:
        self.message = cast("Any", SimpleNamespace(path="/", chunked=chunked, should_close=last, version=(1, 1)))
        self.payload = cast("Any", SimpleNamespace(is_eof=lambda: not body, exception=lambda: None))
        self.protocol = cast("Any", SimpleNamespace(plain_end=self.payload))
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class Gate:
    """A crowd before a handler that notes what it sees, and when that came."""

    def __init__(self) -> None:
        self.sink, self.now_us = Sink(), 5
        self.seen: list[tuple[Client, int]] = []
        self.crowd = Crowd(self._handle, cast("Any", self.sink), lambda: self.now_us)

    async def _handle(self, inbound: Inbound, now_us: int) -> Reply:
        self.seen.append((cast("Client", inbound), now_us))
        return KEEP

    async def storm(self, clients: list[Client], *, patient: int = FIT) -> list[Reply]:
        """The first `patient` come at once, the others when the first in line have lost their patience."""
        tasks = []
        for number, client in enumerate(clients):
            if number == patient:
                await asyncio.sleep(0)
                self.now_us += PATIENCE_US + 1
            tasks.append(asyncio.create_task(self.crowd.take(client)))
        return await asyncio.gather(*tasks)


async def test_who_came_before_the_line_was_slow_is_looked_at_in_its_order_and_who_comes_later_is_not() -> None:
    gate, clients = Gate(), [Client() for _ in range(FIT + 10)]
    replies = await gate.storm(clients)
    assert [client for client, _ in gate.seen] == clients[:FIT]
    assert not any(client.written for client in clients[:FIT])
    assert all(client.written.startswith(b"HTTP/1.1 503 ") for client in clients[FIT:])
    assert replies == [KEEP] * len(clients)
    assert gate.sink.counts == {SHED_UNSEEN.name: 10}


async def test_a_burst_that_is_worked_off_in_time_passes_however_large() -> None:
    gate, clients = Gate(), [Client() for _ in range(50 * AT_ONCE)]
    await gate.storm(clients, patient=len(clients))
    assert len(gate.seen) == len(clients)
    assert not gate.sink.counts


async def test_the_time_of_arrival_is_that_of_before_the_wait() -> None:
    gate, clients = Gate(), [Client() for _ in range(2 * AT_ONCE)]
    waiting = asyncio.create_task(gate.storm(clients, patient=len(clients)))
    for _ in range(2):  # one for the storm, one for its requests
        await asyncio.sleep(0)
    gate.now_us = 900
    await waiting
    assert {at_us for _, at_us in gate.seen} == {5}


async def test_an_unseen_request_gets_a_whole_answer_that_says_when_to_come_back_and_not_all_the_same() -> None:
    gate, clients = Gate(), [Client() for _ in range(FIT + 40)]
    await gate.storm(clients)
    told = set()
    for client in clients[FIT:]:
        head, _, body = client.written.partition(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        problem = json.loads(body)
        assert int(lines[b"content-length"]) == len(body)
        assert (problem["status"], problem["reason"]) == (503, "HoldFull")
        assert problem["retryAfterMs"] == int(lines[b"stoker-retry-after-ms"])
        assert int(lines[b"retry-after"]) * 1000 >= problem["retryAfterMs"]
        told.add(problem["retryAfterMs"])
    assert len(told) >= 10


@pytest.mark.parametrize("more", [{"body": True}, {"chunked": True}, {"last": True}])
async def test_nothing_is_read_behind_an_unseen_request_that_may_have_a_body_or_is_the_last(
    more: dict[str, bool],
) -> None:
    gate = Gate()
    replies = await gate.storm([*(Client() for _ in range(FIT)), client := Client(**more)])
    assert replies[-1] is CLOSE
    assert b"\r\nconnection: close\r\n" in client.written
