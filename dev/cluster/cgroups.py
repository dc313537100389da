"""One control group per node, so that two kubelets on one kernel do not kill each other's pods. Version 1 and 2."""

import os
import signal
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_NEEDED_V2: Final = ("cpu", "cpuset", "memory", "pids")


def is_v1() -> bool:
    return not (_ROOT / "cgroup.controllers").exists()


def create(name: str) -> None:
    """Makes the group in every hierarchy. In version 1 a cpuset without cores and memory nodes takes no process."""
    if not is_v1():
        for controller in _NEEDED_V2:
            (_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
        (_ROOT / name).mkdir(exist_ok=True)
        return
    for hierarchy in _hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (folder / setting).exists() and not (folder / setting).read_text().strip():
                (folder / setting).write_text((hierarchy / setting).read_text())


def remove(name: str, *, timeout_s: float = 10.0) -> bool:
    """Kills what still runs in the group and removes it with all below; False when something stayed."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = [folder for hierarchy in _hierarchies() if (folder := hierarchy / name).exists()]
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        for folder in left:
            _kill_and_remove(folder)
        time.sleep(0.02)


def _kill_and_remove(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            for word in (Path(folder) / "cgroup.procs").read_text().split():
                os.kill(int(word), signal.SIGKILL)
            Path(folder).rmdir()
        except OSError:
            continue  # it empties as its processes end; the caller comes back


def _hierarchies() -> list[Path]:
    if not is_v1():
        return [_ROOT]
    return [path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink()]
