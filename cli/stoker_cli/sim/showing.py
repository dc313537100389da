"""Tables and assumptions on the terminal, and results into files."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as Lines

from stoker_cli.console import CommandFailed, printable
from stoker_sim.report.tables import Table

_PIPED_WIDTH = 400
"""Off a terminal nothing has to wrap."""


def show(tables: Sequence[Table], notes: Sequence[str]) -> None:
    """On standard output."""
    # Names come from files of the user: they are no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH
    for table in tables:
        _show(console, table)
    if notes:
        console.print("Defaults and assumptions:", style="dim")
        for note in notes:
            console.print(f"  {printable(note)}", style="dim", soft_wrap=True)


def _show(console: Console, table: Table) -> None:
    lines = Lines(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left")
    lines.title, lines.title_style = printable(table.title) or None, "bold"
    for number, title in enumerate(table.head):
        words = table.in_words(number)
        lines.add_column(title, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for row in table.rows:
        lines.add_row(*(printable(cell) for cell in row))
    console.print(lines)
    for sentence in table.foot:
        console.print(printable(sentence), style="dim", soft_wrap=True)
    console.print()


def check_target(file: str | None) -> None:
    """Raises CommandFailed where a file could not be written, before anything is simulated for it."""
    if file is None:
        return
    path = Path(file)
    if not file or path.is_dir():
        raise CommandFailed(f"{file!r} is no file that could be written; name one.")
    if not path.parent.is_dir():
        raise CommandFailed(f"{path.parent} is no folder; make it first, or name another file.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandFailed(f"{path} cannot be written; check who may write there.")


def write(file: str, content: bytes) -> None:
    """Raises CommandFailed where it cannot be done."""
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise CommandFailed(f"{file} could not be written: {error.strerror or error}.") from None
