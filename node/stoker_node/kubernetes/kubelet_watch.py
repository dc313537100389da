"""Asks the kubelet what its pods hold: often while a pod waits for the answer, else now and then.

The kubelet answers at most a hundred Lists a second, to all that ask. One that is away is asked less often, and what
it said last goes on to count. Knows no replica.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from stoker_node.kubelet.pod_resources import Allocatable, KubeletAway, PodDevices
from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

FAST_S = 0.03
EAGER_S = 10.0
"""A pod that has no devices after so long has another trouble: it is looked for less often."""
PATIENT_S = 0.25
SLOW_S = 2.0
ALLOCATABLE_S = 1.0
AWAY_S = 1.0
_LIST, _ALLOCATABLE = "List", "GetAllocatableResources"
_NOT_ASKED = "The kubelet was not asked yet."


class Kubelet(Protocol):
    """What this needs of stoker_node.kubelet.pod_resources.PodResources."""

    async def list(self) -> tuple[PodDevices, ...] | KubeletAway: ...
    async def allocatable(self) -> tuple[Allocatable, ...] | KubeletAway: ...


class KubeletWatch:
    """`start()`, then `on_list` and `on_allocatable` with every answer until `await stop()`."""

    def __init__(
        self,
        kubelet: Kubelet,
        *,
        on_list: Callable[[Sequence[PodDevices]], None],
        on_allocatable: Callable[[Sequence[Allocatable]], None],
        waited_for: Callable[[], bool],
        fast_s: float = FAST_S,
        slow_s: float = SLOW_S,
    ) -> None:
        """`waited_for`: whether a pod waits for what the next List says."""
        self._kubelet = kubelet
        self._on_list = on_list
        self._on_allocatable = on_allocatable
        self._waited_for = waited_for
        self._fast_s = fast_s
        self._slow_s = slow_s
        self._poked = asyncio.Event()
        self._offered = asyncio.Event()
        self._task = Background("kubelet-watch")
        self._problems = {_LIST: _NOT_ASKED, _ALLOCATABLE: _NOT_ASKED}
        """Of each question: one that fails must not hide behind one that is answered."""

    @property
    def problem(self) -> str:
        """Why there is no fresh answer, in one sentence; empty when there is one to every question."""
        return next((problem for problem in self._problems.values() if problem), "")

    @property
    def has_offered(self) -> bool:
        """Whether the kubelet has ever said what it gives away: until then no GPU seems to be offered."""
        return self._offered.is_set()

    def poke(self) -> None:
        """A pod appeared: ask now."""
        self._poked.set()

    def start(self) -> None:
        self._task.start(self._run)

    async def asked(self, within_s: float) -> None:
        """Wait until it has said what it gives away, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._offered.wait()

    async def stop(self) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        asked_s = float("-inf")
        eager_since_s: float | None = None
        while True:
            if self._poked.is_set():
                self._poked.clear()
                eager_since_s = None
            if loop.time() - asked_s >= ALLOCATABLE_S:
                asked_s = loop.time()
                if self._take(_ALLOCATABLE, await self._kubelet.allocatable(), self._on_allocatable):
                    self._offered.set()
            if not self._take(_LIST, await self._kubelet.list(), self._on_list):
                pause_s = AWAY_S
            elif self._waited_for():
                eager_since_s = eager_since_s if eager_since_s is not None else loop.time()
                eager = loop.time() - eager_since_s < EAGER_S
                pause_s = self._fast_s if eager else PATIENT_S
            else:
                eager_since_s = None
                pause_s = min(self._slow_s, ALLOCATABLE_S)
            await self._pause(pause_s)

    async def _pause(self, pause_s: float) -> None:
        # Never less than the fast pause, however often it is poked.
        await asyncio.sleep(min(pause_s, self._fast_s))
        try:
            async with asyncio.timeout(max(0.0, pause_s - self._fast_s)):
                await self._poked.wait()
        except TimeoutError:
            return

    def _take(
        self,
        question: str,
        answer: Sequence[PodDevices] | Sequence[Allocatable] | KubeletAway,
        on_answer: Callable[..., None],
    ) -> bool:
        """Whether there was an answer."""
        if isinstance(answer, KubeletAway):
            if not self._problems[question] or self._problems[question] == _NOT_ASKED:
                log.warning("kubelet_away", question=question, reason=answer.reason)
            self._problems[question] = f"The kubelet cannot be asked: {answer.reason}."
            return False
        try:
            on_answer(answer)
        except Exception:
            # A mistake of ours must not end the watch: the next answer is looked at afresh.
            log.exception("kubelet_answer_failed")
        self._problems[question] = ""
        return True
