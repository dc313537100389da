"""One coroutine that runs beside everything else until its owner ends it. Knows nothing of what it does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """`start(run)`, `await stop()`. Twice is fine, for both."""

    def __init__(self, name: str) -> None:
        """`name` is what the task is called where the loop complains about it."""
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it, unless it was begun and not stopped since."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(run(), name=self._name)

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
