"""One trace played to a real platform, and all that was seen of it: by its client, and by its own event log."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from bench.reality import client, event_log
from bench.reality.arrivals import Trace
from bench.reality.figures import Figures, figures
from bench.reality.serving import Serving, emptied
from bench.reality.world import BACKGROUND, PROFILES

_PARTS = re.compile(r"(queue|start|exec);dur=([0-9.]+)")


class Seen(Struct, frozen=True, kw_only=True):
    """One request as its client saw it. Times in microseconds."""

    latency_us: int
    status: int
    wait_us: int | None
    """In queues and in the hold, as Server-Timing says; None: it was not dispatched."""
    took_us: int | None
    """Of its slot, as the event log says."""
    cold: bool


class Played(Struct, frozen=True):
    requests: list[Seen]
    """In the order of the trace."""
    starts: int
    """Replicas that became ready."""
    late_us: list[int]
    """By how much the client sent each request late, the least first."""
    logged: event_log.Logged
    stamps: dict[str, list[int]]
    """When replicas listened, by id."""
    output: str


def play(trace: Trace, folder: Path, kind: str, policy: str, *, keep_alive_s: float | None = None) -> Played:
    """A platform of its own that knows nothing yet; it has ended when this returns."""
    with Serving(emptied(folder), kind, policy, keep_alive_s=keep_alive_s) as serving:
        plan, answers = folder / "plan.json", folder / "answers.json"
        names = [profile.name for profile in (*PROFILES, BACKGROUND)]
        asked = [
            client.Asked(at_us, f"/default/{names[function]}/?units={units}")
            for at_us, function, units in zip(
                trace.time_us.tolist(), trace.function.tolist(), trace.units.tolist(), strict=True
            )
        ]
        plan.write_bytes(msgspec.json.encode(client.Plan(serving.port, asked)))
        subprocess.run([sys.executable, "-m", "bench.reality.client", plan, answers], check=True)
    found = msgspec.json.decode(answers.read_bytes(), type=client.Answers)
    with serving.event_log.open("rb") as lines:
        logged = event_log.read(lines)
    stamps: dict[str, list[int]] = {}
    for line in serving.stamps.read_text().splitlines():
        replica, at_us = line.split()
        stamps.setdefault(replica, []).append(int(at_us))
    late_us = sorted(
        max(0, seen.sent_us - found.begin_us - at_us)
        for seen, at_us in zip(found.requests, trace.time_us.tolist(), strict=True)
    )
    return Played(
        requests=[_seen(number, one, logged) for number, one in enumerate(found.requests)],
        starts=sum(begun.ready_us is not None for begun in logged.starts),
        late_us=late_us,
        logged=logged,
        stamps=stamps,
        output=serving.output.read_text(),
    )


def figures_of(trace: Trace, played: Played) -> Figures:
    """As its client saw it; waits as the platform says."""
    objectives_us = [PROFILES[function].latency_ms * 1000 for function in trace.function.tolist()]
    return figures(
        wait_us=np.array([seen.wait_us for seen in played.requests if seen.wait_us is not None], np.int64),
        on_time=np.array(
            [
                seen.status == 200 and seen.latency_us <= objective_us
                for seen, objective_us in zip(played.requests, objectives_us, strict=True)
            ],
            bool,
        ),
        cold=np.array([seen.cold for seen in played.requests], bool),
        starts=played.starts,
    )


def _seen(number: int, one: client.Answered, logged: event_log.Logged) -> Seen:
    parts = {name: round(float(ms) * 1000) for name, ms in _PARTS.findall(one.timing)}
    known = logged.requests.get(f"r{number}")
    dispatched = known is not None and known.dispatched_us is not None
    return Seen(
        latency_us=one.answered_us - one.sent_us,
        status=one.status,
        wait_us=parts.get("queue", 0) + parts.get("start", 0) if dispatched else None,
        took_us=None if known is None else known.took_us,
        cold=one.cold,
    )
