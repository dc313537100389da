"""Every launcher behind one bench for the contract suite: processes, and podman and docker where they work."""

import asyncio
import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from planning_world import gpus, make_function, status_of
from replica_image import make_image_tar

from stoker.model.device import Device
from stoker.model.function import ContainerSpec, Function
from stoker.model.replica import ReplicaSpec
from stoker_cli.containers.launcher import ContainerLauncher
from stoker_cli.processes.launcher import ExitInfo, ProcessLauncher

IMAGE = f"localhost/stoker-launcher-test:{os.getpid()}"
LOW_LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
"""For a root without CAP_SYS_RESOURCE, who may not raise limits as podman does by default."""
PATIENCE_S = 60


def shell(script: str, **fields: object) -> Function:
    container = ContainerSpec(command=("sh", "-c", script), **fields)  # type: ignore[arg-type]
    return make_function(container=container)


def replica(ordinal: int = 0) -> ReplicaSpec:
    return status_of(ordinal=ordinal).spec


async def until(condition: Callable[[], object], ceiling_s: float = 8) -> None:
    deadline = time.monotonic() + ceiling_s
    while not condition():
        assert time.monotonic() < deadline, "not within the ceiling"
        await asyncio.sleep(0.01)


class Bench:
    """A launcher and what it reported."""

    def __init__(self, folder: Path, launcher: ProcessLauncher | ContainerLauncher, ceiling_s: float) -> None:
        self.exits: dict[str, ExitInfo] = {}
        self.folder = folder
        self.launcher = launcher
        self.ceiling_s = ceiling_s
        launcher.on_exit = self.exits.__setitem__

    async def run(self, function: Function, ordinal: int = 0, devices: list[Device] | None = None) -> int:
        return await self.launcher.launch(replica(ordinal), self.adapt(function), devices or gpus())

    def adapt(self, function: Function) -> Function:
        return replace(function, work_dir=str(self.folder))

    async def exit_of(self, ordinal: int = 0) -> ExitInfo:
        identity = replica(ordinal).id
        await self.until(lambda: identity in self.exits)
        return self.exits[identity]

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, self.ceiling_s)

    def output(self, ordinal: int = 0) -> str:
        path = self.launcher.log_path(replica(ordinal).id)
        return path.read_text() if path.exists() else ""

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def left(self) -> list[str]:
        """What of the replicas is still there, whatever its state."""
        return []


class ContainerBench(Bench):
    launcher: ContainerLauncher

    def __init__(self, folder: Path, program: str) -> None:
        self.program = program
        self.environ = engine_environ(program)
        launcher = ContainerLauncher(
            folder / "logs",
            [program],
            clock_us=lambda: time.monotonic_ns() // 1000,
            environ={**self.environ, "SECRET": "x", "HTTP_PROXY": "http://proxy.invalid"},
        )
        super().__init__(folder, launcher, PATIENCE_S / 2)

    def adapt(self, function: Function) -> Function:
        container = function.spec.container
        if container.image is None:
            container = replace(container, image=IMAGE)
        return replace(function, spec=replace(function.spec, container=container))

    def left(self) -> list[str]:
        return self.engine("ps", "-aq", "--filter", self.launcher._owner.mine).split()

    def engine(self, *argv: str) -> str:
        return call(self.program, self.environ, *argv)


def make_bench(kind: str, folder: Path) -> Bench:
    """The bench of a kind; skips the test in one sentence where it cannot be had."""
    if kind != "process":
        reason = unusable(kind)
        if reason:
            pytest.skip(reason)
        return ContainerBench(folder, kind)
    launcher = ProcessLauncher(folder / "logs", inherited={"PATH": os.environ["PATH"], "SECRET": "x", "TZ": "UTC"})
    return Bench(folder, launcher, 8)


@functools.cache
def engine_environ(program: str) -> dict[str, str]:
    """The environment in which the engine can run a container here."""
    environ = dict(os.environ)
    if program == "podman" and "CONTAINERS_CONF" not in environ and os.geteuid() == 0:
        text = Path("/proc/self/status").read_text()
        effective = int(next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff:")), 16)
        if not effective >> 24 & 1:  # CAP_SYS_RESOURCE
            handle, path = tempfile.mkstemp(prefix="stoker-containers-", suffix=".conf")
            os.write(handle, LOW_LIMITS.encode())
            os.close(handle)
            environ["CONTAINERS_CONF"] = path
    return environ


@functools.cache
def unusable(program: str) -> str:
    """Why the engine can run no container here, in one sentence; empty where it did. IMAGE is there until the end."""
    if shutil.which(program) is None:
        return f"there is no {program} on this machine."
    environ = engine_environ(program)
    try:
        call(program, environ, "ps", "-q")
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            reason = make_image_tar(archive)
            if reason:
                return f"{program}: {reason}."
            call(program, environ, "import", str(archive), IMAGE)
        atexit.register(call, program, environ, "rmi", "-f", IMAGE)
        call(program, environ, "run", "--rm", "--pull=never", IMAGE, "id")
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
        return f"{program} cannot run a container here: {' '.join(said)}"
    return ""


def call(program: str, environ: dict[str, str], *argv: str) -> str:
    done = subprocess.run(
        [program, *argv],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout
