"""What a result consists of: claims with what was published and what came out here, tables, charts, and plain rows.

Values only. A claim is judged by its shape: order, sign, and 0.5 to 2 times of a published ratio where every input has
a source. What lacks one says what is missing and how far the outcome hangs on it. Nothing is fitted to hit a figure.
"""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

LEAST_FACTOR, MOST_FACTOR = 0.5, 2.0
"""Of a published ratio, inside which a ratio counts as the same."""

Cell = str | int | float | None
Row = dict[str, Cell]
Texts = tuple[str, ...]
"""Sentences or paragraphs; how they are broken into lines in the code does not matter."""


class Verdict(StrEnum):
    REPRODUCED = "reproduced"
    DIFFERENT = "comes out differently"
    REACHED = "reached"
    NOT_REACHED = "not reached"
    """Of a target of ours."""
    MISSING = "not reproducible"
    """For want of an input; Claim.missing says which."""


class Claim(Struct, frozen=True, kw_only=True):
    """One statement of the source."""

    what: str
    published: str
    ours: str
    verdict: Verdict
    missing: str = ""

    @property
    def in_words(self) -> str:
        """The verdict as the page says it."""
        return f"{self.verdict.value}: missing {self.missing}" if self.missing else self.verdict.value


class Table(Struct, frozen=True, kw_only=True):
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: str = ""


class Series(Struct, frozen=True, kw_only=True):
    """One line of a chart."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    published: bool = False
    """Drawn in grey, as what is compared with."""
    points: bool = False
    """Without a line between them."""


class Chart(Struct, frozen=True, kw_only=True):
    name: str
    """Part of the file's name."""
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


class Part(Struct, frozen=True, kw_only=True):
    """What one question of a result gives."""

    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    findings: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


class Result(Struct, frozen=True, kw_only=True):
    name: str
    """As it is called on the command line."""
    title: str
    source: str
    text: tuple[str, ...]
    """Paragraphs: what is compared, and how."""
    claims: tuple[Claim, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    findings: tuple[str, ...] = ()
    """What was seen besides, one paragraph each."""
    assumptions: tuple[str, ...] = ()
    """Inputs and where they are from."""
    rows: tuple[Row, ...] = ()
    """Every figure, for JSON and CSV."""


def composed(parts: Sequence[Part], *, name: str, title: str, source: str, text: Texts, assumptions: Texts) -> Result:
    """The result of these parts, in their order."""
    return Result(
        name=name,
        title=title,
        source=source,
        text=text,
        claims=tuple(claim for part in parts for claim in part.claims),
        tables=tuple(table for part in parts for table in part.tables),
        charts=tuple(chart for part in parts for chart in part.charts),
        findings=tuple(finding for part in parts for finding in part.findings),
        assumptions=assumptions,
        rows=tuple(row for part in parts for row in part.rows),
    )


def judged(factors: Sequence[float]) -> Verdict:
    """By the ratios of our ratios to the published ones."""
    return Verdict.REPRODUCED if factors and all(map(_near, factors)) else Verdict.DIFFERENT


def hanging(what: str, *, published: str, ours: str, holds: Sequence[bool], missing: str) -> Claim:
    """A statement for every value that an input may have which the source does not give (`missing`).

    Where it holds for all of them or for none, it does not hang on the input. Else nobody can say.
    """
    verdict = Verdict.REPRODUCED if holds and all(holds) else Verdict.MISSING if any(holds) else Verdict.DIFFERENT
    told = missing if verdict is Verdict.MISSING else ""
    return Claim(what=what, published=published, ours=ours, verdict=verdict, missing=told)


def banded(what: str, *, published: str, ours: str, factors: Sequence[float], missing: str) -> Claim:
    """The same of a ratio: `factors` are our ratios over the published one."""
    return hanging(what, published=published, ours=ours, holds=list(map(_near, factors)), missing=missing)


def signed(what: str, *, published: str, ours: str, holds: Sequence[bool]) -> Claim:
    """An order or a sign: as published where it holds in every setting."""
    verdict = Verdict.REPRODUCED if holds and all(holds) else Verdict.DIFFERENT
    return Claim(what=what, published=published, ours=ours, verdict=verdict)


def _near(factor: float) -> bool:
    return LEAST_FACTOR <= factor <= MOST_FACTOR


def figure(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, and no exponent."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    number = float(text)
    if abs(number) >= 10 ** (digits - 1):
        return f"{number:,.0f}"
    return f"{number:.6f}".rstrip("0").rstrip(".")


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The least and the most of them, as in `30-117`; `nothing` where there is none."""
    if not values:
        return "nothing"
    low, high = figure(min(values), digits), figure(max(values), digits)
    return low if low == high else f"{low}-{high}"
