"""`stoker top`: functions and devices of a running platform, live on a terminal, once elsewhere."""

import time
from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stoker.model.replica import ReplicaState
from stoker_cli.console import CommandFailed, mib, ms, percent
from stoker_cli.internal_client import get_view
from stoker_cli.state_file import choose, is_alive
from stoker_cli.state_view import FunctionView, StateView

REFRESH_S = 1.0
_PIPED_WIDTH = 160
"""Off a terminal nothing has to wrap."""


def top(
    environ: Mapping[str, str], *, port: int | None, once: bool, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show it until interrupted, or once. Raises CommandFailed when the platform is not there (any more)."""
    state = choose(environ, port)
    # Reasons of devices are shown as they are: `[Errno 5]` is no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in environ:
        console.width = _PIPED_WIDTH
    latest = picture(get_view(state))
    if once or not console.is_terminal or console.is_dumb_terminal:
        console.print(latest)
        return
    with Live(latest, console=console, screen=True, auto_refresh=False) as live:
        while True:
            sleep(REFRESH_S)
            try:
                latest = picture(get_view(state))
            except CommandFailed as err:
                # Overload is when one looks: stay while the process lives, and say that the picture is old.
                if not is_alive(state):
                    raise CommandFailed(f"The stoker serve at {state.url} has ended.") from err
                live.update(Group(Text(str(err), style="yellow"), latest), refresh=True)
            else:
                live.update(latest, refresh=True)


def picture(view: StateView) -> Group:
    """All that top shows, as one rich renderable."""
    head = Text(f"{view.url}  up {_uptime(view.uptime_s)}  queueing {view.queueing}", style="bold")
    if (policy := view.policy) is not None:
        head.append(f"  admission {policy.admission} ({policy.admission_mode})  device choice {policy.device_choice}")
    if view.draining:
        head.append("  draining: nothing new is accepted", style="yellow")
    legend = Text("replicas: warm/starting/draining; requests: held/queued/running; exec: median", style="dim")
    return Group(head, legend, "", _functions(view), "", _devices(view))


def _functions(view: StateView) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("FUNCTION", overflow="fold", min_width=10)
    table.add_column("READY", overflow="fold", min_width=6)
    # Names wrap on a narrow terminal, figures never.
    for name in ("REPLICAS", "REQUESTS", "DONE", "ON TIME", "REFUSED", "SLO", "EXEC", "COLD"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for key, function in sorted(view.functions.items()):
        states = (ReplicaState.WARM, ReplicaState.STARTING, ReplicaState.DRAINING)
        variants = function.variants.values()
        requests = (
            sum(variant.held for variant in variants),
            sum(variant.queued for variant in variants),
            sum(variant.running for variant in variants),
        )
        table.add_row(
            key,
            _ready(function),
            "/".join(str(function.count(state)) for state in states),
            "/".join(str(count) for count in requests),
            str(function.slo.offered),
            percent(function.slo.on_time, function.slo.offered),
            str(function.slo.refused),
            ms(function.slo.latency_ms),
            _exec_p50(function),
            str(function.slo.cold),
        )
    return table


def _devices(view: StateView) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("DEVICE", no_wrap=True)
    table.add_column("RESERVED", justify="right", no_wrap=True)
    table.add_column("RESIDENTS", ratio=1)
    for device in view.devices:
        residents = ", ".join(f"{r.replica} {r.state}" + (" busy" if r.in_flight else "") for r in device.residents)
        table.add_row(
            Text(device.label, style="" if device.healthy else "red"),
            f"{mib(device.reserved_mib)} / {mib(device.memory_mib)}",
            (f"not healthy: {device.reason}; " if not device.healthy else "") + (residents or "-"),
        )
    return table


def _ready(function: FunctionView) -> Text:
    ready = function.condition("Ready")
    if ready is None:
        return Text("unknown")
    return Text(ready.reason or str(ready.status), style="green" if ready.status else "yellow")


def _exec_p50(function: FunctionView) -> str:
    variant = function.variants.get(function.primary)
    return ms(variant.exec_p50_ms) if variant is not None else "-"


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
