"""What people see: one-line errors, durations, and numbers for tables. Knows nothing of the platform."""

import sys
from collections.abc import Iterable

from stoker.errors import StokerError
from stoker.model.quantity import format_duration


class CommandFailed(StokerError):  # noqa: N818  the name states the fact
    """A command cannot do what was asked. The text is one sentence that says how to go on; exit code 2."""


def one_line(text: str) -> str:
    """The printable text without line breaks, for errors that libraries write over several lines."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """The text with `?` for what is not for eyes. The output of functions is quoted to people, and their terminals
    must not take orders from it.
    """
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def complain(text: str) -> None:
    """One line on stderr. A closed stderr is no reason to fail."""
    try:
        print(f"stoker: {one_line(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def say(text: str) -> None:
    """One or more lines on stdout. A reader that left (`stoker serve | head -1`) is no reason to stop serving."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        return


def ms(value: float | None) -> str:
    """Milliseconds for a person: `12.3 ms`, `8.2 s`; `-` for none."""
    return "-" if value is None else format_duration(round(value * 1000))


def percent(part: int, whole: int) -> str:
    """`97.5 %`; `-` of nothing. Never rounds a miss away: 100 % means all."""
    if whole == 0:
        return "-"
    return f"{min(100 * part / whole, 99.9 if part < whole else 100):.3g} %"


def mib(value: int) -> str:
    """Memory for a person: `512 MiB`, `40 GiB`."""
    return f"{value / 1024:.3g} GiB" if value >= 1024 else f"{value} MiB"


def listed(words: Iterable[str], most: int = 5) -> str:
    """`a, b, c and 4 more`."""
    every = list(words)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"
