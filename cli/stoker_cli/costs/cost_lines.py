"""Account lines: what was charged in each short span of time, appended to a file, so that it is known after a restart.

One JSON object a line. A line that was cut short by a kill is passed over: what it told is lost, at most one span. The
file is bounded: when it is full it becomes the older one of two, and the older one before it goes. Knows no meter.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

FILE_BYTES = 4 << 20
"""Of one of the two files: weeks of one function, days of a hundred busy ones."""

Amounts = tuple[int, int, int, int]
"""Micro-units for starting, idle and busy time, and the requests that ran."""


class CostLine(Struct, frozen=True, kw_only=True):
    """One span; `at` is its end, in seconds since the epoch."""

    at: float
    accounts: dict[str, Amounts] = {}
    """By key of the function; those that were charged nothing and ran nothing are left out."""
    unallocated: int = 0
    """Micro-units of device time that nobody was charged for; may be below zero by what accounts completed."""


class Sums(Struct, kw_only=True):
    """Lines added up."""

    accounts: dict[str, Amounts] = {}
    unallocated: int = 0

    def add(self, line: CostLine) -> None:
        for key, amounts in line.accounts.items():
            before = self.accounts.get(key, (0, 0, 0, 0))
            self.accounts[key] = (
                before[0] + amounts[0],
                before[1] + amounts[1],
                before[2] + amounts[2],
                before[3] + amounts[3],
            )
        self.unallocated += line.unallocated


_DECODER = msgspec.json.Decoder(CostLine)


class CostLines:
    """The file of one instance."""

    def __init__(self, path: Path, *, file_bytes: int = FILE_BYTES) -> None:
        self.path = path
        self._file_bytes = file_bytes

    def append(self, line: CostLine) -> None:
        """Raises OSError where it cannot be written."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = msgspec.json.encode(line) + b"\n"
        with self.path.open("ab") as file:
            if file.tell() and not _ends_a_line(self.path):
                text = b"\n" + text  # a kill cut the last line short
            file.write(text)
            full = file.tell() >= self._file_bytes
        if full:
            self.path.replace(_older(self.path))

    def remove(self) -> None:
        """Begin anew. Raises OSError."""
        for path in (self.path, _older(self.path)):
            path.unlink(missing_ok=True)


def read_lines(path: Path, since: float) -> Iterator[CostLine]:
    """The lines whose span ended after `since`, oldest first. Raises OSError; files that are not there have none."""
    for file in (_older(path), path):
        try:
            stream = file.open("rb")
        except FileNotFoundError:
            continue
        with stream:
            for text in stream:
                try:
                    line = _DECODER.decode(text)
                except msgspec.DecodeError:
                    continue
                if line.at > since:
                    yield line


def difference(now: Mapping[str, Amounts], before: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """What each account gained between two sets of running totals."""
    found: dict[str, Amounts] = {}
    for key, totals in now.items():
        old = before.get(key, (0, 0, 0, 0))
        gained = (totals[0] - old[0], totals[1] - old[1], totals[2] - old[2], totals[3] - old[3])
        if any(gained):
            found[key] = gained
    return found


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
