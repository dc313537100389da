"""The state file of a running `stoker serve`: how `invoke`, `top` and `explain` find it.

`$XDG_STATE_HOME/stoker/serve-PORT.json` (default ~/.local/state). A file whose process is gone is removed by whoever
sees it. A process is known by its id and its start, so an id that was given out again is not taken for it.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from stoker_cli.console import CommandFailed, listed

_URL = re.compile(r"http://\S+:[0-9]{1,5}")


class ServeState(Struct, frozen=True, kw_only=True):
    """One running instance."""

    pid: int
    url: str
    """Of the public listener, without a trailing slash."""
    internal: str
    """URL of the internal listener."""
    started: str
    """RFC 3339 in UTC with a fixed number of digits, so that texts sort by time."""
    process_start: int = 0
    """Start of the process in clock ticks since boot (field 22 of /proc/PID/stat); 0 where that is unknown."""

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Where state files are; None without a home. Need not exist."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # the specification: relative paths are invalid and ignored
        return Path(base) / "stoker"
    home = environ.get("HOME", "")
    return Path(home) / ".local" / "state" / "stoker" if home.startswith("/") else None


def write_state(state: ServeState, environ: Mapping[str, str]) -> Path:
    """Write it whole or not at all. Raises OSError where that cannot be done."""
    folder = state_folder(environ)
    if folder is None:
        raise FileNotFoundError("neither HOME nor XDG_STATE_HOME names a folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"serve-{state.port}.json"
    # A reader sees the old file or the new one; a kill in between leaves a dot file that nobody reads.
    handle, temporary = tempfile.mkstemp(prefix=".serve-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(state))
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def remove_state(path: Path, pid: int) -> None:
    """Remove the file if it is still the one that process `pid` wrote."""
    state = _read(path)
    if state is not None and state.pid == pid:
        with contextlib.suppress(OSError):
            path.unlink()


def running(environ: Mapping[str, str]) -> list[ServeState]:
    """The instances that run, newest first. Files of dead ones are removed, unreadable ones ignored."""
    states, stale = survey(environ)
    for path in stale:
        with contextlib.suppress(OSError):
            path.unlink()
    return states


def survey(environ: Mapping[str, str]) -> tuple[list[ServeState], list[Path]]:
    """The instances that run, newest first, and the files left behind by dead ones; changes nothing."""
    folder = state_folder(environ)
    alive: list[ServeState] = []
    stale: list[Path] = []
    try:
        paths = sorted(folder.glob("serve-*.json")) if folder is not None else []
    except OSError:
        paths = []
    for path in paths:
        state = _read(path)
        if state is not None and is_alive(state):
            alive.append(state)
        elif state is not None:
            stale.append(path)
    return sorted(alive, key=lambda state: state.started, reverse=True), stale


def choose(environ: Mapping[str, str], port: int | None) -> ServeState:
    """The newest instance, or the one on `port`. Raises CommandFailed where there is none."""
    states = running(environ)
    if port is not None:
        for state in states:
            if state.port == port:
                return state
        ports = f"those that run are on {listed(str(s.port) for s in states)}" if states else "none runs"
        raise CommandFailed(f"No stoker serve of this user runs on port {port}; {ports}.")
    if not states:
        raise CommandFailed("No stoker serve of this user is running; start one with: stoker serve FILE")
    return states[0]


def process_start(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot; None when it is gone (or a zombie), 0 where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return 0
    # The name of the program stands in brackets and may hold anything, brackets included.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_alive(state: ServeState) -> bool:
    """Whether the very process that wrote the file still runs."""
    start = process_start(state.pid)
    return start is not None and (not start or not state.process_start or start == state.process_start)


def _read(path: Path) -> ServeState | None:
    try:
        state = msgspec.json.decode(path.read_bytes(), type=ServeState)
    except (OSError, msgspec.DecodeError):
        return None
    return state if _URL.fullmatch(state.url) and _URL.fullmatch(state.internal) else None
