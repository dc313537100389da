"""CSV as columns: a schema says which there are, and every cell that breaks it is a BadTrace with its line.

Rows are read in portions and turned to arrays at once, so that a million take seconds and little memory: text columns
become codes into a tuple of distinct labels. It knows no trace.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.lines import lines_of

PORTION = 1 << 15
"""Rows that are held as text at a time."""


class Number(Struct, frozen=True, kw_only=True):
    """A column of decimal numbers."""

    name: str
    unit: str
    """In words, as in `seconds`."""
    low: float = 0.0
    high: float = 1e15
    """Both included."""
    whole: bool = False
    optional: bool = False
    """The column may be missing."""
    blank: bool = False
    """Cells may be empty: NaN."""


class Text(Struct, frozen=True, kw_only=True):
    """A column of names."""

    name: str
    optional: bool = False
    blank: bool = False


Column = Number | Text


def numbers(*names: str, unit: str = "numbers", whole: bool = False, blank: bool = False) -> tuple[Column, ...]:
    """Several columns of one kind."""
    return tuple(Number(name=name, unit=unit, whole=whole, blank=blank) for name in names)


def texts(*names: str, blank: bool = False) -> tuple[Column, ...]:
    return tuple(Text(name=name, blank=blank) for name in names)


class Labels(Struct, frozen=True, eq=False):
    """A text column: `names[codes[row]]`. Names stand in the order of their first row."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    def cells(self) -> list[str]:
        """The column as text, row by row."""
        return [self.names[code] for code in self.codes]

    def rows_of(self, name: str) -> NDArray[np.bool_]:
        """Which rows hold this name."""
        same: NDArray[np.bool_] = self.codes == (self.names.index(name) if name in self.names else -1)
        return same


class Table(Struct, frozen=True, kw_only=True, eq=False):
    path: Path
    line: NDArray[np.int64]
    """The line of the file that each row ends on."""
    numbers: dict[str, NDArray[np.float64]]
    texts: dict[str, Labels]

    def __len__(self) -> int:
        return len(self.line)

    def check_sorted(self, name: str) -> None:
        """Raises BadTrace at the first value that is below the one before it."""
        column = self.numbers[name]
        back = np.flatnonzero(np.diff(column) < 0)
        if len(back):
            row = int(back[0]) + 1
            raise BadTrace(
                self.path,
                f"{column[row]:.15g} comes after {column[row - 1]:.15g}",
                f"sort the lines by {name}",
                line=int(self.line[row]),
                column=name,
            )


def read_table(path: Path, columns: Sequence[Column], *, extras: bool = False, rows: bool = True) -> Table:
    """The columns of a CSV file with one header line. Raises BadTrace.

    `extras`: columns that the schema does not name are skipped, not refused. `rows`: at least one row is needed.
    """
    reader = csv.reader(lines_of(path), strict=True)
    header = header_of(path, next(_rows(path, reader), []), columns, extras=extras)
    present = [column for column in columns if column.name in header]
    builder = _Builder(path, header, present)
    portion: list[list[str]] = []
    at: list[int] = []
    for row in _rows(path, reader):
        portion.append(row)
        at.append(reader.line_num)
        if len(portion) == PORTION:
            builder.add(portion, at)
            portion, at = [], []
    if portion:
        builder.add(portion, at)
    table = builder.table()
    if rows and not len(table):
        raise BadTrace(path, "has a header and no rows", "give at least one row", line=1)
    return table


def header_of(path: Path, cells: Sequence[str], columns: Iterable[Column], *, extras: bool) -> list[str]:
    """The names of the header line, checked against the schema. Raises BadTrace."""
    names = [cell.strip() for cell in cells]
    known = [column.name for column in columns]
    needed = [column.name for column in columns if not column.optional]
    if not names:
        raise BadTrace(path, "is empty", f"begin it with the line {','.join(needed)}", line=1)
    if len(names) == 1 and len(needed) > 1:
        for mark, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (" ", "blanks")):
            if mark in names[0]:
                raise BadTrace(path, f"its columns are parted by {called}", "part them by commas", line=1)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadTrace(path, "the column is there twice", "remove one", line=1, column=twice or "(no name)")
    if set(names).isdisjoint(known):
        raise BadTrace(path, "its first line names no column", f"put the line {','.join(needed)} first", line=1)
    for name in needed:
        if name not in names:
            near = get_close_matches(name, [other for other in names if other not in known], 1, 0.5)
            hint = f"rename {near[0]}" if near else f"add it; the columns are {', '.join(known)}"
            raise BadTrace(path, "the column is missing", hint, line=1, column=name)
    unknown = [] if extras else [name for name in names if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], [name for name in known if name not in names], 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"remove it; the columns are {', '.join(known)}"
        raise BadTrace(path, "is no column of this format", hint, line=1, column=unknown[0] or "(no name)")
    return names


def numbers_of(cells: Sequence[str], column: Number, path: Path, lines: Sequence[int]) -> NDArray[np.float64]:
    """Cells of a number column as numbers; `lines` says where they stand. Raises BadTrace at the first bad one."""
    empty = np.zeros(len(cells), np.bool_)
    filled = cells
    if column.blank:
        empty = np.array([not cell.strip() for cell in cells], np.bool_)
        filled = [cell if cell.strip() else "nan" for cell in cells]
    try:
        values = np.array(filled, dtype=np.float64)
    except ValueError:
        _blame(cells, column, path, lines)
        values = np.array([float(cell) for cell in filled])  # forms that float() reads and numpy does not
    good = empty | (np.isfinite(values) & (values >= column.low) & (values <= column.high))
    if column.whole:
        with np.errstate(invalid="ignore"):
            good &= empty | (values == np.floor(values))
    if not good.all() or any("_" in cell for cell in cells):
        _blame(cells, column, path, lines)
    return values


class _Builder:
    """Portions of rows, gathered to columns."""

    def __init__(self, path: Path, header: list[str], columns: Sequence[Column]) -> None:
        self._path = path
        self._width = len(header)
        self._columns = [(header.index(column.name), column) for column in columns]
        self._lines: list[NDArray[np.int64]] = []
        self._numbers: dict[str, list[NDArray[np.float64]]] = {c.name: [] for c in columns if isinstance(c, Number)}
        self._codes: dict[str, list[NDArray[np.int32]]] = {c.name: [] for c in columns if isinstance(c, Text)}
        self._names: dict[str, dict[str, int]] = {name: {} for name in self._codes}

    def add(self, rows: list[list[str]], lines: list[int]) -> None:
        if any(len(row) != self._width for row in rows):
            row, line = next((row, line) for row, line in zip(rows, lines, strict=True) if len(row) != self._width)
            raise BadTrace(
                self._path,
                f"has {len(row)} fields and the header has {self._width}",
                "give every line one field for each column",
                line=line,
            )
        fields = list(zip(*rows, strict=True))
        self._lines.append(np.array(lines, np.int64))
        for index, column in self._columns:
            if isinstance(column, Number):
                self._numbers[column.name].append(numbers_of(fields[index], column, self._path, lines))
            else:
                self._codes[column.name].append(self._coded(fields[index], column, lines))

    def table(self) -> Table:
        return Table(
            path=self._path,
            line=np.concatenate([np.empty(0, np.int64), *self._lines]),
            numbers={name: np.concatenate([np.empty(0), *parts]) for name, parts in self._numbers.items()},
            texts={
                name: Labels(np.concatenate([np.empty(0, np.int32), *parts]), tuple(self._names[name]))
                for name, parts in self._codes.items()
            },
        )

    def _coded(self, cells: Sequence[str], column: Text, lines: list[int]) -> NDArray[np.int32]:
        codes = self._names[column.name]
        coded = np.array([codes.setdefault(cell, len(codes)) for cell in cells], np.int32)
        if not column.blank and any(not cell.strip() for cell in cells):
            line = next(line for cell, line in zip(cells, lines, strict=True) if not cell.strip())
            raise BadTrace(self._path, "is empty", "write a name", line=line, column=column.name)
        return coded


def _rows(path: Path, reader: "Iterator[list[str]]") -> Iterator[list[str]]:
    """The rows that are not blank lines."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        line = getattr(reader, "line_num", None)
        reason, fix = f"is not CSV ({error})", "look at the quotes of the line"
        if "new-line character" in str(error):
            reason, fix = "its lines end in a carriage return alone", "end each by a line feed"
        raise BadTrace(path, reason, fix, line=line) from None


def _blame(cells: Sequence[str], column: Number, path: Path, lines: Sequence[int]) -> None:
    """Raise BadTrace for the first cell that breaks the column."""
    for cell, line in zip(cells, lines, strict=True):
        reason = _reason(cell.strip(), column)
        if reason:
            whole = "whole " if column.whole else ""
            fix = f"write {whole}{column.unit} from {column.low:g} to {column.high:g}"
            if cell.count(",") == 1 and _is_number(cell.replace(",", ".")):
                fix = "write a decimal point, and nothing between thousands"
            raise BadTrace(path, reason, fix, line=line, column=column.name)


def _reason(cell: str, column: Number) -> str | None:
    if not cell:
        return None if column.blank else "is empty"
    if not _is_number(cell):
        return f"{cell[:40]!r} is not a number"
    value = float(cell)
    if not math.isfinite(value):
        return f"{cell[:40]} is not finite"
    if value < column.low:
        return f"{cell[:40]} is below {column.low:g}"
    if value > column.high:
        return f"{cell[:40]} is above {column.high:g}"
    return f"{cell[:40]} is not whole" if column.whole and value != math.floor(value) else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
