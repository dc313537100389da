"""What a process uses while others load it: CPU over a stretch, and its memory, looked at a few times a second.

And for how long it could not run although it wanted to, because somebody else had its core: what a platform that has a
core to itself is not to be blamed for.
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from bench.cluster.machine import cpu_s, memory_mib

INTERVAL_S = 0.25
DISTURBED = 0.05
"""Of the time of a run, that the platform was kept waiting: more than this, and a quieter machine would show others."""


class Used(Struct, frozen=True, kw_only=True):
    """Of one process, over a run."""

    cpu_s: float
    waited_s: float
    """Its first thread was ready to run and did not."""
    seconds: float
    rss_mib: list[float]
    """Every INTERVAL_S."""

    @property
    def peak_mib(self) -> float:
        return max(self.rss_mib)


class Watch:
    """`with Watch(pid) as watch: ...`, then `watch.used()`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._rss_mib: list[float] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._began_s = self._cpu_s = self._waited_s = self._seconds = 0.0

    def __enter__(self) -> Self:
        self._began_s, self._cpu_s, self._waited_s = time.monotonic(), cpu_s([self._pid]), waited_s(self._pid)
        self._rss_mib.append(memory_mib(self._pid)[0])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._seconds = time.monotonic() - self._began_s
        if kind is None:
            self._cpu_s = cpu_s([self._pid]) - self._cpu_s
            self._waited_s = waited_s(self._pid) - self._waited_s

    def used(self) -> Used:
        return Used(cpu_s=self._cpu_s, waited_s=self._waited_s, seconds=self._seconds, rss_mib=self._rss_mib)

    def _look(self) -> None:
        while not self._over.wait(INTERVAL_S):
            try:
                self._rss_mib.append(memory_mib(self._pid)[0])
            except (OSError, KeyError):
                return  # it has ended, and whoever loads it will find out


def waited_s(pid: int) -> float:
    """Since its start."""
    _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(waited_ns) / 1e9
