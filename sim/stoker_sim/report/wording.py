"""Figures in words: a share as percent, a time with its unit, an interval as plus or minus. Knows no table."""

from stoker.model.quantity import format_duration
from stoker_sim.evaluate.figures import FigureSpec
from stoker_sim.evaluate.intervals import Interval

NOTHING = "-"
DIGITS = 9
"""Significant digits of a number in a file: what rounding may change between machines is behind them."""


def rounded(value: float | None) -> float | None:
    """As it stands in files."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def in_words(spec: FigureSpec, value: float | None) -> str:
    """One value of a figure, as in `93.1 %`, `8.2 s`, `12`."""
    if value is None:
        return NOTHING
    if spec.unit == "share":
        return _percent(value)
    if spec.unit == "ms":
        return format_duration(round(value * 1000)) if value >= 0 else f"-{format_duration(round(-value * 1000))}"
    unit = f" {spec.unit}" if spec.unit else ""
    return f"{value:.4g}{unit}" if abs(value) < 1e4 else f"{value:.0f}{unit}"


def mean_in_words(spec: FigureSpec, value: Interval | None) -> str:
    """The mean, and half the width of its interval over seeds, as in `93.1 % ±0.4`."""
    if value is None:
        return NOTHING
    return in_words(spec, value.mean) + half_width(spec, value)


def difference_in_words(spec: FigureSpec, value: Interval | None) -> str:
    """A difference with its sign; of shares in points, as in `+3.1 ±0.4`."""
    if value is None:
        return NOTHING
    if spec.unit == "share":
        return f"{100 * value.mean:+.1f}{half_width(spec, value)}"
    sign = "+" if value.mean >= 0 else ""
    return sign + in_words(spec, value.mean) + half_width(spec, value)


def half_width(spec: FigureSpec, value: Interval) -> str:
    """` ±0.4`, in the unit of the figure; empty of one seed."""
    if value.high is None:
        return ""
    half = value.high - value.mean
    if spec.unit == "share":
        return f" ±{100 * half:.1f}"
    return f" ±{in_words(spec, half)}" if spec.unit == "ms" else f" ±{half:.2g}"


def _percent(value: float) -> str:
    """Never rounds a miss away: 100 % means all. Every share is at most 1."""
    text = f"{100 * value:.1f}"
    return f"{'>99.9' if text == '100.0' and value < 1 else text} %"
