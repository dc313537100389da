"""The processes of a replica and their memory: found in /proc, bounded by a cgroup where one is delegated.

Standard library only: the spawner imports it and must start fast. Where there is no /proc (not Linux) nothing is
found, and only the process group of a replica is known.
"""

import os
from collections.abc import Iterable
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ProcessTable:
    """One look at /proc: parents, sessions and states of all processes."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self.parent: dict[int, int] = {}
        self.session: dict[int, int] = {}
        self.started: dict[int, int] = {}
        """Start time in clock ticks: with the number it names one process for ever."""
        try:
            names = [entry.name for entry in proc.iterdir()]
        except OSError:
            names = []
        for name in names:
            if name.isdigit():
                self._look_at(int(name))

    def _look_at(self, pid: int) -> None:
        try:
            text = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return  # it ended meanwhile
        # The name is in parentheses and may itself hold spaces and parentheses.
        fields = text[text.rfind(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            self.parent[pid] = int(fields[1])
            self.session[pid] = int(fields[3])
            self.started[pid] = int(fields[19])

    def descendants(self, roots: Iterable[int]) -> set[int]:
        """All processes below the roots, the roots left out."""
        children: dict[int, list[int]] = {}
        for pid, parent in self.parent.items():
            children.setdefault(parent, []).append(pid)
        found: set[int] = set()
        todo = list(roots)
        while todo:
            for child in children.get(todo.pop(), ()):
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found

    def marked(self, pids: Iterable[int], marks: frozenset[bytes]) -> set[int]:
        """Those whose environment at their start held all of the `NAME=value` marks."""
        found = set()
        for pid in pids:
            try:
                environ = (self._proc / str(pid) / "environ").read_bytes()
            except OSError:
                continue
            if marks <= set(environ.split(b"\0")):
                found.add(pid)
        return found

    def all(self) -> set[int]:
        return set(self.parent)


def rss_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """Resident memory of the processes; pages that they share count once for each."""
    total = 0
    for pid in pids:
        try:
            total += int((proc / str(pid) / "statm").read_bytes().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            continue
    return total


def pss_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """The same with shared pages divided among those who share them. Dearer, so asked only when in doubt."""
    total = 0
    for pid in pids:
        try:
            text = (proc / str(pid) / "smaps_rollup").read_bytes()
        except OSError:
            total += rss_bytes([pid], proc)
            continue
        total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(b"Pss:")), 0)
    return total


def is_over(pids: set[int], limit_mib: int, proc: Path = Path("/proc")) -> bool:
    """Whether the processes hold more than the limit. Workers that share a model do not count it twice."""
    limit = limit_mib * 2**20
    return rss_bytes(pids, proc) > limit and pss_bytes(pids, proc) > limit


class Cgroups:
    """Memory limits by cgroup v2, below the cgroup that this process is in, if that is delegated to it.

    A cgroup that holds processes cannot give controllers to children, so this process (and its parent) moves into a
    leaf of its own first. That is done only where the cgroup holds nobody else: a user's shell is not ours to move.
    """

    def __init__(self, root: Path, own: frozenset[int]) -> None:
        self._root = root
        self._own = own
        self._made: dict[str, Path] = {}

    @classmethod
    def find(
        cls, own: frozenset[int], proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")
    ) -> "Cgroups | None":
        """The delegated cgroup ready for use, or None."""
        try:
            lines = (proc / "self" / "cgroup").read_text().splitlines()
            inside = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), None)
            if inside is None:
                return None
            root = mount / inside
            if "memory" not in (root / "cgroup.controllers").read_text().split() or not os.access(root, os.W_OK):
                return None
            found = cls(root, own)
            found._take_over()
        except (OSError, ValueError):
            return None
        return found

    def _take_over(self) -> None:
        inside = {int(pid) for pid in (self._root / "cgroup.procs").read_text().split()}
        if not inside <= self._own:
            raise OSError("the cgroup holds processes of others")
        leaf = self._root / "stoker"
        leaf.mkdir(exist_ok=True)
        for pid in sorted(inside):
            (leaf / "cgroup.procs").write_text(str(pid))
        (self._root / "cgroup.subtree_control").write_text("+memory")

    def make(self, name: str, limit_mib: int) -> Path | None:
        """A cgroup with the limit, in which all die together over it; None where the kernel refuses."""
        path = self._root / f"replica-{name}"
        try:
            path.mkdir(exist_ok=True)
            (path / "memory.max").write_text(str(limit_mib * 2**20))
            (path / "memory.oom.group").write_text("1")
        except OSError:
            return None
        self._made[name] = path
        return path

    def was_exceeded(self, name: str) -> bool:
        """Whether the kernel killed something in it for memory."""
        path = self._made.get(name)
        try:
            text = (path / "memory.events").read_text() if path is not None else ""
        except OSError:
            return False
        return any(line.split()[0] == "oom_kill" and int(line.split()[1]) > 0 for line in text.splitlines())

    def remove(self, name: str) -> None:
        """Kill what is left in it and remove it."""
        path = self._made.pop(name, None)
        if path is None:
            return
        try:
            (path / "cgroup.kill").write_text("1")
            path.rmdir()
        except OSError:
            return  # not empty yet: an empty cgroup without processes costs nothing
