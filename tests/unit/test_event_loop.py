"""A signal asks for the end and interrupts nothing; a second one insists."""

import asyncio
import gc
import os
import signal
import sys
from subprocess import run

import pytest

from stoker_runtime.event_loop import Signals, keep_what_start_up_made, run_on_uvloop, unless

pytestmark = pytest.mark.unit


async def test_the_first_signal_asks_and_a_later_interrupt_insists() -> None:
    signals = Signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.asked.wait(), 5)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert not signals.insisted.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(signals.insisted.wait(), 5)
    finally:
        signals.close()


async def test_work_that_ends_first_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert await unless(asyncio.Event(), work()) == 7


async def test_an_event_that_comes_first_ends_the_work_before_it_returns() -> None:
    event, ended = asyncio.Event(), False

    async def work() -> int:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended = True
        return 7

    asyncio.get_running_loop().call_soon(event.set)
    assert await unless(event, work()) is None
    assert ended


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        await unless(asyncio.Event(), work())


def test_the_loop_is_uvloop_and_leaves_no_task() -> None:
    async def main() -> str:
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        return type(asyncio.get_running_loop()).__module__

    assert run_on_uvloop(main).startswith("uvloop")


def test_a_process_under_nohup_keeps_ignoring_the_hang_up() -> None:
    code = """
import asyncio, os, signal
from stoker_runtime.event_loop import Signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
async def main():
    signals = Signals()
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.05)
    print(signals.asked.is_set())
asyncio.run(main())
"""
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_what_start_up_made_is_not_looked_through_for_garbage_again() -> None:
    made = [[] for _ in range(100)]  # type: ignore[var-annotated]
    try:
        keep_what_start_up_made()
        assert gc.get_freeze_count() > len(made)
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()
