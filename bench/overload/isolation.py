"""Ten tenants, one of them at ten times of its share, nine at their rate: what the nine notice of it.

Each tenant is a namespace with one function; all are alike. A share is a tenth of the load at which all ten together
reach 99 % on time. The nine send CALM of their share, with the tenth silent and with it at ten times of its share.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from bench.cluster.machine import machine
from bench.overload.arrivals import Phase, arrivals
from bench.overload.calls import OK
from bench.overload.curve import WARM_UP_S, capacity_of
from bench.overload.functions import Served, rates_of
from bench.overload.loading import Played, play, streams_of
from bench.overload.report import Report, at_least, at_most, cell, prose, table, write
from bench.overload.settings import Platform, parsed, platform, say

TENANTS = 10
GREEDY = 10.0
CALM = 0.9
SUCCESS, SLOWER = 0.995, 1.5
SERVED = tuple(
    Served(name="model", namespace=f"tenant-{number}", units=12, latency_ms=250, miss=("Refuse",))
    for number in range(TENANTS)
)


class Seen(Struct, frozen=True, kw_only=True):
    """What the nine saw, or the tenth."""

    offered: int
    success: float | None
    """Answered 200."""
    on_time: float | None
    p50_ms: float | None
    p99_ms: float | None
    reasons: dict[str, int]
    """Of those not answered 200."""


def main(arguments: Sequence[str]) -> None:
    settings = parsed("isolation", arguments)
    with platform(SERVED, settings) as serving:
        capacity, _ = capacity_of(serving, settings)
        rate = rates_of(SERVED, CALM * capacity)[0]
        greedy = rates_of(SERVED, GREEDY * capacity)[0]
        found, lags = {}, {}
        for name, tenth in (("alone", 0.0), ("beside it", greedy), ("alone again", 0.0)):
            rates = [tenth, *[rate] * (TENANTS - 1)]
            played = _run(serving, rates, WARM_UP_S + settings.seconds)
            found[name] = (seen(played, range(1, TENANTS)), seen(played, range(1)))
            lags[name] = played.lag_us[1] / 1000
            say(f"{name}: success {cell(found[name][0].success, '{:.4f}')}, p99 {cell(found[name][0].p99_ms)} ms")
    rows = [
        [name, *_row(nine), cell(tenth.success, "{:.4f}"), f"{lags[name]:.1f}"] for name, (nine, tenth) in found.items()
    ]
    beside, alone = found["beside it"][0], found["alone"][0]
    slower = beside.p99_ms / alone.p99_ms if beside.p99_ms and alone.p99_ms else None
    report = Report(
        name="isolation",
        title="One tenant among ten",
        command=settings.command,
        machine=machine(),
        text=(
            prose(
                f"{TENANTS} namespaces with one function each ({SERVED[0].units:g} ms, {SERVED[0].latency_ms} ms).",
                f"Together they reach 99 % on time up to a load of {capacity:.3f}. Nine send {CALM:g} of their tenth",
                f"of it; the other sends nothing, or {GREEDY:g} times of its tenth. {settings.seconds:g} s each.",
            ),
        ),
        criteria=(
            at_least("success of the nine", beside.success, SUCCESS, "{:.4f}"),
            at_most("p99 of the nine over that without the tenth", slower, SLOWER, "{:.2f}"),
        ),
        tables=(
            table(
                "What the nine see",
                (
                    "the tenth",
                    "requests",
                    "success",
                    "on time",
                    "p50, ms",
                    "p99, ms",
                    "refused",
                    "success of the tenth",
                    "generator p99, ms",
                ),
                rows,
            ),
        ),
        figures={"capacity": capacity, "runs": {name: msgspec.to_builtins(both) for name, both in found.items()}},
    )
    write(report, settings.results)


def seen(played: Played, tenants: range) -> Seen:
    """By all of these tenants together, without the warm-up."""
    stream = played.arrivals.stream
    mine = [one for one in played.attempts if one.due_us >= 1e6 * WARM_UP_S and int(stream[one.call]) in tenants]
    took_us = np.array([one.ended_us - one.due_us for one in mine if one.status == OK])
    reasons = Counter(one.reason or str(one.status) for one in mine if one.status != OK)
    limit_us = 1000 * SERVED[0].latency_ms
    return Seen(
        offered=len(mine),
        success=len(took_us) / len(mine) if mine else None,
        on_time=float((took_us <= limit_us).sum()) / len(mine) if mine else None,
        p50_ms=float(np.quantile(took_us, 0.5)) / 1000 if len(took_us) else None,
        p99_ms=float(np.quantile(took_us, 0.99)) / 1000 if len(took_us) else None,
        reasons=dict(sorted(reasons.items())),
    )


def _run(serving: Platform, rates: Sequence[float], seconds: float) -> Played:
    drawn = arrivals(SERVED, [Phase(seconds, rates)])
    return play(serving.serving.port, serving.serving.pid, drawn, streams_of(SERVED), serving.folder)


def _row(nine: Seen) -> list[str]:
    return [
        str(nine.offered),
        cell(nine.success, "{:.4f}"),
        cell(nine.on_time, "{:.4f}"),
        cell(nine.p50_ms, "{:.1f}"),
        cell(nine.p99_ms, "{:.1f}"),
        ", ".join(f"{count} {reason}" for reason, count in nine.reasons.items()) or "-",
    ]
