"""The command line: `python -m cluster up | down | status | build | images | load | kubeconfig | restart`."""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import binaries, fake_nodes, groups, images, kind, layout, loading, prerequisites, start, teardown
from cluster.errors import ClusterError
from cluster.layout import Layout
from cluster.processes import Processes, marked, usage


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; the next `up` or `down` cleans up", file=sys.stderr)
        return 130


def _up(options: argparse.Namespace) -> int:
    wanted = _layout(options)
    if _on_kind():
        kind.up(_kind_name(options), wanted.kubeconfig)
        kind.load(_kind_name(options), images.built())
        print(f"export KUBECONFIG={wanted.kubeconfig}")
        return 0
    lack = None if start.runs(wanted) else prerequisites.lacking()  # a cluster that runs has what it needs
    if lack is not None:
        print(f"cluster: {lack}", file=sys.stderr)
        return 2
    began = time.monotonic()
    prerequisites.install_packages(prerequisites.missing_packages())
    binaries.ensure([*groups.WHOLE_CLUSTER, *(["kwok"] if options.kwok else [])], _say)
    with _alone(wanted.directory):
        start.up(wanted, images.built(), _say)
        if options.kwok is not None:
            fake_nodes.start(wanted, Processes(wanted.directory), options.kwok)
            _say(f"{options.kwok} fake nodes")
    _say(f"up in {time.monotonic() - began:.1f} s")
    print(f"export KUBECONFIG={wanted.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    began = time.monotonic()
    wanted = _layout(options)
    if _on_kind():
        kind.down(_kind_name(options), wanted.kubeconfig)
        return 0
    with _alone(wanted.directory):
        teardown.tear_down(wanted)
    _say(f"down in {time.monotonic() - began:.1f} s")
    return 0


def _status(options: argparse.Namespace) -> int:
    wanted = _layout(options)
    running = Processes(wanted.directory)
    ended = [name for name in start.processes(wanted) if not running.alive(name)]
    for name in start.processes(wanted):
        pid = running.pid(name)
        print(f"{name:28} {'ended' if pid is None else f'pid {pid}'}")
    used = usage(marked(wanted.directory)).values()
    resident_mib, cpu_s = sum(kib for _, kib in used) // 1024, sum(ms for ms, _ in used) / 1000
    print(f"resident {resident_mib} MiB, CPU {cpu_s:.1f} s since the start")
    print(f"export KUBECONFIG={wanted.kubeconfig}")
    return 1 if ended else 0


def _build(options: argparse.Namespace) -> int:
    every = [name for group in groups.GROUPS for name in group.packages]
    binaries.ensure(options.programs or every, _say)
    return 0


def _images(options: argparse.Namespace) -> int:
    images.build_all(options.names, _say, registry=options.registry, tag=options.tag)
    return 0


def _load(options: argparse.Namespace) -> int:
    wanted = _layout(options)
    if _on_kind():
        kind.load(_kind_name(options), images.built())
        return 0
    for line in loading.load(wanted, images.built()):
        _say(f"loaded {line}")
    return 0


def _kubeconfig(options: argparse.Namespace) -> int:
    print(_layout(options).kubeconfig)
    return 0


def _restart(options: argparse.Namespace) -> int:
    Processes(_layout(options).directory).restart(options.process)
    return 0


def _path(options: argparse.Namespace) -> int:
    print(binaries.binary(options.program))
    return 0


def _on_kind() -> bool:
    return os.environ.get("CLUSTER") == "kind"


def _kind_name(options: argparse.Namespace) -> str:
    return f"stoker-{options.name}"


def _layout(options: argparse.Namespace) -> Layout:
    """As asked for; what was not said is as the running cluster of that name has it."""
    fresh = layout.make_layout(options.name, options.index or 0, options.port_base or layout.DEFAULT_PORT_BASE)
    saved = start.saved(fresh.directory)
    if saved is None:
        return fresh
    index = saved.index if options.index is None else options.index
    base = saved.port_base if options.port_base is None else options.port_base
    return layout.make_layout(options.name, index, base)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two commands on one cluster wait for each other. The lock lies beside the directory, which may go."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{directory.name}.lock").open("w") as file:
        os.set_inheritable(file.fileno(), False)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(f"cluster: {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        each = commands.add_parser(name, help=text, description=text)
        each.set_defaults(command=command)
        each.add_argument("--name", default="default", help="name of the cluster; its state lies under this name")
        each.add_argument("--index", type=int, help="number that chooses subnets and ports; differs between clusters")
        each.add_argument("--port-base", type=int, help="first host port; a cluster uses the next ten times its index")
        return each

    add("up", _up, "start the cluster, or repair it").add_argument("--kwok", type=int, help="so many fake nodes")
    add("down", _down, "remove the cluster and every trace")
    add("status", _status, "what runs, and what it uses; exit status 1 when something ended")
    add("build", _build, "build programs into the cache").add_argument("programs", nargs="*")
    building = add("images", _images, "build the images of images/*")
    building.add_argument("names", nargs="*", help="folders of images/; all when none is named")
    building.add_argument("--registry", help="also tag and push there")
    building.add_argument("--tag", default="dev")
    add("load", _load, "import the built images into the nodes")
    add("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    add("restart", _restart, "end and start one program again").add_argument("process", help="e.g. kubelet.node-a")
    add("path", _path, "print the path of a built program").add_argument("program", help="e.g. kubectl")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
