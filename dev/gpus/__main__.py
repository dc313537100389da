"""`python -m gpus`: build the library, run a node's device plugin, change and show its GPUs."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from gpus.changes import GPU_WORDS, NODE_WORDS, apply
from gpus.initial import initial, settle, words_for
from gpus.library import NoCompiler, build, place
from gpus.preferred import RESOURCE
from gpus.registration import Registration
from gpus.state import BrokenState, NodeState, change, number, read, render, with_event

_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_STATES = Path("/var/lib/kubelet/simulated-gpus")


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        match options.command:
            case "build":
                print(build(options.folder))
            case "run":
                asyncio.run(_run(options))
            case "set":
                change(options.state, lambda state: apply(state, options.changes))
            case "xid":
                change(options.state, lambda state: _xid(state, options.gpu, options.xid))
            case _:
                print(render(read(options.state)), end="")
    except (BrokenState, NoCompiler, OSError) as err:
        print(f"gpus: {err}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    given = {key: value for key in NODE_WORDS if (value := getattr(options, key.replace("-", "_"))) is not None}
    state = settle(options.state, initial(options.node, words_for(options.node, given, options.nodes)))
    if options.library is not None:
        place(options.library, options.state)
    task = asyncio.create_task(Registration(options.plugins, options.state, state, options.resource).run())
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number_of_signal, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _xid(state: NodeState, index: str, xid: str) -> NodeState:
    at = number("GPU", index)
    if at >= len(state.gpus):
        raise BrokenState(f"there is no GPU {at}: the node has {len(state.gpus)}")
    return with_event(state, state.gpus[at].uuid, number("XID", xid))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpus", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build libnvidia-ml.so.1 into a folder (needs gcc)")
    command.add_argument("folder", type=Path)

    def with_state(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("--state", type=Path, default=_STATES, help="folder of the node's state file (%(default)s)")
        return made

    command = with_state("run", "register a node's simulated GPUs with its kubelet, until a signal")
    command.add_argument("--plugins", type=Path, default=_PLUGINS, help="the kubelet's device-plugins (%(default)s)")
    node = os.environ.get("NODE_NAME") or socket.gethostname()
    command.add_argument("--node", default=node, help="name of the node ($NODE_NAME, else the host's)")
    command.add_argument("--nodes", type=Path, help="JSON: node name to what differs there")
    command.add_argument("--library", type=Path, help="libnvidia-ml.so.1 to put beside the state file")
    command.add_argument("--resource", default=RESOURCE, help="(%(default)s)")
    for key in NODE_WORDS:
        command.add_argument(f"--{key}", help="see `set`")

    command = with_state("set", "change a node's GPUs live")
    command.add_argument(
        "changes",
        nargs="+",
        metavar="CHANGE",
        help=f"KEY=VALUE of the node ({', '.join(NODE_WORDS)}), or INDEX.KEY=VALUE or *.KEY=VALUE of GPUs "
        f"({', '.join(GPU_WORDS)})",
    )
    command = with_state("xid", "let the driver report an XID of a GPU")
    command.add_argument("gpu", help="index")
    command.add_argument("xid")
    with_state("show", "print the state file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
