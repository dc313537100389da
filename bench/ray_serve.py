"""Ray Serve as a target, in an environment of its own: its packages and versions are no concern of Stoker's.

What is compared: all that the platform does with a request. Of Ray that is its HTTP proxy and the replica actor, which
takes the request and calls the function in its own process; of Stoker gateway and agent, its replica being a process
of the user's. So by default all of Ray is on the core that proxies have. Measured beside it, to Ray's advantage: its
replica on the other core, where Stoker's replica is; and its HAProxy (off by default), which passes HTTP to the HTTP
server in the replica and leaves out Ray's own proxy.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from bench.targets import (
    ORIGIN_CPU,
    PROXY_CPU,
    ROOT,
    Target,
    descendants,
    each_alive,
    free_port,
    go_on,
    pinned,
    stop,
)

REQUIREMENTS = ROOT / "requirements" / "bench-ray.txt"
INSTALL_S = 900.0
NEED_DISK_MIB = 2048


class NoRay(Exception):  # noqa: N818  the name states the fact
    """Ray Serve cannot be measured here; the message is one sentence that says why."""


def environment() -> Path:
    """The Python that has Ray Serve, installed where it was not yet. Raises NoRay."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoker" / "bench"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + version.encode()).hexdigest()[:16]
    folder = base / f"ray-{digest}"
    python, done = folder / "bin" / "python", folder / ".installed"
    if done.exists():
        return python
    base.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(base).free < NEED_DISK_MIB * 2**20:
        raise NoRay(f"Ray Serve is left out: its environment needs {NEED_DISK_MIB} MiB of disk in {base}.")
    print(f"  installing Ray Serve into {folder} (500 MiB, once)", file=sys.stderr)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), *install, "-r", str(REQUIREMENTS)])
    except (OSError, subprocess.SubprocessError) as exc:
        told = getattr(exc, "stderr", None) or str(exc)
        last = told.strip().splitlines()[-1] if told.strip() else type(exc).__name__
        raise NoRay(
            f"Ray Serve is left out: {REQUIREMENTS.name} could not be installed into {folder} ({last})."
        ) from exc
    done.touch()
    return python


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_S)


class RayServe(Target):
    """One Ray of its own. It is stopped (SIGSTOP) while others are measured: at rest it uses an eighth of a core."""

    def __init__(self, folder: Path, name: str, python: Path, *, replica_cpu: int, haproxy: bool = False) -> None:
        folder.mkdir()
        port = free_port()
        own = {
            "PATH": f"{python.parent}:{os.environ['PATH']}:/usr/sbin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": str(int(haproxy)),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        }
        app = str(Path(__file__).with_name("ray_app.py"))
        argv = [*pinned(PROXY_CPU), str(python), app, str(port), str(folder / "s")]
        super().__init__(folder, name, argv, f"http://127.0.0.1:{port}/", own)
        self._replica_cpu = replica_cpu
        self._all: list[int] = []

    @property
    def pids(self) -> list[int]:
        return descendants(self.process.pid)

    def until_answered(self, url: str, ceiling_s: float = 120) -> None:
        super().until_answered(url, ceiling_s)
        if self._replica_cpu == ORIGIN_CPU:
            for pid in self.pids:
                if b"ServeReplica" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
                    each_alive(threads, lambda thread: os.sched_setaffinity(thread, {ORIGIN_CPU}))

    def begin(self) -> None:
        go_on(self._all)

    def end(self) -> None:
        self._all = self.pids
        stop(self._all)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._all or self.pids
        go_on(left)
        super().__exit__(kind, error, trace)
        each_alive(left[1:], lambda pid: os.kill(pid, 9))


__all__ = ["NoRay", "RayServe", "environment"]
