"""What a figure was measured on and beside: cores, load average, and what processes used."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct


class Used(Struct, frozen=True):
    """What a process used over some time."""

    cpu_percent: float
    """Of one core."""
    rss_mib: float
    """At the end."""
    peak_mib: float
    """Ever."""


def machine() -> str:
    memory_kib = next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines())
    return (
        f"{os.cpu_count()} cores, {int(memory_kib) // 2**20} GiB, Python {platform.python_version()}, "
        f"Linux {platform.release().split('-')[0]}, {load()}"
    )


def load() -> str:
    """Of the last minute: what else runs on the machine spoils figures."""
    return f"load {os.getloadavg()[0]:.1f}"


def cpu_s(pids: Iterable[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident now, and the most it ever was."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def used_over(pid: int, seconds: float) -> Used:
    """Waits for so long."""
    before, began = cpu_s([pid]), time.monotonic()
    time.sleep(seconds)
    percent = 100 * (cpu_s([pid]) - before) / (time.monotonic() - began)
    return Used(percent, *memory_mib(pid))


def pids_of(program: str, mark: str) -> list[int]:
    """Processes of a program (by the name of its file) whose command line has the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # no process, or it has ended
        if Path(argv[0]).name == program and any(mark in word for word in argv):
            found.append(int(folder.name))
    return found


def busy_cores(seconds: float) -> float:
    """How many cores all processes of the machine used, over so long."""

    def look() -> tuple[int, int]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    all_before, idle_before = look()
    time.sleep(seconds)
    all_after, idle_after = look()
    return (os.cpu_count() or 1) * (1 - (idle_after - idle_before) / max(1, all_after - all_before))


def quiet(most_cores: float = 0.5, ceiling_s: float = 60.0) -> None:
    """Waits for a moment in which others leave the machine alone, at most so long."""
    deadline = time.monotonic() + ceiling_s
    while (busy := busy_cores(2.0)) > most_cores:
        if time.monotonic() > deadline:
            say(f"never quiet in {ceiling_s:g} s: {busy:.1f} cores are in use")
            return


def quantile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least this part of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def say(line: str) -> None:
    """Progress; figures go to standard output."""
    print(f"  {line}", file=sys.stderr, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s ({load()})")
