"""`stoker cost`: what functions and namespaces cost since some time, from the account lines of a running platform.

The rows and the row `unallocated` add up to price x time of all devices that have a price, exactly.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table

from stoker.cost.money import money
from stoker.model.quantity import parse_duration_us
from stoker_cli.console import CommandFailed, complain, listed
from stoker_cli.costs.cost_lines import Amounts, Sums, read_lines
from stoker_cli.costs.cost_view import CostView
from stoker_cli.internal_client import get_json
from stoker_cli.state_file import ServeState, choose

UNALLOCATED = "unallocated"
_COLUMNS = ("starting", "idle", "busy", "total", "requests", "per thousand")
_WIDTH = 120


class Row(Struct, kw_only=True, rename="camel"):
    """One account, in micro-units."""

    namespace: str
    function: str | None = None
    """None: all of the namespace."""
    starting_micro: int = 0
    idle_micro: int = 0
    busy_micro: int = 0
    total_micro: int = 0
    requests: int = 0
    per_thousand_requests_micro: int | None = None
    """None: nothing ran."""


class Report(Struct, kw_only=True, rename="camel"):
    since: float
    """Seconds since the epoch."""
    until: float
    rows: list[Row]
    unallocated_micro: int
    total_micro: int
    """Price x time: the rows and what is unallocated."""


def cost(environ: Mapping[str, str], *, port: int | None, since: str, by: str, output: str) -> str:
    """The text to print. Raises CommandFailed, InvalidObject."""
    since_us = parse_duration_us(since, "--since")
    state = choose(environ, port)
    view = _view(state)
    report = report_of(view, since_us / 1_000_000, by)
    if view.unpriced:
        complain(
            f"{listed(view.unpriced)} {'has' if len(view.unpriced) == 1 else 'have'} no price: that time is free "
            "and in no row; name prices in spec.prices of the GpuPolicy."
        )
    if report.since < view.began and view.file is None:
        complain("This instance keeps no account lines: what is shown began with it.")
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
    return _csv(report, by) if output == "csv" else _table(report, by)


def report_of(view: CostView, since_s: float, by: str) -> Report:
    """What was charged in the last `since_s`. Raises CommandFailed where the lines cannot be read."""
    begin = view.now - since_s
    sums = Sums()
    if view.file is None:
        sums = Sums(accounts=view.accounts, unallocated=view.unallocated)
        begin = max(begin, view.began)
    else:
        try:
            for line in read_lines(Path(view.file), begin):
                sums.add(line)
        except OSError as err:
            raise CommandFailed(f"{view.file}: cannot be read: {err.strerror or err}.") from err
    rows = [row_of(key, amounts) for key, amounts in sums.accounts.items()]
    if by == "namespace":
        rows = _by_namespace(sums.accounts)
    rows.sort(key=lambda row: (-row.total_micro, row.namespace, row.function or ""))
    total = sum(row.total_micro for row in rows) + sums.unallocated
    return Report(since=begin, until=view.now, rows=rows, unallocated_micro=sums.unallocated, total_micro=total)


def row_of(key: str, amounts: Amounts, *, whole: bool = False) -> Row:
    """The row of one account; `whole`: of a namespace."""
    starting, idle, busy, runs = amounts
    total = starting + idle + busy
    namespace, _, name = key.partition("/")
    return Row(
        namespace=namespace,
        function=None if whole else name,
        starting_micro=starting,
        idle_micro=idle,
        busy_micro=busy,
        total_micro=total,
        requests=runs,
        per_thousand_requests_micro=1000 * total // runs if runs else None,
    )


def _by_namespace(accounts: Mapping[str, Amounts]) -> list[Row]:
    sums: dict[str, Amounts] = {}
    for key, one in accounts.items():
        namespace = key.partition("/")[0]
        old = sums.get(namespace, (0, 0, 0, 0))
        sums[namespace] = (old[0] + one[0], old[1] + one[1], old[2] + one[2], old[3] + one[3])
    return [row_of(namespace, amounts, whole=True) for namespace, amounts in sums.items()]


def _view(state: ServeState) -> CostView:
    body = get_json(state, "/v1/cost")
    try:
        if body is not None:
            return msgspec.json.decode(body, type=CostView)
    except msgspec.DecodeError:
        pass
    raise CommandFailed(f"The stoker serve at {state.url} keeps no accounts: it is of another version than this one.")


def _csv(report: Report, by: str) -> str:
    """Integer micro-units; the column totalMicro adds up to price x time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["namespace"] if by == "namespace" else ["namespace", "function"]
    writer.writerow([*names, "startingMicro", "idleMicro", "busyMicro", "totalMicro", "requests"])
    for row in report.rows:
        own = [row.namespace] if by == "namespace" else [row.namespace, row.function]
        writer.writerow([*own, row.starting_micro, row.idle_micro, row.busy_micro, row.total_micro, row.requests])
    free = [UNALLOCATED] if by == "namespace" else [UNALLOCATED, ""]
    writer.writerow([*free, 0, 0, 0, report.unallocated_micro, 0])
    return text.getvalue().rstrip("\n")


def _table(report: Report, by: str) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (by, *_COLUMNS):
        table.add_column(name, justify="left" if name == by else "right")
    for row in report.rows:
        name = row.namespace if row.function is None else f"{row.namespace}/{row.function}"
        each = row.per_thousand_requests_micro
        amounts = (row.starting_micro, row.idle_micro, row.busy_micro, row.total_micro)
        table.add_row(name, *map(money, amounts), str(row.requests), "-" if each is None else money(each))
    table.add_row(UNALLOCATED, "", "", "", money(report.unallocated_micro), "", "")
    table.add_section()
    table.add_row("price x time", "", "", "", money(report.total_micro), "", "")
    console = Console(file=io.StringIO(), width=_WIDTH, markup=False, highlight=False, emoji=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n")
