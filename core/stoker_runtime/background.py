"""One coroutine that runs beside everything else until its owner ends it. Knows nothing of what it does.

It is meant not to break: who runs for ever catches what a round may raise. One that breaks all the same is told in the
log, once and at once, since its owner waits for nothing and would never hear of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """`start(run)`, `await stop()`. Twice is fine, for both."""

    def __init__(self, name: str) -> None:
        """`name` is what the task is called in the log."""
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it, unless it was begun and not stopped since."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(run(), name=self._name)
            self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("background_task_broke", task=self._name, exc_info=error)
