"""Charts of results as SVG files: the same chart gives the same bytes, with no date and no random id."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stoker_sim.report.look import COLOURS, MARKERS, STYLE
from stoker_sim.results.result import Chart, Series

_GREY = ("0.45", "0.62", "0.3", "0.75")


def drawn(chart: Chart) -> str:
    """The text of its SVG file."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": chart.name}):
        canvas: Any = FigureCanvasSVG(picture_of(chart))
        out = io.StringIO()
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def picture_of(chart: Chart) -> Figure:
    """The chart before it is made a file."""
    picture = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = picture.add_subplot()
    _lines(axes, chart.series)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    if chart.log_x:
        axes.set_xscale("log")
        _plainly(axes.xaxis)
    if chart.log_y:
        axes.set_yscale("log")
        _plainly(axes.yaxis)
    if not chart.log_y:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return picture


def _plainly(axis: Axis) -> None:
    """Figures at 1, 2 and 5 of each decade, without exponents."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, series: Sequence[Series]) -> None:
    ours = greys = 0
    for one in series:
        if one.published:
            colour, marker, style = _GREY[greys % len(_GREY)], MARKERS[greys % len(MARKERS)], "--"
            greys += 1
        else:
            colour, marker, style = COLOURS[ours % len(COLOURS)], MARKERS[ours % len(MARKERS)], "-"
            ours += 1
        axes.plot(
            one.x,
            one.y,
            label=one.label,
            color=colour,
            marker=marker,
            # Points are few: above the lines, and larger, so that no line hides them.
            markersize=8 if one.points else 4,
            zorder=3 if one.points else 2,
            linestyle="" if one.points else style,
            linewidth=1.2,
        )
