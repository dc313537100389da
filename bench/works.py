"""What each target is asked to do, and the figures of it: one pass of one kind of work over one target."""

from dataclasses import dataclass
from pathlib import Path

from bench.event_client import Streams, read
from bench.load import post_script, wrk
from bench.nginx import SIZES
from bench.targets import Target, cpu_seconds

Figures = dict[str, float]

PACED = "count={count}&gap_us={gap_us}"
ONE_GAP_US = 5_000
MANY, MANY_GAP_US = 32, 20_000
FULL, FULL_COUNT = 8, 2_000


@dataclass(frozen=True)
class Bodies:
    """Whole requests and answers: one connection for the latency, many for requests per second."""

    name: str
    path: str = ""
    send: int = 0
    connections: int = 32

    def measure(self, target: Target, seconds: int, folder: Path) -> Figures:
        url = target.url + self.path
        script = post_script(folder, self.send) if self.send else None
        slow = wrk(url, 1, seconds, script)
        before = cpu_seconds(target.pids)
        fast = wrk(url, self.connections, seconds, script)
        cpu = cpu_seconds(target.pids) - before
        return {
            "p50_ms": slow.p50_ms,
            "p99_ms": slow.p99_ms,
            "requests_per_s": fast.requests_per_s,
            "cpu_us_per_request": cpu * 1e6 / max(1, fast.requests),
            "busy_p99_ms": fast.p99_ms,
            "errors": float(fast.errors + slow.errors),
        }


@dataclass(frozen=True)
class Events:
    """Server-sent events: streams of one for the time to the first, one stream of 200 a second for the delay of each,
    32 of 50 a second for the CPU of each, and 8 as fast as they go. Where they go fast, several may come in one piece.
    """

    name: str

    def measure(self, target: Target, seconds: int, folder: Path) -> Figures:  # noqa: ARG002  as Bodies
        url = target.events_url + "?"
        first: Streams = read(url + PACED.format(count=1, gap_us=0), 1, seconds / 2)
        one = read(url + PACED.format(count=round(seconds * 1e6 / ONE_GAP_US), gap_us=ONE_GAP_US), 1, 0)
        before = cpu_seconds(target.pids)
        many = read(url + PACED.format(count=round(seconds * 1e6 / MANY_GAP_US), gap_us=MANY_GAP_US), MANY, 0)
        cpu = cpu_seconds(target.pids) - before
        full = read(url + PACED.format(count=FULL_COUNT, gap_us=0), FULL, seconds)
        return {
            "first_ms": first.first_p50_ms,
            "p50_ms": one.delay_p50_ms,
            "p99_ms": one.delay_p99_ms,
            "cpu_us_per_event": cpu * 1e6 / max(1, many.events),
            "busy_p99_ms": many.delay_p99_ms,
            "events_per_s": full.events_per_s,
            "errors": float(first.errors + one.errors + many.errors + full.errors),
        }


Work = Bodies | Events

KIB, MIB = SIZES["1KiB"], SIZES["1MiB"]
WORKS: tuple[Work, ...] = (
    Bodies("small"),
    Bodies("1 KiB sent", "put/1KiB", send=KIB),
    Bodies("1 KiB answered", "get/1KiB"),
    Bodies("1 MiB sent", "put/1MiB", send=MIB, connections=4),
    Bodies("1 MiB answered", "get/1MiB", connections=4),
    Events("events"),
)
