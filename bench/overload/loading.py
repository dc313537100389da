"""One run: a plan played by a generator in a process of its own, and what the platform used meanwhile."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from bench.overload.arrivals import Arrivals
from bench.overload.calls import Attempt, Plan, Seen, Stream
from bench.overload.functions import OTHER_CORE, Served
from bench.overload.watching import Used, Watch

LAG_US = 5_000
"""A run whose generator sent a hundredth of its calls later than this is not valid: the load was not what it says."""


class Played(Struct, frozen=True, kw_only=True):
    """A run."""

    arrivals: Arrivals
    attempts: list[Attempt]
    connections: int
    lag_us: tuple[int, int]
    """By how much attempts were sent late: median and 99th percentile."""
    used: Used

    @property
    def valid(self) -> bool:
        return self.lag_us[1] <= LAG_US


def streams_of(served: Sequence[Served]) -> tuple[Stream, ...]:
    """Clients that come once."""
    return tuple(Stream(target=one.target) for one in served)


def play(
    port: int, pid: int, arrivals: Arrivals, streams: Sequence[Stream], folder: Path, *, linger_s: float = 12
) -> Played:
    """Returns when the last answer has come, or `linger_s` after the last call."""
    plan, seen = folder / "plan", folder / "seen"
    told = Plan(
        port=port,
        streams=tuple(streams),
        at_us=arrivals.at_us.tolist(),
        stream=arrivals.stream.tolist(),
        units=arrivals.units.tolist(),
        core=OTHER_CORE,
        linger_us=round(linger_s * 1e6),
    )
    plan.write_bytes(msgspec.msgpack.encode(told))
    with Watch(pid) as watch:
        subprocess.run([sys.executable, "-m", "bench.overload.generator", plan, seen], check=True)
    found = msgspec.msgpack.decode(seen.read_bytes(), type=Seen)
    return Played(
        arrivals=arrivals,
        attempts=found.attempts,
        connections=found.connections,
        lag_us=lag_us(found.attempts),
        used=watch.used(),
    )


def lag_us(attempts: Sequence[Attempt]) -> tuple[int, int]:
    """How late attempts were sent: median and 99th percentile; 0 where there are none."""
    if not attempts:
        return 0, 0
    late = np.array([attempt.sent_us - attempt.due_us for attempt in attempts])
    return int(np.quantile(late, 0.5)), int(np.quantile(late, 0.99))
