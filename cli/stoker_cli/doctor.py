"""`stoker doctor`: is this machine fit to serve, and if not, what to do. Changes nothing."""

import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import psutil
from msgspec import Struct

from stoker_cli.console import listed, mib
from stoker_cli.open_files import LEAST
from stoker_cli.state_file import state_folder, survey
from stoker_node.devices import DeviceProbe, DevicesUnavailable

PORT = 8080
MIN_PYTHON = (3, 11)
MIN_MEMORY_MIB = 2048
MIN_DISK_MIB = 1024
WANTED_FILES = 4096
"""Each request in flight takes up to three descriptors: client, gateway to agent, agent to replica."""
_CGROUP = Path("/sys/fs/cgroup")


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One line: what was looked at, what is so, and how to fix it (empty where nothing is to be fixed)."""

    level: Level
    subject: str
    fact: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject:<13} {self.fact}" + (f"; {self.fix}" if self.fix else "")


OpenProbe = Callable[[], DeviceProbe]
"""Opens the driver of the machine; raises DevicesUnavailable where there is none."""


def doctor(environ: Mapping[str, str], open_probe: OpenProbe) -> int:
    """Print every finding; exit code 1 if one fails."""
    findings = list(findings_of(environ, open_probe))
    for finding in findings:
        print(finding)
    return int(any(finding.level is Level.FAIL for finding in findings))


def findings_of(environ: Mapping[str, str], open_probe: OpenProbe) -> Iterator[Finding]:
    """All checks in their order. One that breaks is a finding itself and stops no other."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        python,
        lambda: machine(len(os.sched_getaffinity(0)), psutil.virtual_memory().available >> 20),
        lambda: disk(environ),
        open_files,
        lambda: port(PORT),
        lambda: gpus(open_probe),
        cgroups,
        lambda: instances(environ),
    )
    for check in checks:
        try:
            yield from check()
        except (OSError, ValueError) as err:
            yield Finding(Level.WARN, "check", f"one check could not be made: {err}")


def python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < MIN_PYTHON:
        yield Finding(Level.FAIL, "Python", f"{version} is too old", "install Python 3.11 or later")
    else:
        yield Finding(Level.OK, "Python", version)
    if sys.prefix == sys.base_prefix:
        yield Finding(
            Level.WARN,
            "environment",
            "Stoker is not in a virtual environment, so other packages can change its libraries",
            "in a checkout: make setup",
        )
    else:
        yield Finding(Level.OK, "environment", sys.prefix)


def machine(cores: int, available_mib: int) -> Iterator[Finding]:
    yield (
        Finding(Level.OK, "cores", f"{cores} usable")
        if cores > 1
        else Finding(
            Level.WARN, "cores", "1 usable: functions and platform share it", "give this machine a second core"
        )
    )
    yield (
        Finding(Level.OK, "memory", f"{mib(available_mib)} available")
        if available_mib >= MIN_MEMORY_MIB
        else Finding(
            Level.WARN,
            "memory",
            f"only {mib(available_mib)} available",
            f"free some: models want {mib(MIN_MEMORY_MIB)}",
        )
    )


def disk(environ: Mapping[str, str]) -> Iterator[Finding]:
    folder = state_folder(environ)
    if folder is None:
        yield Finding(
            Level.WARN,
            "home",
            "neither HOME nor XDG_STATE_HOME names a folder",
            "set HOME",
        )
    else:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if os.access(existing, os.W_OK):
            yield Finding(Level.OK, "home", f"{folder} can be written")
        else:
            yield Finding(
                Level.WARN,
                "home",
                f"{existing} cannot be written, so invoke, top and explain do not find stoker serve",
                "make it writable or set XDG_STATE_HOME",
            )
    temporary = environ.get("TMPDIR", "/tmp")  # noqa: S108  looked at, not written to
    free_mib = shutil.disk_usage(temporary).free >> 20
    yield (
        Finding(Level.OK, "disk", f"{mib(free_mib)} free in {temporary}")
        if free_mib >= MIN_DISK_MIB
        else Finding(Level.WARN, "disk", f"only {mib(free_mib)} free in {temporary}", "remove files or set TMPDIR")
    )


def open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_FILES:
        yield Finding(Level.OK, "open files", "unlimited" if soft == resource.RLIM_INFINITY else str(soft))
    elif hard == resource.RLIM_INFINITY or hard >= WANTED_FILES:
        yield Finding(Level.OK, "open files", f"{soft}, raised by stoker serve to what is allowed")
    else:
        yield Finding(
            Level.WARN if hard >= LEAST else Level.FAIL,
            "open files",
            f"at most {hard}: about {hard // 3} requests at once",
            f"raise the hard limit to {WANTED_FILES} (ulimit -Hn, or LimitNOFILE of the service)",
        )


def port(number: int) -> Iterator[Finding]:
    for wanted, what in ((number, "the default port"), (number + 1, "the internal listener of the default port")):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                yield Finding(
                    Level.WARN, f"port {wanted}", f"taken ({what})", "start with another one: stoker serve --port N"
                )
            else:
                yield Finding(Level.OK, f"port {wanted}", "free")


def gpus(open_probe: OpenProbe) -> Iterator[Finding]:
    try:
        probe = open_probe()
    except DevicesUnavailable as err:
        yield Finding(Level.WARN, "GPUs", str(err).rstrip("."))
        return
    try:
        devices = probe.list()
    except DevicesUnavailable as err:
        yield Finding(Level.FAIL, "GPUs", str(err).rstrip("."))
        return
    finally:
        probe.close()
    if not devices:
        yield Finding(Level.WARN, "GPUs", "the driver works and shows no GPU", "simulate some: --gpus 1xA100-40GB")
    for device in devices:
        if device.healthy:
            yield Finding(Level.OK, "GPU", f"{device.label} with {mib(device.memory_mib)}")
        else:
            yield Finding(Level.FAIL, "GPU", f"{device.label}: {device.reason}")


def cgroups() -> Iterator[Finding]:
    fallback = "memory limits of functions are kept by watching their processes instead"
    if not (_CGROUP / "cgroup.controllers").exists():
        yield Finding(Level.WARN, "cgroup v2", f"not mounted at {_CGROUP}: {fallback}")
        return
    own = next(
        line.partition("::")[2].strip()
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        if line.startswith("0::")
    )
    folder = _CGROUP / own.lstrip("/")
    delegated = os.access(folder / "cgroup.subtree_control", os.W_OK) and os.access(folder, os.W_OK)
    has_memory = "memory" in (folder / "cgroup.controllers").read_text(encoding="utf-8").split()
    if delegated and has_memory:
        yield Finding(Level.OK, "cgroup v2", f"{own} is delegated with memory")
    else:
        yield Finding(
            Level.WARN,
            "cgroup v2",
            f"{own} is not delegated to this user with memory: {fallback}",
            "start by: systemd-run --user --scope -p Delegate=yes stoker serve ...",
        )


def instances(environ: Mapping[str, str]) -> Iterator[Finding]:
    states, stale = survey(environ)
    if not states:
        yield Finding(Level.OK, "instances", "no stoker serve of this user runs")
    for state in states:
        yield Finding(Level.OK, "instances", f"process {state.pid} serves at {state.url} since {state.started}")
    if stale:
        names = listed(path.name for path in stale)
        yield Finding(Level.WARN, "instances", f"left behind by a killed one: {names}", "the next command removes it")
