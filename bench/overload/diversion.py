"""A function with a CPU variant at 1.5 to 5 times of what the GPUs can do: what is diverted, and whether it is on time.

Only this function is served. Load is its GPU time over what the GPUs have. What the gateway adds is latency without
queue and execution as the platform tells them (Server-Timing), seen by the client.
"""

from collections.abc import Sequence

import msgspec

from bench.cluster.machine import machine
from bench.overload.curve import WARM_UP_S, counted
from bench.overload.figures import OfRun
from bench.overload.functions import THREE
from bench.overload.report import Report, at_least, at_most, cell, prose, table, write
from bench.overload.settings import parsed, platform, say

LOADS = (1.5, 2.0, 3.0, 5.0)
ON_TIME, OF_PEAK, ADDED_MS = 0.99, 0.85, 5.0
SERVED = tuple(one for one in THREE if one.cpu_slower is not None)


def main(arguments: Sequence[str]) -> None:
    settings = parsed("diversion", arguments)
    runs: list[OfRun] = []
    lags: list[float] = []
    with platform(SERVED, settings) as serving:
        for load in LOADS:
            before = serving.counters()
            played = serving.load(load, WARM_UP_S + settings.seconds, seed=round(100 * load))
            run = counted(serving, played, settings.seconds, serving.dropped(before, serving.counters()))
            runs.append(run)
            lags.append(played.lag_us[1] / 1000)
            say(f"load {load:g}: {on_cpu(run):.1f}/s on time on the CPU, gateway p99 {cell(run.added_p99_ms)} ms")
    write(report_of(runs, lags, settings.seconds, settings.command), settings.results)


def on_cpu(run: OfRun) -> float:
    """Requests/s that were on time on the CPU variant."""
    return sum(one.on_time_cpu for one in run.functions) / run.seconds


def kept(run: OfRun) -> float | None:
    """Of those that the CPU variant served: on time."""
    admitted = sum(one.admitted_cpu for one in run.functions)
    return sum(one.on_time_cpu for one in run.functions) / admitted if admitted else None


def report_of(runs: Sequence[OfRun], lags: Sequence[float], seconds: float, command: str) -> Report:
    one, last, peak = SERVED[0], runs[-1], max(on_cpu(run) for run in runs)
    rows = [
        [
            f"{load:g}",
            f"{run.offered / run.seconds:.0f}",
            f"{run.goodput:.3f}",
            f"{on_cpu(run):.1f}",
            "-" if (share := kept(run)) is None else f"{100 * share:.2f} %",
            f"{100 * run.attainment:.1f} %",
            cell(run.added_p50_ms),
            cell(run.added_p99_ms),
            f"{lag:.1f}",
        ]
        for load, run, lag in zip(LOADS, runs, lags, strict=True)
    ]
    head = ("load", "offered/s", "GPU: useful GPU-s/s", "CPU: on time/s", "CPU: on time of those served", "on time")
    return Report(
        name="diversion",
        title="Diversion",
        command=command,
        machine=machine(),
        text=(
            prose(
                f"`{one.name}` alone, `onPredictedMiss: [{', '.join(one.miss)}]`; its CPU variant takes",
                f"{one.cpu_slower:g} times as long, {one.cpu_at_once} at once: at most",
                f"{one.cpu_at_once / (one.cpu_slower or 1) / one.units * 1000:.0f} requests/s. {seconds:g} s each.",
            ),
        ),
        criteria=(
            at_least(
                f"on time of those that the CPU variant served, at {LOADS[-1]:g} times", kept(last), ON_TIME, "{:.4f}"
            ),
            at_least("on time on the CPU, over the most at any load", on_cpu(last) / peak if peak else None, OF_PEAK),
            at_most(f"p99 of what the gateway adds, at {LOADS[-1]:g} times, ms", last.added_p99_ms, ADDED_MS, "{:.1f}"),
        ),
        tables=(table("Loads", (*head, "added p50, ms", "added p99, ms", "generator p99, ms"), rows),),
        figures={"loads": LOADS, "runs": msgspec.to_builtins(runs), "generator_p99_ms": lags},
    )
