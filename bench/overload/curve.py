"""Goodput over load, with admission and without: from half of the capacity to ten times of it, and half again.

Capacity is the highest load with 99 % on time, with admission, where refusals count as misses. Load is offered GPU time
over what the GPUs have. Source of the criteria: the issue; DESIGN 7 and 11.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from bench.overload.bounding import most_useful_s
from bench.overload.capacity import bisected, confirmed
from bench.overload.curve_report import report_of
from bench.overload.figures import OfRun, of_run
from bench.overload.functions import THREE
from bench.overload.loading import Played
from bench.overload.report import cell, read, write
from bench.overload.settings import Platform, Settings, parsed, platform, say
from bench.overload.sides import Curve, Point, Side

FACTORS = (0.5, 0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 0.5)
WARM_UP_S = 2.0
SEARCH_S = 6.0
LOW, HIGH = 0.4, 1.8
"""Loads between which the capacity lies; above 1 because CPU variants take some."""
OFF: dict[str, object] = {"admission": {"policy": "none"}}
"""The GpuPolicy without admission; late requests are served too then."""


def main(arguments: Sequence[str]) -> None:
    settings = parsed("curve", arguments)
    with platform(THREE, settings) as serving:
        capacity, found = capacity_of(serving, settings)
        say(f"capacity: load {capacity:.3f}, {100 * found:.2f} % on time")
        enforced = Side(points=[measured(serving, factor, capacity, settings) for factor in FACTORS])
    without = tuple(replace(one, miss=("ServeLate",)) for one in THREE)
    with platform(without, settings, policy=OFF) as serving:
        off = Side(points=[measured(serving, factor, capacity, settings) for factor in FACTORS])
    made = Curve(on=enforced, off=off, capacity=capacity, on_time=found, seconds=settings.seconds, warm_up_s=WARM_UP_S)
    write(report_of(made, settings.queueing, settings.command), settings.results)


def capacity_of(serving: Platform, settings: Settings) -> tuple[float, float]:
    """The load, and what was on time in a run as long as the others."""

    def attainment(load: float, seconds: float) -> float:
        played = serving.load(load, WARM_UP_S + seconds, seed=round(1e4 * load))
        run = counted(serving, played, seconds)
        say(f"load {load:.3f}: {100 * run.attainment:.2f} % on time")
        return run.attainment

    found = bisected(lambda load: attainment(load, SEARCH_S), LOW, HIGH)
    return confirmed(lambda load: attainment(load, settings.seconds), found)


def capacity_for(serving: Platform, settings: Settings) -> float:
    """That of the curve, where it was measured with the same queueing before; else it is measured now."""
    for report in read(settings.results):
        if report.name == "curve" and report.figures.get("queueing") == settings.queueing:
            return float(report.figures["capacity"])
    return capacity_of(serving, settings)[0]


def counted(serving: Platform, played: Played, seconds: float, dropped: Sequence[int] = ()) -> OfRun:
    """The figures of a run without its warm-up; `dropped` are those of the warm-up too."""
    from_us = round(1e6 * WARM_UP_S)
    to_us = from_us + round(1e6 * seconds)
    return of_run(serving.served, played.arrivals, played.attempts, from_us=from_us, to_us=to_us, dropped=dropped)


def measured(serving: Platform, factor: float, capacity: float, settings: Settings) -> Point:
    load, before = factor * capacity, serving.counters()
    played = serving.load(load, WARM_UP_S + settings.seconds, seed=round(100 * factor))
    after = serving.counters()
    run = counted(serving, played, settings.seconds, serving.dropped(before, after))
    from_us = round(1e6 * WARM_UP_S)
    bound_s = most_useful_s(
        serving.served, played.arrivals, from_us=from_us, to_us=from_us + round(1e6 * settings.seconds)
    )
    served = sum(attempt.status == 200 for attempt in played.attempts)
    point = Point(
        factor=factor,
        load=load,
        per_second=run.offered / settings.seconds,
        run=run,
        promises=serving.promises(before, after),
        bound=bound_s / settings.seconds,
        served=served,
        refused=len(played.attempts) - served,
        cpu_s=played.used.cpu_s,
        seconds=WARM_UP_S + settings.seconds,
        waited_s=played.used.waited_s,
        peak_mib=played.used.peak_mib,
        lag_p99_ms=played.lag_us[1] / 1000,
        valid=played.valid,
    )
    say(
        f"{factor:g} x capacity: {point.per_second:.0f}/s, goodput {run.goodput:.3f}, on time "
        f"{100 * run.attainment:.1f} %, refusal p99 {cell(run.refusal_p99_ms)} ms, {'' if point.valid else 'not '}valid"
    )
    return point
