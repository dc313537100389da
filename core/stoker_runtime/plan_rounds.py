"""Plans again and again: soon after something changed, when the last round said so at the latest, never without pause.

Pokes that come together make one round. A round that breaks is logged and tried again. Knows nothing of what a round
does.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

MIN_INTERVAL_S = 0.05
"""At most 20 plans a second, however many requests come and go; the first after a quiet time runs at once."""
BROKEN_S = 1.0
"""After a plan that raised: a defect must not take the replicas that run with it. No pause is longer."""


class PlanRounds:
    """`start()`, `poke()`, `await stop()`."""

    def __init__(
        self,
        name: str,
        play: Callable[[], float],
        clock_us: Callable[[], int],
        *,
        share: float,
        on_played: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`play` is one round: it returns in how many seconds the next one is due. Rounds get at most that `share` of
        the loop's time. `on_played` gets the seconds that a round took.
        """
        self.problem = ""
        """Why the last round broke, in one sentence; empty when it did not."""
        self._play = play
        self._clock_us = clock_us
        self._share = share
        self._on_played = on_played
        self._poked = asyncio.Event()
        self._task = Background(name)

    def poke(self) -> None:
        """Something changed: play soon. Cheap; from the event loop's thread only."""
        self._poked.set()

    def start(self) -> None:
        """Play the first round, and go on until stop()."""
        self._task.start(self._run)

    async def stop(self) -> None:
        """Begin no round any more."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            self._poked.clear()
            begin_us = self._clock_us()
            try:
                wait_s = self._play()
                took_s = (self._clock_us() - begin_us) / 1e6
                self._on_played(took_s)
                pause_s = max(MIN_INTERVAL_S, took_s / self._share)
                self.problem = ""
            except Exception as error:
                self.problem = f"No plan can be made ({type(error).__name__}); the log has more."
                log.exception("plan_failed")
                wait_s = pause_s = BROKEN_S
            await asyncio.sleep(min(pause_s, BROKEN_S))
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait_s - pause_s)):
                    await self._poked.wait()
