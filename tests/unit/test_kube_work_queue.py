"""The keyed work queue: each key once, never twice at a time, again when it failed, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.work_queue import Run, WorkQueue

pytestmark = pytest.mark.unit


@asynccontextmanager
async def working(
    handler: Callable[[str], Awaitable[float | None]], **more: Any
) -> AsyncIterator[tuple[WorkQueue[str], list[Run[str]]]]:
    runs: list[Run[str]] = []
    settings = {"backoff": Backoff(first_s=0.01, most_s=0.02), "workers": 2, **more}
    queue = WorkQueue(handler, name="test", rng=Random(1), on_run=runs.append, **settings)
    queue.start()
    try:
        yield queue, runs
    finally:
        await queue.stop(grace_s=0.1)


async def test_a_key_added_often_before_it_runs_runs_once() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    async with working(handle) as (queue, runs):
        for key in ("a", "b", "a", "c", "b", "a"):
            queue.add(key)
        await queue.drained()
        assert seen == ["a", "b", "c"]
        assert [run.failed for run in runs] == [False] * 3


async def test_a_key_added_while_it_runs_runs_once_more_and_never_twice_at_a_time() -> None:
    running = 0
    runs = 0
    gate = asyncio.Event()

    async def handle(_: str) -> None:
        nonlocal running, runs
        running += 1
        runs += 1
        assert running == 1
        await gate.wait()
        running -= 1

    async with working(handle, workers=8) as (queue, _):
        queue.add("a")
        await asyncio.sleep(0)
        for _ in range(5):
            queue.add("a")
        assert queue.running == 1
        gate.set()
        await queue.drained()
        assert runs == 2


async def test_no_more_keys_run_at_once_than_there_are_workers_and_the_rest_wait_in_order() -> None:
    most = 0
    order: list[int] = []
    now = 0

    async def handle(key: int) -> None:
        nonlocal most, now
        order.append(key)
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    queue = WorkQueue(handle, name="test", workers=3)
    for key in range(20):
        queue.add(key)
    assert queue.depth == 20
    assert queue.oldest_age_us() >= 0
    queue.start()
    await queue.drained()
    assert (most, order, queue.depth, queue.oldest_age_us()) == (3, list(range(20)), 0, 0)
    await queue.stop()


async def test_what_fails_comes_again_until_it_does_not() -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("not yet")

    async with working(handle) as (queue, runs):
        queue.add("a")
        await asyncio.sleep(0.005)
        assert queue.failures("a") == 1
        async with asyncio.timeout(2):
            while tries < 3:
                await asyncio.sleep(0.005)
        await queue.drained()
        assert queue.failing == 0
        assert [run.failed for run in runs] == [True, True, False]


async def test_a_change_does_not_wait_for_the_pause_after_a_failure() -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("not yet")

    async with working(handle, backoff=Backoff(first_s=60, most_s=60)) as (queue, _):
        queue.add("a")
        await queue.drained()
        queue.add("a")
        await queue.drained()
        await asyncio.sleep(0.01)
        assert tries == 2, "the planned retry is void: the newer run was good"


async def test_a_run_that_hangs_is_ended_and_tried_again() -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.sleep(60)

    async with working(handle, timeout_s=0.02) as (queue, runs):
        queue.add("a")
        async with asyncio.timeout(2):
            while len(runs) < 2:
                await asyncio.sleep(0.005)
        assert [run.failed for run in runs] == [True, False]


async def test_something_cancelled_inside_a_handler_is_a_failure_and_no_lost_worker() -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError

    async with working(handle, workers=1) as (queue, runs):
        queue.add("a")
        async with asyncio.timeout(2):
            while len(runs) < 2:
                await asyncio.sleep(0.005)
        assert [run.failed for run in runs] == [True, False]


async def test_a_handler_may_ask_to_be_called_again() -> None:
    tries = 0

    async def handle(_: str) -> float | None:
        nonlocal tries
        tries += 1
        return 0.01 if tries < 3 else None

    async with working(handle) as (queue, _):
        queue.add("a")
        async with asyncio.timeout(2):
            while tries < 3:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.03)
        assert tries == 3


async def test_of_two_delays_the_earlier_counts_and_a_forgotten_key_does_not_come() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    async with working(handle) as (queue, _):
        queue.add("a", after_s=0.01)
        queue.add("a", after_s=60)
        queue.add("b", after_s=60)
        queue.add("b", after_s=0.01)
        queue.add("c", after_s=0.01)
        queue.forget("c")
        queue.forget("never known")
        assert queue.depth == 0
        await asyncio.sleep(0.05)
        assert seen == ["a", "b"]


async def test_stopping_lets_a_run_end_begins_none_and_cancels_what_is_late() -> None:
    ended: list[str] = []

    async def handle(key: str) -> None:
        try:
            await asyncio.sleep(60 if key == "late" else 0.02)
            ended.append(key)
        except asyncio.CancelledError:
            ended.append(f"{key} cancelled")
            raise

    queue = WorkQueue(handle, name="test", workers=2)
    queue.start()
    for key in ("late", "soon", "waiting"):
        queue.add(key)
    queue.add("timer", after_s=0.03)
    await asyncio.sleep(0)
    await queue.stop(grace_s=0.05)
    queue.add("after")
    queue.start()
    await asyncio.sleep(0.01)
    assert ended == ["soon", "late cancelled"]
    assert (queue.depth, queue.running) == (0, 0)
