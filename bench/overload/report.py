"""What an experiment leaves: criteria with what was measured, tables, charts and plain figures, one JSON file for each.

Tables and charts are those of published results (stoker_sim.results). Pure but for writing and reading the files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from stoker_sim.results.result import Chart, Table

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NAMES = ("limits", "curve", "diversion", "devices", "metastability", "isolation", "dead", "tickets", "timeout")
"""Experiments in the order of the page."""


class Criterion(Struct, frozen=True, kw_only=True):
    """One thing that was to be shown."""

    what: str
    target: str
    measured: str
    met: bool


class Report(Struct, frozen=True, kw_only=True):
    """One experiment."""

    name: str
    title: str
    command: str
    machine: str
    text: tuple[str, ...]
    """Paragraphs: what was done."""
    criteria: tuple[Criterion, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()
    """What was seen besides."""
    figures: dict[str, Any] = {}
    """All of them, for programs."""


def path_of(name: str, folder: Path = RESULTS) -> Path:
    return folder / f"overload-{name}.json"


def write(report: Report, folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path_of(report.name, folder).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read(folder: Path = RESULTS) -> list[Report]:
    """Those that were measured, in the order of NAMES."""
    paths = [path_of(name, folder) for name in NAMES]
    return [msgspec.json.decode(path.read_bytes(), type=Report) for path in paths if path.exists()]


def at_least(what: str, value: float | None, target: float, form: str = "{:.3f}") -> Criterion:
    """Not met where nothing was measured."""
    return Criterion(
        what=what,
        target=f"at least {form.format(target)}",
        measured="nothing" if value is None else form.format(value),
        met=value is not None and value >= target,
    )


def at_most(what: str, value: float | None, target: float, form: str = "{:.3f}") -> Criterion:
    """Not met where nothing was measured."""
    return Criterion(
        what=what,
        target=f"at most {form.format(target)}",
        measured="nothing" if value is None else form.format(value),
        met=value is not None and value <= target,
    )


def prose(*sentences: str) -> str:
    """One paragraph."""
    return " ".join(sentences)


def cell(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], foot: str = "") -> Table:
    return Table(title=title, head=tuple(head), rows=tuple(tuple(row) for row in rows), foot=foot)
