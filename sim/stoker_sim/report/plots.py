"""The plots of a comparison, each as SVG that stands inside HTML. Same comparison, same bytes: no date, no random id.

Matplotlib's figures are made without its global state. Colours are those of Okabe and Ito, told apart by everybody;
lines and markers differ too.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from msgspec import Struct
from msgspec.structs import replace

from stoker_sim.compare import Comparison, Run, Setting
from stoker_sim.evaluate.curves import LEVELS
from stoker_sim.evaluate.intervals import Interval, interval
from stoker_sim.report.look import COLOURS, MARKERS, STYLE
from stoker_sim.report.tables import Found

_LINES = ("-", "--", "-.", ":")
_FLOOR_MS = 0.1
_NUMBERED = re.compile(r' id="[a-zA-Z0-9.]+_[0-9]+"')
"""Ids that matplotlib gives to groups, the same in every plot; nothing refers to them."""


class Plot(Struct, frozen=True, kw_only=True):
    title: str
    caption: str
    svg: str


def plots_of(comparison: Comparison, found: Found) -> tuple[Plot, ...]:
    """In the order of a report; those that have nothing to show are left out."""
    shown = told_setting(comparison)
    at = f" ({shown.label})" if shown.label else ""
    one = comparison.seeds[0]
    made = (
        _plot(
            "wait-cdf",
            f"Wait of requests{at}",
            "Share of the dispatched requests that waited at most so long, arrival to dispatch, mean over seeds; "
            f"waits below {_FLOOR_MS:g} ms are drawn there.",
            lambda axes: _waits(axes, comparison, shown),
        ),
        _plot(
            "attainment-load",
            f"On time over load{_fixed(shown, 'load')}",
            "Requests on time over offered, at the load that the workload really has; bars are 95 % intervals over "
            "seeds. The grey line is the bound: no schedule of the same requests lies above it.",
            lambda axes: _over_load(axes, comparison, found),
        ),
        _plot(
            "attainment-slo",
            f"On time over objectives{_fixed(shown, 'slo_factor')}",
            "Requests on time over offered, by the objective as a multiple of the function's isolated warm median; "
            "bars and the grey line as above.",
            lambda axes: _over_objectives(axes, comparison, found),
        ),
        _plot(
            "cold-memory",
            f"Cold starts over memory{_fixed(shown, 'memory_mib')}",
            "Requests that waited for a start, over offered, by the memory of a GPU; bars are 95 % intervals.",
            lambda axes: _over_memory(axes, comparison, found),
        ),
        _plot(
            "fairness-time",
            f"Fairness over time{at}",
            "Jain's index of service over max-min share in windows of "
            f"{comparison.of(shown, comparison.policies[0])[0].measured.curves.window_s} s, seed {one}; 1 is fair.",
            lambda axes: _fairness(axes, comparison, shown),
        ),
        _plot(
            "attainment-gpu",
            "On time against GPU time held",
            "One point for each policy and setting, mean over seeds: further up and further left is better.",
            lambda axes: _against_gpu(axes, comparison, found),
        ),
    )
    return tuple(plot for plot in made if plot is not None)


def told_setting(comparison: Comparison) -> Setting:
    """The setting that plots of one setting show: the one whose load is nearest to 0.95, the last of equal ones."""

    def distance(setting: Setting) -> float:
        return abs((setting.load or 0.95) - 0.95)

    return min(reversed(comparison.settings), key=distance)


def _plot(name: str, title: str, caption: str, draw: Callable[[Axes], bool]) -> Plot | None:
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        if not draw(axes):
            return None
        axes.legend(fontsize="small")
        out = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    return Plot(title=title, caption=caption, svg=_NUMBERED.sub("", text[text.index("<svg") :]))


def _waits(axes: Axes, comparison: Comparison, setting: Setting) -> bool:
    drawn = False
    for number, policy in enumerate(comparison.policies):
        curves = [run.measured.curves.wait_ms for run in comparison.of(setting, policy) if run.measured.curves.wait_ms]
        if curves:
            means = [max(_FLOOR_MS, sum(values) / len(values)) for values in zip(*curves, strict=True)]
            axes.step(means, LEVELS, where="post", label=policy, color=_colour(number), linestyle=_line(number))
            drawn = True
    axes.set(xscale="log", xlabel="wait, ms", ylabel="share of requests", ylim=(0, 1.02))
    return drawn


def _over_load(axes: Axes, comparison: Comparison, found: Found) -> bool:
    settings = [s for s in comparison.settings if _beside(s, told_setting(comparison), "load")]
    loads = [_mean(comparison.of(setting, comparison.policies[0]), lambda run: run.load) for setting in settings]
    _on_time(axes, comparison, found, settings, loads)
    axes.set(xlabel="load")
    return True


def _over_objectives(axes: Axes, comparison: Comparison, found: Found) -> bool:
    settings = [s for s in comparison.settings if _beside(s, told_setting(comparison), "slo_factor")]
    factors = [setting.slo_factor for setting in settings]
    if len(factors) < 2:
        return False
    _on_time(axes, comparison, found, settings, factors)
    axes.set(xlabel="objective, isolated warm medians")
    return True


def _on_time(
    axes: Axes, comparison: Comparison, found: Found, settings: Sequence[Setting], at: Sequence[float | None]
) -> None:
    """Attainment of every policy, and the bound, at each of the settings."""
    bounds = [_mean(comparison.of(setting, comparison.policies[0]), _bound) for setting in settings]
    told = sorted((x, 100 * bound) for x, bound in zip(at, bounds, strict=True) if x and bound is not None)
    if told:
        axes.plot(*zip(*told, strict=True), color="0.5", marker="_", label="bound")
    for number, policy in enumerate(comparison.policies):
        _errors(axes, number, policy, at, [found[s, policy, "attainment"].value for s in settings])
    axes.set(ylabel="on time, %", ylim=(0, 103))


def _over_memory(axes: Axes, comparison: Comparison, found: Found) -> bool:
    settings = [s for s in comparison.settings if _beside(s, told_setting(comparison), "memory_mib")]
    declared = [choice.memory for choice in comparison.scenario.devices if choice.memory is not None]
    if not declared:
        return False
    memories = [(setting.memory_mib or min(declared)) / 1024 for setting in settings]
    for number, policy in enumerate(comparison.policies):
        _errors(axes, number, policy, memories, [found[s, policy, "cold_ratio"].value for s in settings])
    axes.set(xlabel="memory of a GPU, GiB", ylabel="cold requests, %")
    axes.set_ylim(bottom=0)
    return True


def _fairness(axes: Axes, comparison: Comparison, setting: Setting) -> bool:
    drawn = False
    for number, policy in enumerate(comparison.policies):
        curves = comparison.of(setting, policy)[0].measured.curves
        if curves.jain:
            axes.plot(
                [second / 60 for second in curves.jain_s],
                curves.jain,
                label=policy,
                color=_colour(number),
                linestyle=_line(number),
                marker=".",
            )
            drawn = True
    axes.set(xlabel="minutes", ylabel="Jain's index", ylim=(0, 1.03))
    return drawn


def _against_gpu(axes: Axes, comparison: Comparison, found: Found) -> bool:
    drawn = False
    for number, policy in enumerate(comparison.policies):
        points = []
        for setting in comparison.settings:
            held = found[setting, policy, "held_gpu_s"].value
            on_time = found[setting, policy, "attainment"].value
            if held is not None and on_time is not None:
                points.append((held.mean, 100 * on_time.mean))
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=policy,
                color=_colour(number),
                linestyle=":",
                linewidth=0.8,
                marker=MARKERS[number % len(MARKERS)],
            )
            drawn = True
    axes.set(xlabel="GPU-seconds held", ylabel="on time, %", ylim=(0, 103))
    return drawn


def _errors(
    axes: Axes, number: int, policy: str, at: Sequence[float | None], values: Sequence[Interval | None]
) -> None:
    """Means of shares, in percent, with their intervals over seeds."""
    known = [(x, value) for x, value in zip(at, values, strict=True) if x is not None and value is not None]
    known.sort(key=lambda one: one[0])
    halves = [100 * (0 if value.high is None else value.high - value.mean) for _, value in known]
    axes.errorbar(
        [x for x, _ in known],
        [100 * value.mean for _, value in known],
        yerr=halves,
        label=policy,
        color=_colour(number),
        linestyle=_line(number),
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        capsize=2,
    )


def _beside(setting: Setting, other: Setting, free: str) -> bool:
    """Whether two settings differ at most in one thing."""
    names = [name for name in ("load", "slo_factor", "memory_mib") if name != free]
    return all(getattr(setting, name) == getattr(other, name) for name in names)


def _fixed(setting: Setting, free: str) -> str:
    """What does not change along a plot, as in ` (16 GiB)`."""
    label = replace(setting, **{free: None}).label
    return f" ({label})" if label else ""


def _mean(runs: Sequence[Run], value: Callable[[Run], float | None]) -> float | None:
    found = interval([told for told in (value(run) for run in runs) if told is not None])
    return None if found is None else found.mean


def _bound(run: Run) -> float | None:
    return None if run.bound is None else run.bound.attainment


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line(number: int) -> str:
    return _LINES[number // len(COLOURS) % len(_LINES)]
