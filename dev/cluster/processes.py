"""Long-running programs of a cluster: started apart from us, found again by a record, ended without mistaking
another's pid.

A record names pid, start time and boot, so that a pid that now belongs to someone else is never touched. Should a
record be lost, `marked` still finds every program by a variable in its environment.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cluster.errors import ClusterError

MARK: Final = "STOKER_CLUSTER"
"""Environment variable that every program of a cluster inherits: the cluster's directory."""

_POLL_S: Final = 0.01
_FORK_TIMEOUT_S: Final = 5.0


class StartError(ClusterError):
    """A program could not be started; the message names it and its log."""


class Record(msgspec.Struct, frozen=True):
    """What is needed to find a program again and to start it once more."""

    argv: tuple[str, ...]
    inside: str | None
    """The holder in whose namespaces it runs."""
    path: str
    pid: int
    began: int
    """Start time in clock ticks since boot."""
    boot: str


class Processes:
    """The programs of the cluster in this directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._records = directory / "processes"
        self._logs = directory / "logs"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._records.glob("*.json"))

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, name: str, argv: Sequence[str | Path], *, inside: str | None = None, path: str = "") -> None:
        """Starts it in a session of its own; `inside` a holder: in that one's namespaces. Raises StartError."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        words = tuple(map(str, argv))
        if inside is None:
            pid = self._spawn(name, words, path)
        else:
            holder = self.pid(inside)
            if holder is None:
                raise StartError(f"cluster: {name} cannot start, because {inside} does not run")
            enter = ("nsenter", f"--target={holder}", "--mount", "--net", "--pid", "--")
            # nsenter must fork to enter a pid namespace, and stays as the parent.
            pid = self._only_child(self._spawn(name, (*enter, *words), path), name)
        record = Record(words, inside, path, pid, _began(pid) or 0, _boot())
        partial = self._records / f".{name}.partial"
        partial.write_bytes(msgspec.json.encode(record))
        partial.replace(self._records / f"{name}.json")

    def start_holder(self, name: str, script: str, arguments: Sequence[str]) -> None:
        """Starts a shell script as first process of new mount, network and pid namespaces. They end with it."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        unshare = (
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation=private",
        )
        words = ("/bin/sh", "-c", script, name, *arguments)
        pid = self._only_child(self._spawn(name, (*unshare, "--", *words), ""), name)
        record = Record(words, None, "", pid, _began(pid) or 0, _boot())
        (self._records / f"{name}.json").write_bytes(msgspec.json.encode(record))

    def restart(self, name: str) -> None:
        """Starts it as it was started before; one that still runs is ended first."""
        record = self._record(name)
        if record is None:
            raise StartError(f"cluster: no program {name!r} was ever started here; there are {', '.join(self.names())}")
        self.stop(name)
        self.start(name, record.argv, inside=record.inside, path=record.path)

    def pid(self, name: str) -> int | None:
        """Its pid while it runs."""
        record = self._record(name)
        if record is None or record.boot != _boot() or _began(record.pid) != record.began:
            return None
        return record.pid

    def alive(self, name: str) -> bool:
        return self.pid(name) is not None

    def stop(self, name: str, *, grace_s: float = 2.0) -> None:
        """SIGTERM, and SIGKILL after the grace; returns when it is gone. Its record stays, for `restart`."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + wait_s
            if wait_s > 0 and (pid := self.pid(name)) is not None:
                _signal(pid, number)
            while self.alive(name) and time.monotonic() < deadline:
                time.sleep(_POLL_S)

    def _record(self, name: str) -> Record | None:
        try:
            return msgspec.json.decode((self._records / f"{name}.json").read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None

    def _spawn(self, name: str, argv: tuple[str, ...], path: str) -> int:
        log = self.log(name)
        environment = {**os.environ, MARK: str(self._directory)}
        if path:
            environment["PATH"] = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            return os.posix_spawnp(
                argv[0],
                argv,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        except OSError as error:
            raise StartError(f"cluster: {name} does not start: {error} ({argv[0]})") from error

    def _only_child(self, parent: int, name: str) -> int:
        deadline = time.monotonic() + _FORK_TIMEOUT_S
        while time.monotonic() < deadline:
            for pid, words in _stats():
                if int(words[1]) == parent:
                    return pid
            if _began(parent) is None:
                break
            time.sleep(_POLL_S)
        raise StartError(f"cluster: {name} ended at once; its log is {self.log(name)}")


def marked(directory: Path) -> list[int]:
    """The pids of all programs that carry this cluster's mark."""
    wanted = f"{MARK}={directory}".encode()
    found = []
    for pid, _ in _stats():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # it ended, or is a kernel thread
        if wanted in environment.split(b"\0") and pid != os.getpid():
            found.append(pid)
    return found


def kill_marked(directory: Path, *, timeout_s: float = 20.0) -> list[int]:
    """Kills them until none is left; returns those that outlived the timeout."""
    deadline = time.monotonic() + timeout_s
    while (left := marked(directory)) and time.monotonic() < deadline:
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(5 * _POLL_S)
    return left


def usage(pids: Sequence[int]) -> Mapping[int, tuple[int, int]]:
    """Of each living pid: CPU time in milliseconds since it began, resident memory in KiB."""
    tick_ms, page_kib = 1000 // os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE") // 1024
    wanted = set(pids)
    return {
        pid: ((int(words[11]) + int(words[12])) * tick_ms, int(words[21]) * page_kib)
        for pid, words in _stats()
        if pid in wanted
    }


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Pid and the words of /proc/PID/stat from the state on, of every process that is no zombie."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (words := _stat(int(entry.name))):
            yield int(entry.name), words


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    words = text.rpartition(")")[2].split()  # the name before it may hold anything
    return [] if words[0] in "ZX" else words


def _began(pid: int) -> int | None:
    """The start time of a living process. Our own dead children are reaped on the way."""
    with contextlib.suppress(ChildProcessError):  # not our child: init's, or of an earlier run of this program
        os.waitpid(pid, os.WNOHANG)
    words = _stat(pid)
    return int(words[19]) if words else None


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
