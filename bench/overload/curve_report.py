"""What the curve says: criteria, tables and charts of it. Pure. Sources of the criteria: the issue; DESIGN 7 and 11."""

import math
from typing import Any

import msgspec

from bench.cluster.machine import machine
from bench.overload.capacity import LEAST_ON_TIME
from bench.overload.figures import shares
from bench.overload.functions import SLOTS, THREE
from bench.overload.report import Criterion, Report, at_least, at_most, cell, prose, table
from bench.overload.sides import Curve, Side, cpu_per_refusal_ms
from bench.overload.watching import DISTURBED
from stoker_sim.results.result import Chart, Series, Table

OF_PEAK = {2: 0.95, 5: 0.90, 10: 0.85}
OF_BOUND, OF_SHARE = 0.85, 0.80
REFUSAL_MS, REFUSAL_CPU_MS, RSS, WASTED = 20.0, 0.1, 1.5, 0.01


def criteria(on: Side, off: Side) -> tuple[Criterion, ...]:
    loaded = [point for point in on.points if point.factor >= 1]
    worst_share = min((min(shares(point.run, on.peak)), point.factor) for point in loaded)
    return (
        *(
            at_least(
                f"goodput over its peak, at {factor} times the capacity", on.at(factor).run.goodput / on.peak, target
            )
            for factor, target in OF_PEAK.items()
        ),
        *(
            at_least(
                f"goodput over the offline bound, at {factor} times",
                on.at(factor).run.everywhere / on.at(factor).bound,
                OF_BOUND,
            )
            for factor in OF_PEAK
        ),
        at_least(
            f"least of a function's weighted max-min share, from 1 to 10 times (at {worst_share[1]:g})",
            worst_share[0],
            OF_SHARE,
        ),
        *(_conditional(number, on) for number in range(len(THREE))),
        at_most("p99 of a refusal at 10 times, ms", on.at(10).run.refusal_p99_ms, REFUSAL_MS, "{:.1f}"),
        at_most("CPU of a refusal by way of an agent, ms", cpu_per_refusal_ms(on), REFUSAL_CPU_MS),
        at_most(
            "peak of resident memory over that at half the capacity",
            max(point.peak_mib for point in on.points) / on.points[0].peak_mib,
            RSS,
            "{:.2f}",
        ),
        at_most(
            "GPU time of late answers over all that was used, at 2 times", on.at(2).run.wasted_share, WASTED, "{:.4f}"
        ),
        at_least(
            "on time at half the capacity afterwards, over before",
            on.points[-1].run.attainment / max(1e-9, on.points[0].run.attainment),
            LEAST_ON_TIME,
        ),
        Criterion(
            what="without admission goodput collapses: at 10 times, over its peak",
            target="less than with admission",
            measured=f"{off.at(10).run.goodput / off.peak:.3f}, with admission {on.at(10).run.goodput / on.peak:.3f}",
            met=off.at(10).run.goodput / off.peak < on.at(10).run.goodput / on.peak,
        ),
    )


def _conditional(number: int, side: Side) -> Criterion:
    """On time over admitted, at the worst of the loads. Of so few a rank says nothing; there are many hundreds here."""
    worst = min(
        (value, point.factor)
        for point in side.points
        if (value := point.run.functions[number].conditional) is not None and point.factor >= 1
    )
    percentile = side.points[0].run.functions[number].percentile
    what = f"{THREE[number].name}: on time over admitted, from 1 to 10 times (at {worst[1]:g})"
    return at_least(what, worst[0], percentile / 100, "{:.4f}")


def report_of(curve: Curve, queueing: str, command: str) -> Report:
    on, off, capacity = curve.on, curve.off, curve.capacity
    asked = capacity * SLOTS
    return Report(
        name="curve",
        title="Goodput over load",
        command=command,
        machine=machine(),
        text=(
            prose(
                f"The capacity is a load of {capacity:.3f}: {asked:.2f} GPU-seconds per second,",
                f"{on.at(1).per_second:.0f} requests/s, of which {100 * curve.on_time:.2f} % were on time. Each run",
                f"lasts {curve.seconds:g} s after {curve.warm_up_s:g} s that do not count; queueing is",
                f"{queueing}; all runs of one side meet the same `stoker serve`, in the order of the table.",
                "Without admission: `onPredictedMiss: [ServeLate]`, and a GpuPolicy with `admission: {policy: none}`.",
            ),
            prose(
                "Useful GPU time is what requests asked for that were answered on time on a GPU. The bound is over all",
                "that is on time anywhere, weighted by the GPU time it asks for, and knows the future; `of the bound`",
                "counts the same.",
            ),
        ),
        criteria=criteria(on, off),
        tables=(
            _loads("With admission", on, off=False),
            _functions("Functions, with admission", on),
            _loads("Without admission", off, off=True),
        ),
        charts=_charts(on, off),
        notes=_notes(on, off),
        figures={"queueing": queueing, **msgspec.to_builtins(curve)},
    )


def _notes(on: Side, off: Side) -> tuple[str, ...]:
    notes = []
    for side, name in ((on, "with"), (off, "without")):
        late = [f"{point.factor:g} ({point.lag_p99_ms:.1f} ms)" for point in side.points if not point.valid]
        if late:
            notes.append(
                f"Runs {name} admission that are not valid, because the generator was late: {', '.join(late)}."
            )
        waited = [(point.factor, point.waited_s / point.seconds) for point in side.points]
        disturbed = [f"{factor:g} ({100 * share:.0f} %)" for factor, share in waited if share > DISTURBED]
        if disturbed:
            said = f"Runs {name} admission in which others had the platform's core for more than"
            notes.append(f"{said} {100 * DISTURBED:g} % of the time: {', '.join(disturbed)}.")
    return tuple(notes)


def _loads(title: str, side: Side, *, off: bool) -> Table:
    head = (
        "load, x capacity",
        "offered/s",
        "useful GPU-s/s",
        "of its peak",
        "of the bound",
        "on time",
        "refused",
        "late",
    )
    more = (
        "refusal p50, ms",
        "refusal p99, ms",
        "late GPU time",
        "CPU, cores",
        "kept waiting",
        "RSS peak, MiB",
        "generator p99, ms",
    )
    rows = []
    for point in side.points:
        run = point.run
        refused = sum(one.refused for one in run.functions) / max(1, run.offered)
        rows.append(
            [
                f"{point.factor:g}",
                f"{point.per_second:.0f}",
                f"{run.goodput:.3f}",
                f"{run.goodput / side.peak:.3f}",
                f"{run.everywhere / point.bound:.3f}" if point.bound else "-",
                f"{100 * run.attainment:.2f} %",
                f"{100 * refused:.1f} %",
                f"{100 * run.late_share:.2f} %",
                cell(run.refusal_p50_ms),
                cell(run.refusal_p99_ms),
                f"{100 * run.wasted_share:.2f} %",
                f"{point.cpu_s / point.seconds:.2f}",
                f"{100 * point.waited_s / point.seconds:.1f} %",
                f"{point.peak_mib:.0f}",
                f"{point.lag_p99_ms:.1f}" + ("" if point.valid else " (not valid)"),
            ]
        )
    foot = prose(
        "Late: answered after the objective, of all. Late GPU time: of all executions on GPUs. Kept waiting:",
        "the platform was ready to run and did not, because others had its core.",
    )
    return table(title, (*head, *more), rows, "" if off else foot)


def _functions(title: str, side: Side) -> Table:
    head = ("load, x capacity", "function", "offered/s", "of its share", "on time", "on time over admitted")
    rows = []
    for point in side.points:
        of_share = shares(point.run, side.peak)
        for one, got, (promised, broken) in zip(point.run.functions, of_share, point.promises, strict=True):
            rows.append(
                [
                    f"{point.factor:g}",
                    one.name,
                    f"{one.offered / point.run.seconds:.0f}",
                    f"{got:.2f}",
                    f"{100 * one.on_time / max(1, one.offered):.1f} %",
                    "-" if one.conditional is None else f"{100 * one.conditional:.2f} %",
                    f"{100 * (1 - broken / promised):.2f} %" if promised else "-",
                    f"{one.percentile:g} %",
                    cell(one.latency_p99_ms, "{:.0f}"),
                    str(one.admitted_cpu),
                ]
            )
    foot = prose(
        "Share: on time on GPUs and CPUs, over the weighted max-min share, given what is asked for, of the peak of",
        "goodput on GPUs. Late, dropped, expired: admitted.",
        "Kept: promises of the agents, by their own count and clock.",
    )
    return table(title, (*head, "kept", "promised", "p99, ms", "on CPU"), rows, foot)


def _charts(on: Side, off: Side) -> tuple[Chart, ...]:
    def series(label: str, side: Side, value: Any, *, published: bool = False) -> Series:
        points = [point for point in side.points[:-1] if math.isfinite(value(point))]
        return Series(
            label=label,
            x=tuple(point.factor for point in points),
            y=tuple(value(point) for point in points),
            published=published,
        )

    return (
        Chart(
            name="goodput",
            title="Useful GPU-seconds per second over load",
            caption="On GPUs and CPUs, each by the GPU time it asks for. Grey: no schedule of these requests has more.",
            x_label="offered load, times the capacity",
            y_label="useful GPU-seconds per second",
            series=(
                series("with admission", on, lambda point: point.run.everywhere),
                series("without", off, lambda point: point.run.everywhere),
                series("bound", on, lambda point: point.bound, published=True),
            ),
            log_x=True,
        ),
        Chart(
            name="kept",
            title="On time over admitted",
            caption="What was promised to tight is 99 %, to middle 95 %, to loose 90 %.",
            x_label="offered load, times the capacity",
            y_label="on time over admitted, %",
            series=tuple(
                Series(
                    label=f"{one.name}{'' if side is on else ', without'}",
                    x=tuple(point.factor for point in side.points[:-1]),
                    y=tuple(100 * (point.run.functions[number].conditional or 0.0) for point in side.points[:-1]),
                    published=side is off,
                )
                for side in (on, off)
                for number, one in enumerate(THREE)
            ),
            log_x=True,
        ),
    )
