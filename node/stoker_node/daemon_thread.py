"""Runs a call that may hang for ever (the driver's) without holding up the event loop or the end of the process.

A daemon thread does not hold up the end of the process; a pool's does.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def begin_in_daemon_thread(call: Callable[[], T], name: str) -> concurrent.futures.Future[T]:
    """Begin the call; its result comes, or its error, when it ends. Only the call itself ends the thread."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result = call()
        except Exception as err:  # noqa: BLE001  handed over whole to who waits for it
            future.set_exception(err)
        else:
            future.set_result(result)

    # From here on only the thread ends it: cancelling who awaits must not break the thread's set_result.
    future.set_running_or_notify_cancel()
    Thread(target=run, name=name, daemon=True).start()
    return future


async def in_daemon_thread(call: Callable[[], T], name: str) -> T:
    """The call's result. When this is cancelled the thread is left behind: it ends with its call."""
    return await asyncio.wrap_future(begin_in_daemon_thread(call, name))
