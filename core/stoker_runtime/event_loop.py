"""Runs one coroutine on uvloop, and turns signals into a request to end instead of an exception anywhere."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run_on_uvloop(main: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run to the end, then cancel what is left on the loop and close it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def keep_what_start_up_made() -> None:
    """Call once when start-up is over. What it made stays to the end, and looking through it for garbage again and
    again stops the loop for 60 ms each time: every request under way would be late by that.
    """
    gc.collect()
    gc.freeze()


class Signals:
    """Requests to end: the first SIGINT, SIGTERM or SIGHUP asks, a SIGINT after that insists.

    A SIGTERM that is repeated only asks again: service managers and scripts repeat it without meaning harm.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            self._numbers.append(signal.SIGHUP)
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._on_signal, number)

    def close(self) -> None:
        """Give the signals back to their defaults."""
        for number in self._numbers:
            self._loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.is_set() and number is signal.SIGINT:
            self.insisted.set()
        self.asked.set()


async def unless(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of the work; None when the event came first, and the work is cancelled and over then."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        # Work that ends by an error while it is cancelled has ended all the same.
        return None if task.cancelled() or task.exception() is not None else task.result()
    finally:
        waiter.cancel()
        task.cancel()
