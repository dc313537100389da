"""What is measured: nginx that answers, nginx that proxies to it, and `stoker serve` in front of one.

Each target answers the same paths: `/`, `/get/SIZE`, `/put/SIZE` by an nginx (bench.nginx), `/events` by
bench.event_origin. Proxies run on one core, whatever answers behind them on the other.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.nginx import make_files, proxy_config, replica_config

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
STOKER = (sys.executable, "-m", "stoker_cli.main")
"""By the interpreter that measures: another one finds the packages by PYTHONPATH."""
ROOT = Path(__file__).parents[1]
PROXY_CPU, ORIGIN_CPU = 0, 1
IMPORTS = os.pathsep.join((str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep))).rstrip(os.pathsep)
QUIET = os.environ.copy() | {"PYTHONPATH": IMPORTS, "LANG": "C.UTF-8"}


class Target:
    """A running server; a context manager that ends it. `url` may have a path or a query of the request behind it."""

    def __init__(
        self, folder: Path, name: str, argv: list[str], url: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.url = url
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        own = {**kept, "PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(folder), "LANG": "C.UTF-8"}
        with (folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                argv, env=own if environment is None else dict(environment), stdout=output, stderr=output
            )
        self.folder = folder

    @property
    def pids(self) -> list[int]:
        """The processes whose CPU and memory are the target's."""
        return [self.process.pid]

    @property
    def events_url(self) -> str:
        return self.url + "events"

    def begin(self) -> None:
        """It is measured from now on."""

    def end(self) -> None:
        """Something else is measured from now on."""

    def until_answered(self, url: str, ceiling_s: float = 60) -> None:
        deadline = time.monotonic() + ceiling_s
        while True:
            try:
                with urllib.request.urlopen(url, timeout=20) as response:
                    response.read()
                    return
            except OSError as exc:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    told = (self.folder / "output.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} does not answer {url} ({exc}); it said: {told}") from exc
                time.sleep(0.05)

    def __enter__(self) -> Self:
        try:
            self.until_answered(self.url)
            self.until_answered(self.events_url)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Direct(Target):
    """The replicas themselves: an nginx, and an origin of events beside it, on the core that no proxy uses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        make_files(folder / "files")
        port, self.events_port = free_port(), free_port()
        self.address, self.events_address = f"127.0.0.1:{port}", f"127.0.0.1:{self.events_port}"
        config = folder / "nginx.conf"
        config.write_text(replica_config(str(folder), str(port), folder / "files"))
        with (folder / "events.log").open("ab") as output:
            argv = [*pinned(ORIGIN_CPU), sys.executable, "-m", "bench.event_origin", str(self.events_port)]
            self.events = subprocess.Popen(argv, cwd=ROOT, env=QUIET, stdout=output, stderr=output)
        nginx = [*pinned(ORIGIN_CPU), NGINX, "-c", str(config)]
        super().__init__(folder, "direct", nginx, f"http://{self.address}/")

    @property
    def events_url(self) -> str:
        return f"http://{self.events_address}/events"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.events.kill()
        self.events.wait()
        super().__exit__(kind, error, trace)


class NginxProxy(Target):
    """nginx on one core that streams to the replicas over kept connections: the limit."""

    def __init__(self, folder: Path, direct: Direct) -> None:
        folder.mkdir()
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(proxy_config(str(folder), str(port), direct.address, direct.events_address))
        argv = [*pinned(PROXY_CPU), NGINX, "-c", str(config)]
        super().__init__(folder, "nginx proxy_pass", argv, f"http://127.0.0.1:{port}/")


class Stoker(Target):
    """`stoker serve` on one core; its replicas (the same nginx and origin as `Direct`) put themselves on the other.

    More functions, that need no data path: `slow` never gets ready; `full` neither and holds one request; `busy`
    streams to one caller at a time, and refuses who would come too late.
    """

    def __init__(self, folder: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        folder.mkdir()
        make_files(folder / "files")
        template = folder / "replica.conf"
        template.write_text(replica_config("HOME_FOLDER", "PORT_NUMBER", folder / "files"))
        answers = (
            f"sed -e s,HOME_FOLDER,$HOME,g -e s,PORT_NUMBER,$PORT, {template} > $HOME/nginx.conf && "
            f"exec taskset -c {ORIGIN_CPU} {NGINX} -c $HOME/nginx.conf"
        )
        origin = f"taskset -c {ORIGIN_CPU} {sys.executable} -m bench.event_origin"
        streams = f"cd {ROOT} && PYTHONPATH={IMPORTS} exec {origin} $PORT"
        never = ["sleep", "600"]
        documents = [
            _function("fast", ["sh", "-c", answers]),
            _function("events", ["sh", "-c", streams]),
            _function("slow", never, timeout="300ms"),
            _function("full", never, timeout="10m", queue={"maxRequests": 1}),
            _function("busy", ["sh", "-c", streams], concurrency=1, timeout="10m", onPredictedMiss=["Refuse"]),
        ]
        file = folder / "functions.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        port = free_port()
        argv = [*pinned(PROXY_CPU), *STOKER, "serve", str(file), "--gpus", "6xA100-40GB", "--port", str(port)]
        self.base = f"http://127.0.0.1:{port}/default"
        super().__init__(folder, name, [*argv, *arguments], f"{self.base}/fast/", environment)

    @property
    def events_url(self) -> str:
        return f"{self.base}/events/events"


def _function(name: str, command: list[str], *, concurrency: int = 64, **more: object) -> dict[str, object]:
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": name},
        "spec": {
            "container": {"command": command},
            "gpu": {"memory": "1Gi"},
            "slo": {"latency": "250ms"},
            "scaling": {"concurrency": concurrency, "maxReplicas": 1},
            **more,
        },
    }


def pinned(cpu: int) -> list[str]:
    return ["taskset", "-c", str(cpu)]


_next_port = itertools.count(20_000 + 2 * (os.getpid() % 5_000), 2)


def free_port() -> int:
    """A port that is free, as is the one after it (where `stoker serve` has its internal listener). Below those that
    the kernel gives to outgoing connections, so that it stays free until it is used.
    """
    for port in _next_port:
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port
    raise AssertionError("it counts without end")


def descendants(pid: int) -> list[int]:
    """The process and all that it started, and these."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue  # it ended just now
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def each_alive(pids: list[int], act: Callable[[int], object]) -> None:
    """Do it to all of them that still run."""
    for pid in pids:
        try:
            act(pid)
        except (ProcessLookupError, FileNotFoundError):
            continue


def stop(pids: list[int]) -> None:
    each_alive(pids, lambda pid: os.kill(pid, signal.SIGSTOP))


def go_on(pids: list[int]) -> None:
    each_alive(pids, lambda pid: os.kill(pid, signal.SIGCONT))


def cpu_seconds(pids: list[int]) -> float:
    total = 0

    def add(pid: int) -> None:
        nonlocal total
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])

    each_alive(pids, add)
    return total / os.sysconf("SC_CLK_TCK")


def resident_mib(pids: list[int]) -> int:
    """Pages that several of them share are counted for each."""
    pages = 0

    def add(pid: int) -> None:
        nonlocal pages
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])

    each_alive(pids, add)
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
