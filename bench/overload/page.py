"""The page docs/results/overload.md and its charts, made of the reports. Every number on it comes from them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from bench.overload.functions import GPUS, THREE
from bench.overload.report import Report, read
from stoker_sim.results.result import Table

PAGE = "overload.md"
HEAD = """# Overload, live

Written by `make bench-overload`; do not edit. A real `stoker serve` on one core, called over HTTP by an open-loop
generator on another: each request is sent at its time, whatever became of those before, and its latency is counted from
when it was due. Functions sleep for as long as a request says, on simulated GPUs of one slot each; replicas run on the
generator's core. What a run's generator sent late is in the tables; where that was more than 5 ms in a hundredth of all
requests the run is marked. Criteria were set before measuring; whether they are met is computed.
"""


def write_page(folder: Path) -> None:
    """The page and its charts, of the reports that are in the folder."""
    from stoker_sim.results.charts import drawn  # noqa: PLC0415  matplotlib takes half a second to import

    reports = read(folder)
    (folder / PAGE).write_text(page(reports))
    for report in reports:
        for chart in report.charts:
            (folder / f"overload-{report.name}-{chart.name}.svg").write_text(drawn(chart))


def page(reports: Sequence[Report]) -> str:
    parts = [HEAD, _served(), "## What was to be shown\n", _summary(reports)]
    for report in reports:
        parts += [f"## {report.title}\n", _filled(f"`{report.command}`; {report.machine}.")]
        parts += [_filled(text) for text in report.text]
        parts += [_table(table) for table in report.tables]
        for chart in report.charts:
            parts += [f"![{chart.title}](overload-{report.name}-{chart.name}.svg)\n", _filled(chart.caption)]
        parts += [_filled(note) for note in report.notes]
    return "\n".join(parts)


def _summary(reports: Sequence[Report]) -> str:
    found = [criterion for report in reports for criterion in report.criteria]
    rows = [
        [report.title, criterion.what, criterion.target, criterion.measured, "yes" if criterion.met else "**no**"]
        for report in reports
        for criterion in report.criteria
    ]
    met = sum(criterion.met for criterion in found)
    return f"{met} of {len(found)} criteria are met.\n\n" + _rows(
        ("experiment", "what", "target", "measured", "met"), rows
    )


def _served() -> str:
    rows = [
        [
            one.name,
            f"{one.units:g}",
            f"{one.spread:g}",
            f"{one.latency_ms} ms",
            f"{one.percentile:g} %",
            str(one.weight),
            "-" if one.cpu_slower is None else f"{one.cpu_slower:g} times as long, {one.cpu_at_once} at once",
        ]
        for one in THREE
    ]
    head = ("function", "median work, ms", "p99 over it", "objective", "percentile", "fairShare", "CPU variant")
    said = f"The three functions of the curve, on `{GPUS}`; as much GPU time is asked of each:"
    return f"{said}\n\n{_rows(head, rows)}"


def _table(table: Table) -> str:
    foot = f"\n{_filled(table.foot)}" if table.foot else ""
    return f"### {table.title}\n\n{_rows(table.head, table.rows)}{foot}"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _filled(text: str) -> str:
    return fill(text, 119, break_long_words=False, break_on_hyphens=False) + "\n"
