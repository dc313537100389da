"""`stoker sim whatif`: the load of an event log with another policy or other GPUs, for people and as JSON."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from stoker_cli.console import CommandFailed, say
from stoker_cli.sim.log_files import read_log
from stoker_cli.sim.showing import check_target, write
from stoker_sim.whatif.answer import CONFIDENCE, FIGURES, Answer, Row, Span, answer
from stoker_sim.whatif.change import Change
from stoker_sim.whatif.logged import logged

_PIPED_WIDTH = 160


def what_if(
    path: Path, change: Change, *, replications: int, json_path: Path | None, environ: Mapping[str, str]
) -> None:
    """Print the answer, and write it down. Raises CommandFailed and other StokerErrors, one sentence each."""
    if change == Change():
        raise CommandFailed("Nothing is to be different; give --policy, --gpus or --replace.")
    check_target(None if json_path is None else str(json_path))
    found = read_log(path, logged)
    with Progress(transient=True, disable=not sys.stderr.isatty(), console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=None)
        result = answer(found, change, replications, lambda done, of: bar.update(task, completed=done, total=of))
    if json_path is not None:
        write(str(json_path), msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in environ:
        console.width = _PIPED_WIDTH
    _print(console, path.name, result)


def replacement(text: str) -> tuple[str, str]:
    """`T4=L4` as two names. CommandFailed for anything else."""
    old, _, new = text.partition("=")
    if not old or not new or "=" in new:
        raise CommandFailed(f"--replace {text} names no two products; write OLD=NEW, as in T4=L4-24GB.")
    return old, new


def _print(console: Console, name: str, result: Answer) -> None:
    say(f"{name}: {result.requests:,} requests in {result.seconds:.4g} s, {_gpus(result.devices_before)}")
    changes = []
    if result.policy != result.policy_before:
        changes.append(f"{result.policy} instead of {result.policy_before}")
    if result.devices != result.devices_before:
        changes.append(f"{_gpus(result.devices)}")
    say(f"What if: {', '.join(changes) or 'nothing changes'}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "measured", f"simulated, {result.policy_before}", "what if", "difference"):
        table.add_column(column, justify="left" if not column else "right")
    for row in result.rows:
        table.add_row(*_cells(row))
    console.print(table)
    say(
        f"Ranges: {CONFIDENCE:.0%} of {result.replications} replications, in which the log is drawn anew from blocks "
        "of itself."
    )
    for title, sentences in (("Beyond the log", result.extrapolates), ("Mind", result.notes)):
        if sentences:
            say(f"{title}:")
            for sentence in sentences:
                console.print(Text(f"  - {sentence}"))


def _gpus(products: tuple[str, ...]) -> str:
    counts = {product: products.count(product) for product in dict.fromkeys(products)}
    return ", ".join(f"{count}x{product}" for product, count in counts.items()) or "no GPU"


def _cells(row: Row) -> tuple[str, ...]:
    is_wait = row.name.endswith("_ms")
    simulated = _value(row.simulated.value, is_wait=is_wait) + ("" if row.calibrated else " (!)")
    return (
        FIGURES[row.name],
        _value(row.measured, is_wait=is_wait),
        simulated,
        _ranged(row.changed, is_wait=is_wait),
        _ranged(row.difference, is_wait=is_wait, signed=True),
    )


def _ranged(span: Span, *, is_wait: bool, signed: bool = False) -> str:
    value = _value(span.value, is_wait=is_wait, signed=signed)
    if span.low is None or span.high is None:
        return value
    low, high = (_value(end, is_wait=is_wait, signed=signed) for end in (span.low, span.high))
    return f"{value} [{low} to {high}]"


def _value(value: float | None, *, is_wait: bool, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if is_wait:
        return f"{value:{sign}.1f} ms"
    # A difference of two shares is told in points.
    return f"{100 * value:{sign}.1f} {'pt' if signed else '%'}"
