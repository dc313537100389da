"""The child process that runs replicas: spawns, captures output, bounds memory, reaps, and leaves nothing behind.

`python -m stoker_cli.processes.spawner` reads one JSON command per line from stdin and writes one JSON event per line
to stdout (the launcher is the other end). Standard library only, one thread: it starts fast, and forking is safe.

- Every replica is a session of its own, nice +5 (the gateway keeps a core share), and dies with the spawner.
- The spawner is the subreaper: what a replica leaves behind by double forks becomes a child of the spawner, and is
  found by session, by descent, or by the marks in its environment. Ending a replica ends all of that.
- When stdin closes (stoker ended, however it ended) everything is killed at once.

Commands: {"op": "spawn", "id", "argv", "env", "cwd", "log", "home", "memory_mib"}, {"op": "kill", "id", "grace_s"}.
Events: {"event": "ready", "cgroup"}, {"event": "spawned", "id", "pid"}, {"event": "failed", "id", "message"},
{"event": "exited", "id", "code", "signal", "memory_exceeded", "tail"}.
"""

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoker_cli.processes.output_log import OutputLog
from stoker_cli.processes.process_memory import Cgroups, ProcessTable, is_over

MEMORY_INTERVAL_S = 0.5
NICE = 5
READ_BYTES = 65536
LAST_READS = 256
"""Pieces of output that are still read after the end: who fled with the pipe must not hold us."""
RETRY_S = 1.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SWEEPS = 50
"""Looks for what is left of a replica; each kills all that it finds, so forks must outrun it this often to stay."""


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _kill_until_none(find: Callable[[ProcessTable], set[int]]) -> None:
    """SIGKILL what `find` sees, until a look finds nothing: what is being killed may still have forked."""
    for _ in range(SWEEPS):
        found = find(ProcessTable())
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


class _Child:
    """One replica's leader process and what belongs to it."""

    def __init__(
        self, identity: str, process: subprocess.Popen[bytes], output: OutputLog, command: dict[str, Any]
    ) -> None:
        self.identity = identity
        self.process = process
        self.pid = process.pid
        self.output = output
        self.home = str(command["home"])
        self.memory_mib: int | None = command.get("memory_mib")
        self.in_cgroup = False
        self.memory_exceeded = False
        self.kill_at: float | None = None
        self.known: dict[int, int] = {}
        """Processes seen to belong to it, with their start times: they may clear every other trace."""
        environment = command["env"]
        self.marks = frozenset(f"{name}={environment[name]}".encode() for name in ("STOKER_REPLICA", "PORT"))


class Spawner:
    """The event loop of the process."""

    def __init__(self) -> None:
        self._libc = _libc()
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, _Child] = {}
        self._pending = b""
        self._next_memory_s = 0.0
        self._homes: set[str] = set()
        """Homes that stoker removes when a replica has ended, and this process if stoker does not live to do it."""
        self._cgroups = Cgroups.find(frozenset({os.getpid(), os.getppid()}))
        self._signals, wake = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C and a stopping service manager signal everybody; stoker decides when replicas end.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self._libc is not None:
            self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self) -> None:
        """Serve until stdin closes, then kill everything."""
        os.set_blocking(0, False)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._emit({"event": "ready", "cgroup": self._cgroups is not None})
        try:
            while self._turn():
                pass
        finally:
            self._end_all()

    def _turn(self) -> bool:
        for key, _ in self._selector.select(self._patience_s()):
            if key.fd == 0:
                if not self._read_commands():
                    return False
            elif key.fd == self._signals:
                os.read(self._signals, READ_BYTES)
            else:
                child = self._children.get(key.data)
                if child is not None and self._capture(child) == b"":
                    self._close_output(child)
        self._reap()
        self._kill_overdue()
        self._watch_memory()
        return True

    def _patience_s(self) -> float | None:
        times = [child.kill_at for child in self._children.values() if child.kill_at is not None]
        if any(self._is_watched(child) for child in self._children.values()):
            times.append(self._next_memory_s)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _read_commands(self) -> bool:
        try:
            data = os.read(0, READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["op"] == "spawn":
                self._spawn(command)
            else:
                self._terminate(command["id"], float(command["grace_s"]))
        return True

    def _emit(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError:
            return  # stoker is gone; stdin says so too

    def _spawn(self, command: dict[str, Any]) -> None:
        identity: str = command["id"]
        cgroup = None
        if self._cgroups is not None and command.get("memory_mib"):
            cgroup = self._cgroups.make(identity.replace("/", "."), command["memory_mib"])
        parent = os.getpid()

        def prepare() -> None:
            os.nice(NICE)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            if self._libc is not None:
                self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != parent:
                    os._exit(1)  # the spawner died before the line above took hold
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text("0")

        try:
            output = OutputLog(Path(command["log"]))
            process = subprocess.Popen(
                command["argv"],
                env=command["env"],
                cwd=command["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509  this process has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._emit({"event": "failed", "id": identity, "message": str(error)})
            return
        assert process.stdout is not None
        child = _Child(identity, process, output, command)
        child.in_cgroup = cgroup is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, identity)
        self._children[identity] = child
        self._homes = {home for home in self._homes if Path(home).exists()} | {child.home}
        self._emit({"event": "spawned", "id": identity, "pid": child.pid})

    def _terminate(self, identity: str, grace_s: float) -> None:
        child = self._children.get(identity)
        if child is None:
            return  # it has ended by itself; that was reported
        # While the leader lives, descent tells even those that cleared their environment and left the session.
        self._belonging(child, ProcessTable())
        if grace_s <= 0:
            child.kill_at = time.monotonic()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)
        at = time.monotonic() + grace_s
        child.kill_at = at if child.kill_at is None else min(at, child.kill_at)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.kill_at is not None and child.kill_at <= now:
                child.kill_at = now + RETRY_S  # a process in a driver call dies late
                self._sweep(child)
                self._reap()

    def _belonging(self, child: _Child, table: ProcessTable) -> set[int]:
        """Everything alive that came from the replica, the leader included."""
        ours = table.descendants([os.getpid()])
        found = {pid for pid in ours if table.session[pid] == child.pid}
        # Descent is only told from the leader while it lives: once it is reaped, its number may be used again.
        found |= ({child.pid} if child.pid in ours else set()) | (table.descendants([child.pid]) & ours)
        found |= table.marked(ours - found, child.marks)
        found |= {pid for pid, started in child.known.items() if pid in ours and table.started[pid] == started}
        found |= table.descendants(found) & ours
        child.known = {pid: table.started[pid] for pid in found}
        return found

    def _sweep(self, child: _Child) -> None:
        """SIGKILL all that belongs to a replica, until a look finds nothing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        _kill_until_none(lambda table: self._belonging(child, table))

    def _reap(self) -> None:
        """Collect all that has ended, orphans that fell to the subreaper included."""
        by_pid = {child.pid: child for child in self._children.values()}
        while True:
            try:
                # Look before reaping: until it is swept the leader must stay a zombie, so that its number is its own.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = by_pid.pop(found.si_pid, None)
            if child is not None:
                self._sweep(child)
            _, status = os.waitpid(found.si_pid, 0)
            if child is not None:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        child.process.returncode = code
        for _ in range(LAST_READS):
            if not self._capture(child):
                break
        self._close_output(child)
        child.output.close()
        del self._children[child.identity]
        if not self._children:
            _kill_until_none(lambda table: table.descendants([os.getpid()]))  # nobody is left whom they could belong to
        name = child.identity.replace("/", ".")
        if self._cgroups is not None and child.in_cgroup:
            child.memory_exceeded |= self._cgroups.was_exceeded(name)
            self._cgroups.remove(name)
        self._emit(
            {
                "event": "exited",
                "id": child.identity,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "memory_exceeded": child.memory_exceeded,
                "tail": child.output.tail(),
            }
        )

    def _capture(self, child: _Child) -> bytes | None:
        """Read a piece of what the replica wrote; b"" at the end of its output, None when there is nothing now."""
        stream = child.process.stdout
        if stream is None or stream.closed:
            return b""
        try:
            data = os.read(stream.fileno(), READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        child.output.write(data)
        return data

    def _close_output(self, child: _Child) -> None:
        stream = child.process.stdout
        if stream is not None and not stream.closed:
            self._selector.unregister(stream)
            stream.close()

    def _is_watched(self, child: _Child) -> bool:
        return bool(child.memory_mib) and not child.in_cgroup and not child.memory_exceeded

    def _watch_memory(self) -> None:
        now = time.monotonic()
        watched = [child for child in self._children.values() if self._is_watched(child)]
        if not watched or now < self._next_memory_s:
            return
        self._next_memory_s = now + MEMORY_INTERVAL_S
        table = ProcessTable()
        for child in watched:
            if child.memory_mib and is_over(self._belonging(child, table), child.memory_mib):
                child.memory_exceeded = True
                child.kill_at = now
        self._kill_overdue()

    def _end_all(self) -> None:
        """Kill every replica and everything else below this process, and remove the replicas' homes."""
        for child in self._children.values():
            self._sweep(child)
        _kill_until_none(lambda table: table.descendants([os.getpid()]))
        for home in self._homes:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    Spawner().run()
