"""The command `stoker`. The one place where real, simulated or no devices are chosen.

Only click is imported at the top: `stoker --help` and a mistyped option answer at once. Every error is one clear
sentence on stderr and exit code 2.
"""
# Imports stand in the commands so that a command loads only what it runs; click hands options over by name.
# ruff: noqa: PLC0415, PLR0917

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoker.errors import StokerError
from stoker_cli.console import complain, one_line, printable
from stoker_cli.sim.commands import sim

if TYPE_CHECKING:
    from stoker_node.devices import DeviceProbe

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PORT = click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port of the stoker serve to ask.")


@click.group(context_settings=_CONTEXT, invoke_without_command=True)
@click.version_option(package_name="stoker", prog_name="stoker", message="%(prog)s %(version)s")
@click.pass_context
def stoker(context: click.Context) -> None:
    """Serverless GPU functions with service-level objectives."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@stoker.command(short_help="Serve the functions in YAML files or folders.")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(), required=True)
@click.option("--gpus", metavar="SPEC", help="Simulated GPUs, as in 2xA100-40GB,1xL4-24GB; none: CPU only.")
@click.option("--port", type=click.IntRange(0, 65534), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the public listener.")
@click.option("--mtls", is_flag=True, help="Mutual TLS between gateway and agent.")
@click.option(
    "--queueing", metavar="NAME", help="Queueing policy while no GpuPolicy is applied.  [default: least-slack]"
)
@click.option(
    "--launcher",
    type=click.Choice(["auto", "process", "podman", "docker"]),
    default="auto",
    show_default=True,
    help="What replicas are; auto: processes where command is set, else containers.",
)
@click.option(
    "--event-log", metavar="FILE", help="Write all decisions there, for stoker sim replay and whatif.  [default: none]"
)
@click.option("--drain", metavar="DURATION", help="How long accepted requests may finish at the end.  [default: 30s]")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), help="[default: auto]")
def serve(
    files: tuple[str, ...],
    gpus: str | None,
    port: int,
    host: str,
    mtls: bool,
    queueing: str | None,
    launcher: str,
    event_log: str | None,
    drain: str | None,
    log_format: str | None,
) -> int:
    """Serve the functions in FILE... (YAML files, or folders of them), and follow their changes.

    Without --gpus: the NVIDIA GPUs of this machine, or its CPU cores only where it has none.
    """
    from stoker.model.quantity import parse_duration_us
    from stoker_cli.launching import LauncherName
    from stoker_cli.serve import ServeOptions, run_serve

    if "" in files:
        # Path("") is the current folder: what an unset variable of a script must not serve.
        raise click.BadParameter("an empty name is no file; the current folder is .", param_hint="FILE")
    options = ServeOptions(
        files=tuple(map(Path, files)),
        host=host,
        port=port,
        mtls=mtls,
        queueing=queueing,
        launcher=LauncherName(launcher),
        drain_s=None if drain is None else parse_duration_us(drain, "--drain") / 1_000_000,
        log_format=log_format,
        event_log=None if event_log is None else Path(event_log),
    )
    return run_serve(options, lambda: _gpu_probe(gpus), os.environ)


@stoker.command(name="invoke", short_help="Send one request to a function.")
@click.argument("function")
@click.option("-d", "--data", metavar="DATA", help="Body: a text, @FILE, or @- for standard input.")
@click.option("--deadline", metavar="DURATION", help="Latest time for the answer, as in 200ms. May only tighten.")
@click.option("--path", default="/", show_default=True, help="Path at the function, with its query.")
@click.option("--method", metavar="METHOD", help="[default: POST with a body, else GET]")
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="May be given several times.")
@click.option("-o", "--output", metavar="FILE", help="Write the body there instead of standard output.")
@click.option(
    "--retry", metavar="DURATION", help="While refused, come back when told to, for so long; with its ticket if any."
)
@click.option("--url", metavar="URL", help="Base URL of a gateway, instead of a stoker serve of this user.")
@_PORT
def invoke_command(
    function: str,
    data: str | None,
    deadline: str | None,
    path: str,
    method: str | None,
    headers: tuple[str, ...],
    output: str | None,
    retry: str | None,
    url: str | None,
    port: int | None,
) -> int:
    """Send one request to FUNCTION (NAME or NAMESPACE/NAME): its body to stdout, its timing to stderr.

    Exit code 0 for a 2xx answer, 1 for another, 2 where there was none.
    """
    from stoker_cli.invoke import Call, invoke

    call = Call(
        function=function,
        data=data,
        deadline=deadline,
        path=path,
        method=method,
        headers=headers,
        output=output,
        retry=retry,
        url=url,
        port=port,
    )
    return invoke(call, os.environ)


@stoker.command(name="top")
@click.option(
    "--once", is_flag=True, help="Print one picture and end (always so where there is no terminal to redraw)."
)
@_PORT
def top_command(once: bool, port: int | None) -> None:
    """Show functions, requests and devices, live. Ctrl-C ends it."""
    from stoker_cli.top import top

    top(os.environ, port=port, once=once)


@stoker.command(name="cost", short_help="Show what functions and namespaces cost.")
@click.option("--since", metavar="DURATION", default="1h", show_default=True, help="How far back, as in 30m.")
@click.option("--by", type=click.Choice(["function", "namespace"]), default="function", show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="csv and json have integer micro-units (1e-6) of the currency.",
)
@_PORT
def cost_command(since: str, by: str, output: str, port: int | None) -> None:
    """Show what device time was charged to whom, at the prices of GpuPolicy spec.prices.

    Accounts and the row unallocated add up to price x time of all devices that have a price. They are kept over
    a restart of stoker serve on the same port.
    """
    from stoker_cli.costs.cost_report import cost

    click.echo(printable(cost(os.environ, port=port, since=since, by=by, output=output)))


@stoker.command(name="explain", short_help="Say why a request waited or was refused.")
@click.argument("what", metavar="REQUEST_ID|FUNCTION")
@_PORT
def explain_command(what: str, port: int | None) -> None:
    """Say in plain words why a request waited or was refused, or how a function stands.

    The id of a request is in the header Stoker-Request-Id of its answer; FUNCTION is NAME or NAMESPACE/NAME.
    """
    from stoker_cli.explain import explain

    click.echo(printable(explain(what, os.environ, port)))


@stoker.command(name="doctor", short_help="Check whether this machine is fit to serve.")
def doctor_command() -> int:
    """Check this machine: each line is ok, warn or fail, and says how to fix it. Exit code 1 if one fails."""
    from stoker_cli.doctor import doctor
    from stoker_node.nvml import NvmlProbe

    return doctor(os.environ, NvmlProbe)


stoker.add_command(sim)


def _gpu_probe(gpus: str | None) -> "DeviceProbe | None":
    """Simulated GPUs where --gpus names some, the machine's NVIDIA GPUs where it is not given, else none."""
    if gpus is not None:
        from stoker_node.simulated import SimulatedProbe

        return None if gpus.strip().lower() == "none" else SimulatedProbe(gpus)
    from stoker_node.devices import DevicesUnavailable
    from stoker_node.nvml import NvmlProbe

    try:
        return NvmlProbe()
    except DevicesUnavailable:
        # A machine without GPUs serves on its cores; a function that needs a GPU is told about --gpus.
        return None


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    _open_what_is_closed()
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        _mute_stdout()
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Exit code of a command line."""
    try:
        code = stoker.main(arguments, prog_name="stoker", standalone_mode=False)
    except click.UsageError as err:
        command = err.ctx.command_path if err.ctx is not None else "stoker"
        what = one_line(err.format_message()).rstrip(".")
        complain(f"{what}{' See' if what.endswith('?') else '; see'}: {command} --help")
        return 2
    except (click.ClickException, StokerError) as err:
        complain(err.format_message() if isinstance(err, click.ClickException) else str(err))
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        _mute_stdout()
        return 141
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        # What a command writes to files it names itself; what is left is its output.
        _mute_stdout()
        complain(f"The output could not be written: {err.strerror or err}.")
        return 2
    return code if isinstance(code, int) else 0


def _open_what_is_closed() -> None:
    """Give a process that was started with closed standard streams (`>&-`) empty ones.

    Python has None in their place, and the first socket would get the number of standard output.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is taken: the one that is missing.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _mute_stdout() -> None:
    """The reader of our output left (`stoker top | head`): keep Python from complaining of it once more at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
