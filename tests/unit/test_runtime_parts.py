"""What every process is made of: tasks beside the others, rounds of plans, listeners, and parts that end."""

import asyncio
import socket
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from stoker_runtime import plan_rounds
from stoker_runtime.background import Background
from stoker_runtime.http_listener import HttpListener
from stoker_runtime.plan_rounds import PlanRounds
from stoker_runtime.process import clock_us
from stoker_runtime.stopping import stop_part

pytestmark = pytest.mark.unit


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_background_task_runs_once_at_a_time_and_has_ended_when_it_was_stopped() -> None:
    begun, ended = 0, 0

    async def run() -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended += 1

    task = Background("test")
    await task.stop()
    task.start(run)
    task.start(run)
    await until(lambda: begun == 1)
    await task.stop()
    assert (begun, ended) == (1, 1)
    await task.stop()
    task.start(run)
    await until(lambda: begun == 2)
    await task.stop()


@pytest.mark.parametrize("defect", [RuntimeError("a defect"), None], ids=["it breaks", "it is ended"])
async def test_a_task_that_breaks_is_told_and_one_that_is_ended_is_not(defect: Exception | None) -> None:
    async def run() -> None:
        if defect is not None:
            raise defect
        await asyncio.Event().wait()

    task = Background("test")
    with capture_logs() as told:
        task.start(run)
        await asyncio.sleep(0.01)
        await task.stop()
        await asyncio.sleep(0)
    assert [(one["event"], one["task"]) for one in told] == ([("background_task_broke", "test")] if defect else [])


async def test_rounds_go_on_after_one_that_broke_and_say_that_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_rounds, "BROKEN_S", 0.01)
    played: list[str] = []
    broken = True

    def play() -> float:
        played.append(rounds.problem)
        if broken:
            raise RuntimeError("a defect")
        return 60.0

    rounds = PlanRounds("test", play, clock_us, share=0.5)
    rounds.start()
    await until(lambda: len(played) >= 3)
    assert "RuntimeError" in rounds.problem
    broken = False
    await until(lambda: not rounds.problem)
    count = len(played)
    rounds.poke()
    await until(lambda: len(played) == count + 1)
    await rounds.stop()
    rounds.poke()
    await asyncio.sleep(0)
    assert len(played) == count + 1


async def test_a_round_is_played_when_the_last_one_said_so_without_any_poke() -> None:
    times: list[float] = []

    def play() -> float:
        times.append(asyncio.get_running_loop().time())
        return 0.06

    took: list[float] = []
    rounds = PlanRounds("test", play, clock_us, share=0.5, on_played=took.append)
    rounds.start()
    await until(lambda: len(times) == 3)
    await rounds.stop()
    assert times[2] - times[0] >= 0.1
    assert len(took) == 3


async def test_a_listener_frees_its_address_when_it_stops_and_leaves_nothing_when_it_cannot_have_it() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    first, second = HttpListener([web.get("/", hello)]), HttpListener([web.get("/", hello)])
    await first.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{first.port}/") as answer:
            assert await answer.text() == "hello"
        async with session.post(f"http://127.0.0.1:{first.port}/") as answer:
            assert answer.status == 405
    with pytest.raises(OSError, match="in use"):
        await second.start(port=first.port)
    assert second.port == 0
    await first.stop()
    await first.stop()
    await second.stop()
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", first.port)) != 0


async def test_a_part_that_hangs_or_breaks_does_not_keep_the_next_from_stopping(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def breaks() -> None:
        raise RuntimeError("a defect")

    await stop_part("one", hangs, 0.01)
    await stop_part("two", breaks, 1.0)
    said = capsys.readouterr().out
    assert "stop_timed_out" in said
    assert "stop_failed" in said
