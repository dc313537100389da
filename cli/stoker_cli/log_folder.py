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
    base = Path(tempfile.gettempdir()) / f"stoker-{os.getuid()}" if state is None else state
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs = base / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="stoker-logs-"))
    for entry in logs.iterdir():
        if entry.name.isdigit() and process_start(int(entry.name)) is None:
            shutil.rmtree(entry, ignore_errors=True)
    return logs / str(pid)
