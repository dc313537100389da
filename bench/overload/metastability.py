"""A burst of ten times the capacity for 5 s among clients that try again, then 0.7 times: how soon all are served.

Clients give up after 1 s, or after the objective where that is longer, and make three more attempts. Those of one kind
try again at once; those of the other when they were told to. A call succeeds if an attempt of it is answered 200.
Amplification is what reaches agents over what reaches the gateway (the platform's own retries), told by its counters.
Source of the criteria: the issue.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from bench.cluster.machine import machine
from bench.overload.arrivals import Arrivals, Phase, arrivals
from bench.overload.calls import OK, Attempt, Stream
from bench.overload.counters import Counters, grown
from bench.overload.curve import capacity_for
from bench.overload.functions import THREE, rates_of
from bench.overload.loading import play, streams_of
from bench.overload.report import Criterion, Report, at_least, at_most, prose, table, write
from bench.overload.settings import Platform, Settings, parsed, platform, say

BEFORE_S, BURST_S, AFTER_S = 5.0, 5.0, 25.0
CALM, BURST = 0.7, 10.0
RETRIES, PATIENCE_US = 3, 1_000_000
WITHIN_S, SUCCESS, AMPLIFICATION = 10.0, 0.999, 1.1
WINDOWS = ((0.0, BEFORE_S), (BEFORE_S, 10.0), (10.0, 12.0), (12.0, 15.0), (15.0, 20.0), (20.0, 35.0))
"""Seconds; the burst is the second one."""
KINDS = {"at once": False, "when told": True}
"""Whether clients honour Stoker-Retry-After-Ms."""


class Outcome(Struct, frozen=True, kw_only=True):
    """One kind of clients."""

    success: list[float]
    """Share of calls, by window."""
    calls: list[int]
    attempts_per_call: list[float]
    """By window: what the clients themselves make of it."""
    recovered: float
    """Share of the calls that came WITHIN_S after the burst or later."""
    amplification: float | None
    """None: the platform does not count what its agents judge."""
    lag_p99_ms: float


def main(arguments: Sequence[str]) -> None:
    settings = parsed("metastability", arguments)
    found: dict[str, Outcome] = {}
    capacity = 0.0
    for kind, honours in KINDS.items():
        with platform(THREE, settings) as serving:
            capacity = capacity or capacity_for(serving, settings)
            found[kind] = storm(serving, capacity, honours=honours)
            say(f"{kind}: {100 * found[kind].recovered:.2f} % after {WITHIN_S:g} s")
    write(report_of(found, capacity, settings), settings.results)


def storm(serving: Platform, capacity: float, *, honours: bool) -> Outcome:
    calm, burst = (rates_of(serving.served, factor * capacity) for factor in (CALM, BURST))
    phases = [Phase(BEFORE_S, calm), Phase(BURST_S, burst), Phase(AFTER_S, calm)]
    drawn = arrivals(serving.served, phases)
    streams = [
        replace(stream, retries=RETRIES, patience_us=max(PATIENCE_US, 1000 * one.latency_ms), honours=honours)
        for one, stream in zip(serving.served, streams_of(serving.served), strict=True)
    ]
    before = serving.counters()
    attempts, lag_ms = sent(serving, drawn, streams)
    return outcome(drawn, attempts, before, serving.counters(), lag_ms)


def sent(serving: Platform, drawn: Arrivals, streams: Sequence[Stream]) -> tuple[list[Attempt], float]:
    played = play(serving.serving.port, serving.serving.pid, drawn, streams, serving.folder)
    return played.attempts, played.lag_us[1] / 1000


def outcome(drawn: Arrivals, attempts: Sequence[Attempt], before: Counters, after: Counters, lag_ms: float) -> Outcome:
    """What became of calls, by when they came."""
    good, made = np.zeros(len(drawn), bool), np.zeros(len(drawn), np.int64)
    for attempt in attempts:
        made[attempt.call] += 1
        good[attempt.call] |= attempt.status == OK
    at_s = drawn.at_us / 1e6
    masks = [(at_s >= begin) & (at_s < end) for begin, end in WINDOWS]
    settled = at_s >= BEFORE_S + BURST_S + WITHIN_S
    judged, came = (grown(before, after, name) for name in ("stoker_admissions_total", "stoker_requests_total"))
    return Outcome(
        success=[float(good[mask].mean()) if mask.any() else 1.0 for mask in masks],
        calls=[int(mask.sum()) for mask in masks],
        attempts_per_call=[float(made[mask].mean()) if mask.any() else 0.0 for mask in masks],
        recovered=float(good[settled].mean()) if settled.any() else 0.0,
        amplification=judged / came if came and after.knows("stoker_admissions_total") else None,
        lag_p99_ms=lag_ms,
    )


def report_of(found: dict[str, Outcome], capacity: float, settings: Settings) -> Report:
    criteria: list[Criterion] = []
    for kind, one in found.items():
        criteria += [
            at_least(
                f"success {WITHIN_S:g} s after the burst, clients that try again {kind}",
                one.recovered,
                SUCCESS,
                "{:.4f}",
            ),
            at_most(
                f"attempts at agents over requests, clients that try again {kind}", one.amplification, AMPLIFICATION
            ),
        ]
    rows = [
        [
            kind,
            f"{begin:g} to {end:g} s",
            str(one.calls[number]),
            f"{100 * one.success[number]:.2f} %",
            f"{one.attempts_per_call[number]:.2f}",
            f"{one.lag_p99_ms:.1f}",
        ]
        for kind, one in found.items()
        for number, (begin, end) in enumerate(WINDOWS)
    ]
    return Report(
        name="metastability",
        title="A storm of retries",
        command=settings.command,
        machine=machine(),
        text=(
            prose(
                f"{CALM:g} times the capacity (load {capacity:.3f}) for {BEFORE_S:g} s, {BURST:g} times for",
                f"{BURST_S:g} s, {CALM:g} times for {AFTER_S:g} s. Each client gives up after",
                f"{PATIENCE_US / 1e6:g} s, or after the objective where that is longer,",
                f"and makes {RETRIES} more attempts.",
            ),
        ),
        criteria=tuple(criteria),
        tables=(
            table(
                "Calls by when they came",
                ("tries again", "came at", "calls", "success", "attempts", "generator p99, ms"),
                rows,
            ),
        ),
        figures={"capacity": capacity, "kinds": {kind: _plain(one) for kind, one in found.items()}},
    )


def _plain(one: Outcome) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}
