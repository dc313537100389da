"""Plain tables for a terminal."""

from collections.abc import Sequence

from stoker_sim.evaluate.weighting import View
from stoker_sim.study.judgement import Judged
from stoker_sim.study.settings import OURS


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; the first to the left, the others to the right."""
    widths = [max(len(line[at]) for line in (head, *rows)) for at in range(len(head))]
    lines = []
    for first, *others in (head, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def percent(value: float | None) -> str:
    """As in `83.25`."""
    return "-" if value is None else f"{100 * value:.2f}"


def verdicts(families: Sequence[Judged]) -> str:
    """One line for each family."""
    rows = []
    for one in families:
        difference = one.differences[View.REQUESTS]
        assert difference is not None
        limits = f"{percent(difference.mean)} [{percent(difference.low)}, {percent(difference.high)}]"
        ours, theirs = one.attainment[OURS], one.attainment[one.rival]
        rows.append((one.family, percent(ours.mean), one.rival, percent(theirs.mean), limits, one.verdict.value))
    return table(("family", "ours, %", "rival", "its, %", "difference, points", "verdict"), rows)
