"""What a refusal costs: CPU of the process that is gateway and agent, over a run in which every request is refused.

Two kinds (DESIGN 11). At the gateway alone: QueueFull, by a function that never gets ready and whose only place is
taken.
By way of an agent: PredictedMiss, by a function whose one replica is busy for longer than the objective allows; there
the figure is the gateway's and the agent's together. What else the process does meanwhile is small and counts too.
"""

import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from bench.load import Load, wrk
from bench.targets import Stoker, cpu_seconds

BUDGET_US = {"QueueFull": 60, "PredictedMiss": 100}
CONNECTIONS = 32
_REASON = re.compile(rb'"reason":"(\w+)"')


@dataclass(frozen=True)
class Refusals:
    reason: str
    cpu_us: float
    """Per refusal."""
    per_s: float
    p99_ms: float
    """With 32 connections in a closed loop, so the process is saturated."""
    requests: int
    served: int


class Refusing:
    """A Stoker that refuses: `with Refusing(target)` takes the places that others then do not get."""

    def __init__(self, target: Stoker) -> None:
        self._target = target
        self._holders: list[socket.socket] = []
        self.urls = {"QueueFull": f"{target.base}/full/", "PredictedMiss": f"{target.base}/busy/events?count=1"}

    def __enter__(self) -> Self:
        with urllib.request.urlopen(self.urls["PredictedMiss"], timeout=20) as answer:
            answer.read()
        # Requests that stay: held for a replica that never comes; running for two minutes.
        self._holders = [
            _ask(self.urls["QueueFull"]),
            _ask(f"{self._target.base}/busy/events?count=1200&gap_us=100000"),
        ]
        # A run is expected to overrun by as much again: soon by more than the objective.
        time.sleep(1)
        for reason, url in self.urls.items():
            _until_refused(url, reason)
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders:
            holder.close()

    def measure(self, reason: str, seconds: int) -> Refusals:
        before = cpu_seconds(self._target.pids)
        load: Load = wrk(self.urls[reason], CONNECTIONS, seconds)
        cpu_s = cpu_seconds(self._target.pids) - before
        # What was let in after all (a place came free) is no refusal.
        served = load.requests - load.errors
        return Refusals(
            reason=reason,
            cpu_us=cpu_s * 1e6 / max(1, load.requests),
            per_s=load.requests_per_s,
            p99_ms=load.p99_ms,
            requests=load.requests,
            served=served,
        )


def _ask(url: str) -> socket.socket:
    parts = urlsplit(url)
    holder = socket.create_connection((parts.hostname or "", parts.port or 80))
    holder.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    return holder


def _until_refused(url: str, reason: str, ceiling_s: float = 20) -> None:
    deadline = time.monotonic() + ceiling_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                answer.read()
        except urllib.error.HTTPError as refusal:
            found = _REASON.search(refusal.read())
            if found is not None and found[1].decode() == reason:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} is not refused as {reason}")
