"""What the simulator is told about the platform: measured in a run of its own, with other arrivals and little load.

Every function is called a few times, left alone until its replicas have gone, and called again. So each round has a
start, and executions that hardly meet one another. A short function is called all the while.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean, median

import numpy as np
from msgspec import Struct

from bench.reality.arrivals import CALIBRATION_SEED, Trace, rounds
from bench.reality.playing import Played, play
from bench.reality.world import PROFILES

KEEP_ALIVE_S = 0.5
_PERIODS_US = range(50_000, 54_001, 100)
"""Where the time between two probes is looked for: a timer of 50 ms is late by up to a few."""
_PAUSE_US = 60_000
"""Plans further apart were not waited for: nothing had changed."""


class Measured(Struct, frozen=True, kw_only=True):
    """One function."""

    name: str
    rest_us: list[int]
    """By how much each execution differed from the line."""
    load_us: list[int]
    """From the decision to start it until it listened."""


class Calibration(Struct, frozen=True, kw_only=True):
    """Of one kind of functions."""

    kind: str
    base_us: float
    unit_us: float
    """An execution takes base + units * unit, seen from the agent."""
    functions: list[Measured]
    attach_us: int
    """From the decision to start a replica until it is probed first."""
    probe_us: int
    """Between two probes."""
    stop_us: int
    """From the decision to drain an idle replica until its device is free."""
    plan_us: int
    """Between two plans where each is waited for."""
    overhead_us: int
    """What a client waits beyond queue, hold and execution: the hops, and its own."""
    requests: int
    late_us: list[int] = []
    """By how much the client sent each request late."""

    def exec_us(self, units: float) -> float:
        return self.base_us + units * self.unit_us

    def mean_exec_us(self, function: int, units: float) -> float:
        """Of requests of a function (index into PROFILES) with so much work on average."""
        return self.exec_us(units) + fmean(self.functions[function].rest_us)


def calibrate(kind: str, seconds: float, folder: Path) -> Calibration:
    trace = rounds(seconds, CALIBRATION_SEED)
    return of_played(kind, trace, play(trace, folder, kind, "fcfs", keep_alive_s=KEEP_ALIVE_S))


def of_played(kind: str, trace: Trace, played: Played) -> Calibration:
    """What a run tells."""
    ran = [
        (int(function), float(units), seen)
        for function, units, seen in zip(trace.function, trace.units, played.requests, strict=True)
        if seen.took_us is not None and seen.status == 200 and function < len(PROFILES)
    ]
    units = np.array([one[1] for one in ran])
    took_us = np.array([one[2].took_us for one in ran], float)
    base_us, unit_us = _line(units, took_us)
    rest_us = took_us - base_us - unit_us * units
    loads_us: dict[str, list[int]] = {}
    for begun in played.logged.starts:
        listened = [at_us for at_us in played.stamps.get(begun.replica, []) if at_us > begun.at_us]
        if listened:
            loads_us.setdefault(begun.function, []).append(min(listened) - begun.at_us)
    attach_us, probe_us = probing([begun.ready_us for begun in played.logged.starts if begun.ready_us is not None])
    gaps_us = np.diff(np.array(played.logged.plans_us))
    own_us = np.array([one[0] for one in ran])
    return Calibration(
        kind=kind,
        base_us=base_us,
        unit_us=unit_us,
        functions=[
            Measured(
                name=profile.name,
                rest_us=[round(rest) for rest in rest_us[own_us == index].tolist()],
                load_us=loads_us.get(f"default/{profile.name}", []),
            )
            for index, profile in enumerate(PROFILES)
        ],
        attach_us=attach_us,
        probe_us=probe_us,
        stop_us=round(median(_stops_us(played.output))),
        plan_us=round(float(np.median(gaps_us[gaps_us < _PAUSE_US]))),
        overhead_us=round(median(one.latency_us - (one.wait_us or 0) - (one.took_us or 0) for _, _, one in ran)),
        requests=len(ran),
        late_us=played.late_us,
    )


def probing(ready_us: Sequence[int]) -> tuple[int, int]:
    """When probing began after the decision to start, and the time between probes, of start-ups of many lengths.

    A start-up ends at a probe, so its length less the begin is a multiple of the period: the period is the one at which
    the remainders agree best (the resultant of their angles is longest), the begin the angle that they agree on.
    """
    best = (-1.0, 0.0, 0)
    for period_us in _PERIODS_US:
        angles = [2 * math.pi * (us % period_us) / period_us for us in ready_us]
        x, y = fmean(math.cos(angle) for angle in angles), fmean(math.sin(angle) for angle in angles)
        best = max(best, (math.hypot(x, y), math.atan2(y, x) % (2 * math.pi), period_us))
    _, angle, period_us = best
    return round(angle / (2 * math.pi) * period_us), period_us


def _line(units: np.ndarray, took_us: np.ndarray) -> tuple[float, float]:
    """Base and slope: least squares, then again without the tenth that is farthest off."""
    kept = np.ones(len(units), bool)
    for _ in range(2):
        slope, base = np.polyfit(units[kept], took_us[kept], 1)
        off = np.abs(took_us - base - slope * units) / np.maximum(units, 1)
        kept = off <= np.quantile(off, 0.9)
    return float(base), float(slope)


def _stops_us(output: str) -> list[float]:
    """From `replica_draining` to `replica_gone`, of all replicas in the log of the platform."""
    since: dict[str, datetime] = {}
    found = []
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        if entry.get("event") == "replica_draining":
            since[entry["replica"]] = datetime.fromisoformat(entry["timestamp"])
        elif entry.get("event") == "replica_gone" and entry["replica"] in since:
            at = datetime.fromisoformat(entry["timestamp"])
            found.append((at - since.pop(entry["replica"])).total_seconds() * 1e6)
    return found
