"""The process launcher: replicas as local processes, by way of one spawner process (stoker_cli.processes.spawner).

This is the half inside `stoker serve`: it never forks itself (the event loop serves requests), it sends lines and
waits for lines. If the spawner dies its replicas die with it: they are reported as ended, leftovers are killed, and
the next launch starts a new spawner.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker_cli.processes.process_memory import ProcessTable
from stoker_cli.processes.replica_command import LaunchFailed, argv_of, environment_of, work_dir_of

SPAWNER_START_S = 20.0
SPAWN_S = 20.0
"""How long the spawner may take to answer; a loaded machine is slow, a dead spawner is noticed at once."""
STOP_S = 5.0
LINE_BYTES = 4 * 2**20

log = structlog.get_logger(__name__)


class ExitInfo(Struct, frozen=True, kw_only=True):
    """How a replica's process ended."""

    code: int | None
    """Exit code; None where a signal ended it."""
    signal: int | None = None
    reason: Reason = Reason.REPLICA_FAILED
    output: tuple[str, ...] = ()
    """The last lines that it printed."""
    detail: str = ""
    """One sentence, without the output."""


class _Running:
    """A replica as the launcher knows it."""

    def __init__(self, identity: str, port: int, home: str, memory_mib: int | None) -> None:
        loop = asyncio.get_running_loop()
        self.identity = identity
        self.port = port
        self.home = home
        self.memory_mib = memory_mib
        self.spawned: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[ExitInfo] = loop.create_future()


class ProcessLauncher:
    """See the module. `on_exit` is called once for every launched replica that ends, however it ends."""

    def __init__(
        self,
        log_dir: Path,
        *,
        on_exit: Callable[[str, ExitInfo], None] = lambda _id, _info: None,
        inherited: Mapping[str, str] = os.environ,
    ) -> None:
        self.on_exit = on_exit
        self._log_dir = log_dir
        self._inherited = inherited
        self._running: dict[str, _Running] = {}
        self._spawner: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._cleaning: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Start the spawner. LaunchFailed where that is impossible."""
        async with self._starting:
            if self._spawner is not None:
                return
            # -P: what lies in the user's folder must not replace modules of ours.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "stoker_cli.processes.spawner",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LINE_BYTES,
            )
            assert process.stdout is not None
            line = b""
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), SPAWNER_START_S)
            if not line:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise LaunchFailed("the spawner process did not start; standard error may say why")
            log.debug("spawner_started", pid=process.pid, cgroup=json.loads(line)["cgroup"])
            self._spawner = process
            self._reader = asyncio.create_task(self._read_events(process), name="spawner events")

    async def stop(self) -> None:
        """End all replicas at once (drain them before) and the spawner."""
        self._stopped = True
        async with self._starting:
            process, reader = self._spawner, self._reader
        if process is None or reader is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader
        if self._cleaning:
            await asyncio.wait(self._cleaning)

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        """Start the replica's process; its port on 127.0.0.1. LaunchFailed says why it could not be started."""
        if not self._stopped:
            await self.start()
        if self._stopped:
            raise LaunchFailed("the launcher has been stopped")
        if replica.id in self._running:
            raise LaunchFailed(f"{replica.id} still runs")
        memory_mib = function.container_of(replica.variant).memory_mib
        # Made without a thread: a launch that is cancelled in between would leave the folder behind.
        home = tempfile.mkdtemp(prefix="stoker-home-")
        running = self._running[replica.id] = _Running(replica.id, self._free_port(), home, memory_mib)
        try:
            environment = environment_of(
                replica, function, devices, port=running.port, home=home, inherited=self._inherited
            )
            work_dir = work_dir_of(function)
            argv = argv_of(replica, function, environment, work_dir)
        except (LaunchFailed, OSError):
            self._forget(running)
            raise
        await self._send(
            {
                "op": "spawn",
                "id": replica.id,
                "argv": argv,
                "env": environment,
                "cwd": work_dir,
                "log": str(self.log_path(replica.id)),
                "home": home,
                "memory_mib": memory_mib,
            }
        )
        try:
            await asyncio.wait_for(asyncio.shield(running.spawned), SPAWN_S)
        except TimeoutError as error:
            await self._send({"op": "kill", "id": replica.id, "grace_s": 0})
            self._forget(running)
            raise LaunchFailed(f"the spawner did not answer within {SPAWN_S} s; the machine is overloaded") from error
        except LaunchFailed:
            self._forget(running)
            raise
        return running.port

    def give_up(self, replica_id: str) -> None:
        """Nothing: a launch takes no time that would be worth giving up."""

    async def terminate(self, replica_id: str, grace_us: int) -> None:
        """SIGTERM, SIGKILL to all that is left after the grace; returns when the replica is gone."""
        running = self._running.get(replica_id)
        if running is None:
            return
        await self._send({"op": "kill", "id": replica_id, "grace_s": grace_us / 1e6})
        await asyncio.shield(running.exited)

    def log_path(self, replica_id: str) -> Path:
        """Where the output of a replica goes; `.1` is the part before the last rotation."""
        return self._log_dir / f"{replica_id.replace('/', '.')}.log"

    def _free_port(self) -> int:
        """A port that nobody has now. Another may take it before the replica binds it: then it is started again."""
        taken = {running.port for running in self._running.values()}
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in taken:
                return port

    async def _send(self, command: dict[str, Any]) -> None:
        process = self._spawner
        if process is None or process.stdin is None:
            return  # it died: whatever it had has been reported as ended
        process.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()

    async def _read_events(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = json.loads(line)
            running = self._running.get(event["id"])
            if running is None:
                continue
            if event["event"] == "spawned":
                _settle(running.spawned)
            elif event["event"] == "failed":
                if not running.spawned.done():
                    running.spawned.set_exception(LaunchFailed(f"it could not be started: {event['message']}"))
            else:
                self._exited(running, _exit_info(event, running.memory_mib))
        self._spawner = None
        await self._lost(process)

    async def _lost(self, process: asyncio.subprocess.Process) -> None:
        """The spawner has ended: so have its replicas, or they are ended here."""
        # Taken before anything is awaited: a launch may start a new spawner meanwhile.
        left = list(self._running.values())
        await process.wait()
        if left:
            marks = [frozenset({f"STOKER_REPLICA={r.identity}".encode(), f"PORT={r.port}".encode()}) for r in left]
            await asyncio.to_thread(_kill_marked, marks)
        for running in left:
            self._exited(
                running,
                ExitInfo(
                    code=None,
                    signal=signal.SIGKILL,
                    reason=Reason.SHUTDOWN if self._stopped else Reason.REPLICA_FAILED,
                    detail="it was stopped" if self._stopped else "the spawner process ended, and its replicas with it",
                ),
            )

    def _exited(self, running: _Running, info: ExitInfo) -> None:
        was_launched = running.spawned.done() and running.spawned.exception() is None
        self._forget(running)
        if not running.spawned.done():
            running.spawned.set_exception(LaunchFailed(info.detail))
        running.exited.set_result(info)
        if was_launched:
            self.on_exit(running.identity, info)

    def _forget(self, running: _Running) -> None:
        if self._running.get(running.identity) is running:
            del self._running[running.identity]
            task = asyncio.create_task(asyncio.to_thread(shutil.rmtree, running.home, True))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _kill_marked(marks: Sequence[frozenset[bytes]]) -> None:
    table = ProcessTable()
    for mark in marks:
        for pid in table.marked(table.all(), mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _exit_info(event: Mapping[str, Any], memory_mib: int | None) -> ExitInfo:
    code, number = event["code"], event["signal"]
    if event["memory_exceeded"]:
        detail = f"it held more than container.resources.memory ({memory_mib} MiB) and was killed"
    elif number is not None:
        detail = f"it was ended by {signal_name(number)}"
    else:
        detail = f"it ended with exit code {code}"
    return ExitInfo(
        code=code,
        signal=number,
        reason=Reason.MEMORY_EXCEEDED if event["memory_exceeded"] else Reason.REPLICA_FAILED,
        output=tuple(event["tail"]),
        detail=detail,
    )


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
