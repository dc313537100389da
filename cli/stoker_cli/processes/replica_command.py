"""What a replica's process is started with: its command line, environment and working directory.

Pure but for looking up executables. Every refusal is one sentence that says how to fix it.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason

_KEPT = ("PATH", "LANG", "TZ")
"""What a replica inherits of our own environment, which may hold secrets of the operator."""
_PYTHONS = ("python", "python3")
_REFERENCE = re.compile(r"(\$?)\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class LaunchFailed(StokerError):  # noqa: N818  the name states the fact
    """A replica could not be started; the text says why and how to fix it."""

    def __init__(self, message: str, reason: Reason = Reason.START_FAILED) -> None:
        super().__init__(message)
        self.reason = reason


class LaunchGivenUp(StokerError):  # noqa: N818  the name states the fact
    """The launch was given up because it was asked to be: no failure of anything."""


def environment_of(
    replica: ReplicaSpec,
    function: Function,
    devices: Sequence[Device],
    *,
    port: int,
    home: str,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment. The user's variables may replace HOME and PATH, never what says port and device."""
    simulated = any(device.simulated for device in devices)
    real = [device.id for device in devices if device.kind is DeviceKind.GPU and not device.simulated]
    environment = {name: inherited[name] for name in _KEPT if name in inherited}
    environment["HOME"] = home
    environment |= {item.name: item.value for item in function.container_of(replica.variant).env}
    environment |= {
        "PORT": str(port),
        "STOKER_FUNCTION": replica.function,
        "STOKER_REPLICA": replica.id,
        "STOKER_VARIANT": replica.variant.value,
        "STOKER_DEVICE": "+".join(device.label for device in devices),
        # Empty hides all GPUs: a replica on cores or on a simulated device must not use a real one.
        "CUDA_VISIBLE_DEVICES": ",".join(real),
    }
    if simulated:
        environment["STOKER_DEVICE_SIMULATED"] = "1"
    return environment


def work_dir_of(function: Function) -> str:
    """The folder of the function's file, else the current one. LaunchFailed where it is gone."""
    folder = function.work_dir or str(Path.cwd())
    if not Path(folder).is_dir():
        raise LaunchFailed(f"its working directory {folder} does not exist; put the folder of its file back")
    return folder


def argv_of(replica: ReplicaSpec, function: Function, environment: Mapping[str, str], work_dir: str) -> list[str]:
    """The command line with an absolute executable.

    `python` and `python3` mean the interpreter of the active environment (VIRTUAL_ENV or CONDA_PREFIX) where there is
    one, else the one that runs Stoker where Stoker is in an environment, else the one on PATH, else Stoker's own. So
    `.venv/bin/stoker serve` finds in `.venv` what the function imports, without activating it.
    `$(NAME)` in a word is a variable of the environment, as on Kubernetes.
    """
    container = function.container_of(replica.variant)
    words = [expanded(word, environment) for word in (*container.command, *container.args)]
    if not container.command:
        raise LaunchFailed(
            "it has no container.command, and the process launcher runs commands only; "
            "name the program to run, as in command: [python, server.py]"
        )
    program = words[0]
    path = environment.get("PATH", os.defpath)
    if "/" in program:
        found = _executable(Path(work_dir, program))
    else:
        found = _own_python(program) or shutil.which(program, path=path)
        if found is None and program in _PYTHONS:
            found = sys.executable
    if found is None:
        where = f"in {work_dir}" if "/" in program else f"on PATH ({path})"
        raise LaunchFailed(
            f"container.command: there is no executable {program!r} {where}; install it, make it executable, "
            "or write its absolute path"
        )
    return [found, *words[1:]]


def expanded(word: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` from the environment. An unknown name stays; so does `$$(NAME)`, less one dollar, and `$$` alone."""
    return _REFERENCE.sub(lambda found: found[0][1:] if found[1] else environment.get(found[2], found[0]), word)


def _own_python(program: str) -> str | None:
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if program not in _PYTHONS or active or sys.prefix == sys.base_prefix:
        return None
    return sys.executable


def _executable(path: Path) -> str | None:
    return str(path) if path.is_file() and os.access(path, os.X_OK) else None
