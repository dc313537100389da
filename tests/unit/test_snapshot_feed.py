"""Readers of a feed see the newest state soon, never more often than allowed, and cost nothing when they stall."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from stoker_runtime.line_stream import LineStream
from stoker_runtime.snapshot_feed import SnapshotFeed

pytestmark = pytest.mark.unit


class Bench:
    def __init__(self, min_interval_s: float = 0.0, heartbeat_s: float = 5.0, stall_s: float = 3.0) -> None:
        self.state = b"a"
        self.snapshots = 0
        self.feed = SnapshotFeed(self._snapshot, min_interval_s, heartbeat_s, stall_s=stall_s)
        self.lines: list[bytes] = []
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._readers: list[LineStream] = []

    def _snapshot(self, seq: int) -> bytes:
        self.snapshots += 1
        if self.state == b"broken":
            raise RuntimeError("broken")
        return b"%d %b" % (seq, self.state)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/demand", self.feed.handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for reader in self._readers:
            await reader.stop()
        self.feed.close()
        assert self._runner is not None
        await self._runner.cleanup()

    def read(self) -> list[bytes]:
        lines: list[bytes] = []
        reader = LineStream(
            "127.0.0.1",
            self.port,
            "/v1/demand",
            ssl=None,
            server_hostname=None,
            on_line=lines.append,
            on_lost=lambda: None,
        )
        reader.start()
        self._readers.append(reader)
        return lines


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., object]]:
    made: list[Bench] = []

    async def make(**options: float) -> Bench:
        made.append(Bench(**options))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def test_a_reader_gets_everything_at_once_and_then_what_changed(bench: Callable[..., Any]) -> None:
    b = await bench()
    lines = b.read()
    await until(lambda: lines == [b"1 a"])
    b.state = b"b"
    b.feed.changed()
    await until(lambda: lines == [b"1 a", b"2 b"])


async def test_many_changes_in_one_turn_are_one_line(bench: Callable[..., Any]) -> None:
    b = await bench()
    lines = b.read()
    await until(lambda: len(lines) == 1)
    for _ in range(100):
        b.feed.changed()
    await asyncio.sleep(0.05)
    assert len(lines) == 2


async def test_changes_within_the_interval_wait_for_its_end(bench: Callable[..., Any]) -> None:
    b = await bench(min_interval_s=0.1)
    lines = b.read()
    await until(lambda: len(lines) == 1)
    for number in range(20):
        b.state = b"%d" % number
        b.feed.changed()
        await asyncio.sleep(0.005)
    await until(lambda: lines[-1].endswith(b" 19"))
    assert len(lines) <= 4


async def test_a_change_that_may_wait_waits_and_one_that_may_not_takes_it_along(bench: Callable[..., Any]) -> None:
    b = await bench()
    lines = b.read()
    await until(lambda: len(lines) == 1)
    b.feed.changed(within_s=3.0)
    await asyncio.sleep(0.05)
    assert len(lines) == 1
    b.feed.changed()
    await until(lambda: len(lines) == 2)


async def test_the_heart_beats_without_changes(bench: Callable[..., Any]) -> None:
    b = await bench(heartbeat_s=0.02)
    lines = b.read()
    await until(lambda: len(lines) >= 4)


async def test_all_readers_share_one_snapshot_and_without_readers_none_is_made(bench: Callable[..., Any]) -> None:
    b = await bench(heartbeat_s=0.02)
    b.feed.changed()
    await asyncio.sleep(0.05)
    assert b.snapshots == 0
    first, second = b.read(), b.read()
    await until(lambda: b.feed.readers == 2 and len(first) > 1 and len(second) > 1)
    assert b.snapshots <= max(int(first[-1].split()[0]), int(second[-1].split()[0])) + 1


async def test_a_reader_that_leaves_is_forgotten(bench: Callable[..., Any]) -> None:
    b = await bench()
    b.read()
    await until(lambda: b.feed.readers == 1)
    await b._readers[0].stop()
    await until(lambda: b.feed.readers == 0)


async def test_a_reader_that_does_not_read_is_dropped(bench: Callable[..., Any]) -> None:
    b = await bench(heartbeat_s=0.005, stall_s=0.2)
    b.state = b"x" * 1_000_000
    _, writer = await asyncio.open_connection("127.0.0.1", b.port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /v1/demand HTTP/1.1\r\nhost: x\r\n\r\n")
    await until(lambda: b.feed.readers == 1)
    await until(lambda: b.feed.readers == 0)
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_a_snapshot_that_fails_says_nothing_and_the_next_one_does(bench: Callable[..., Any]) -> None:
    b = await bench(heartbeat_s=0.02)
    lines = b.read()
    await until(lambda: len(lines) == 1)
    b.state = b"broken"
    snapshots = b.snapshots
    await until(lambda: b.snapshots >= snapshots + 2)
    heard = len(lines)
    b.state = b"well"
    await until(lambda: len(lines) > heard)
    assert lines[-1].endswith(b" well")


async def test_close_ends_every_stream(bench: Callable[..., Any]) -> None:
    b = await bench()
    b.read()
    await until(lambda: b.feed.readers == 1)
    b.feed.close()
    await until(lambda: b.feed.readers == 0)
