"""Where a running instance keeps the output of its functions: `logs/PID` beside the state files.

The output of the last instance stays until the next one starts, so that a crash can be looked into.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stoker_cli.state_file import process_start, state_folder


def log_folder(environ: Mapping[str, str], pid: int) -> Path:
    """The folder for instance `pid`, in the temporary folder where the state folder cannot be written."""
    state = state_folder(environ)
    temporary = Path(tempfile.gettempdir()) / f"stoker-{os.getuid()}"
    for base in (temporary,) if state is None else (state, temporary):
        logs = base / "logs"
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Anyone may make a folder of our name in the temporary one, and would own what we write there.
            if base == temporary and (base.is_symlink() or base.stat().st_uid != os.getuid()):
                continue
            logs.mkdir(mode=0o700, exist_ok=True)
            if not os.access(logs, os.W_OK | os.X_OK):
                continue
            _remove_dead(logs, pid)
        except OSError:
            continue
        return logs / str(pid)
    return Path(tempfile.mkdtemp(prefix="stoker-logs-"))


def _remove_dead(logs: Path, pid: int) -> None:
    for entry in logs.iterdir():
        # In a container the id is the same at every start: what stands under ours is of the one before.
        if entry.name.isdecimal() and (int(entry.name) == pid or process_start(int(entry.name)) is None):
            shutil.rmtree(entry, ignore_errors=True)
