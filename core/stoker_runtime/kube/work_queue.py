"""A queue of keys for level-triggered work: each key once, never twice at a time, again later when it failed.

The handler looks at the world as it is when it runs, so that ten changes of one object are one run. Knows nothing of
what a key stands for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from random import Random
from typing import Generic, TypeVar

import structlog
from msgspec import Struct

from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.clock import monotonic_us

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)


class Run(Struct, Generic[K], frozen=True):
    """One run of the handler, for metrics."""

    key: K
    waited_us: int
    """From when it was to run until it ran."""
    ran_us: int
    failed: bool


class WorkQueue(Generic[K]):
    """`start()`, `add(key)` from anywhere on the loop, `await stop()`.

    The handler gets a key and returns the seconds after which it wants to see it again, or None. When it raises, or
    takes longer than `timeout_s`, the key comes again after a growing pause; a change of the object does not wait
    for that. Keys run in the order in which they became due.
    """

    def __init__(
        self,
        handler: Callable[[K], Awaitable[float | None]],
        *,
        name: str,
        workers: int = 4,
        timeout_s: float = 60.0,
        backoff: Backoff | None = None,
        rng: Random | None = None,
        clock_us: Callable[[], int] = monotonic_us,
        on_run: Callable[[Run[K]], None] | None = None,
    ) -> None:
        self._handler = handler
        self._name = name
        self._workers = workers
        self._timeout_s = timeout_s
        self._backoff = backoff or Backoff(first_s=0.05, most_s=60.0)
        self._rng = rng or Random()  # noqa: S311  jitter, no secret
        self._clock_us = clock_us
        self._on_run = on_run
        self._due: deque[K] = deque()
        self._due_since: dict[K, int] = {}
        self._running: dict[K, asyncio.Task[None]] = {}
        self._dirty: dict[K, int] = {}
        """Keys that were added while they ran, and since when."""
        self._asked: dict[K, asyncio.TimerHandle] = {}
        """Delayed adds."""
        self._again: dict[K, asyncio.TimerHandle] = {}
        """What a run wanted: another look, or a retry. Each run replaces it."""
        self._failures: dict[K, int] = {}
        self._open = False
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to run what was added. Before, keys only gather."""
        self._open = not self._stopped
        self._pump()

    def add(self, key: K, *, after_s: float = 0.0) -> None:
        """See to this key, once, as soon as a worker is free, or after a while. Of two delayed adds the earlier
        counts. Does nothing after `stop`.
        """
        if self._stopped:
            return
        if after_s <= 0:
            self._make_due(key)
            return
        loop = asyncio.get_running_loop()
        known = self._asked.get(key)
        if known is not None:
            if known.when() <= loop.time() + after_s:
                return
            known.cancel()
        self._asked[key] = loop.call_later(after_s, self._fire, self._asked, key)

    def forget(self, key: K) -> None:
        """Drop what is planned for a key whose object is gone. A run that is under way ends as it will."""
        for timers in (self._asked, self._again):
            timer = timers.pop(key, None)
            if timer is not None:
                timer.cancel()
        self._failures.pop(key, None)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Begin nothing more, let what runs end for so long, then cancel it."""
        self._open = False
        self._stopped = True
        for timers in (self._asked, self._again):
            for timer in timers.values():
                timer.cancel()
            timers.clear()
        self._due.clear()
        self._due_since.clear()
        self._dirty.clear()
        running = list(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def drained(self) -> None:
        """Returns when no key is due or running. Delayed keys are not waited for."""
        await self._idle.wait()

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._due)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def failing(self) -> int:
        """Keys whose last run failed."""
        return len(self._failures)

    def oldest_age_us(self) -> int:
        """For how long the first key in line has waited; 0 when none does."""
        return self._clock_us() - self._due_since[self._due[0]] if self._due else 0

    def failures(self, key: K) -> int:
        """Runs of this key that failed since the last that did not."""
        return self._failures.get(key, 0)

    def _fire(self, timers: dict[K, asyncio.TimerHandle], key: K) -> None:
        timers.pop(key, None)
        self._make_due(key)

    def _make_due(self, key: K) -> None:
        if key in self._running:
            self._dirty.setdefault(key, self._clock_us())
        elif key not in self._due_since:
            self._due.append(key)
            self._due_since[key] = self._clock_us()
            self._idle.clear()
            self._pump()

    def _pump(self) -> None:
        while self._open and self._due and len(self._running) < self._workers:
            key = self._due.popleft()
            since_us = self._due_since.pop(key)
            again = self._again.pop(key, None)
            if again is not None:
                again.cancel()
            self._running[key] = asyncio.create_task(self._run(key, since_us), name=f"{self._name} {key}")

    async def _run(self, key: K, since_us: int) -> None:
        began_us = self._clock_us()
        self._dirty.pop(key, None)  # added between being chosen and beginning: this run sees to it
        failed = True
        again_s: float | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                again_s = await self._handler(key)
            failed = False
        except TimeoutError as exc:
            log.warning("work_timed_out", queue=self._name, key=str(key), timeout_s=self._timeout_s, error=str(exc))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not we were cancelled but something that the handler waited for: a failure like others.
            log.warning("work_cancelled_inside", queue=self._name, key=str(key))
        except Exception:
            log.exception("work_failed", queue=self._name, key=str(key), failures=self.failures(key) + 1)
        finally:
            del self._running[key]
        if failed:
            failures = self._failures[key] = self.failures(key) + 1
            again_s = self._backoff.pause_s(failures - 1, self._rng)
        else:
            self._failures.pop(key, None)
        if self._open:
            self._plan_next(key, again_s)
        self._pump()
        if not self._due and not self._running:
            self._idle.set()
        if self._on_run is not None:
            self._on_run(Run(key, began_us - since_us, self._clock_us() - began_us, failed))

    def _plan_next(self, key: K, again_s: float | None) -> None:
        dirty_us = self._dirty.pop(key, None)
        if again_s is not None:
            loop = asyncio.get_running_loop()
            self._again[key] = loop.call_later(max(0.0, again_s), self._fire, self._again, key)
        if dirty_us is not None:
            self._due.append(key)
            self._due_since[key] = dirty_us
