"""What is measured: an nginx that answers, an nginx that proxies to it, and `stoker serve` in front of one."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
STOKER = str(Path(sys.executable).with_name("stoker"))

ANSWER = "location / {{ return 200 'a small answer from the replica\\n'; }}"
PROXY = "location / {{ proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Connection ''; }}"
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {upstreams}
  server {{ listen 127.0.0.1:{port} backlog=1024; {location} }}
}}
"""


class Target:
    """A running server with one URL; a context manager that ends it."""

    def __init__(self, folder: Path, name: str, argv: list[str], url: str) -> None:
        self.name = name
        self.url = url
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(folder), "LANG": "C.UTF-8"}
        with (folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(argv, env=environment, stdout=output, stderr=output)
        self.folder = folder

    @property
    def pids(self) -> list[int]:
        return [self.process.pid]

    def until_answered(self, ceiling_s: float = 30) -> None:
        deadline = time.monotonic() + ceiling_s
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=20) as response:
                    response.read()
                    return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def __enter__(self) -> Self:
        self.until_answered()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(30)


class Nginx(Target):
    """nginx on one core: it answers itself, or proxies to `upstream` over kept connections."""

    def __init__(self, folder: Path, name: str, *, cpu: int, upstream: str | None = None) -> None:
        folder.mkdir()
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(nginx_config(folder, str(port), upstream))
        super().__init__(
            folder, name, ["taskset", "-c", str(cpu), NGINX, "-c", str(config)], f"http://127.0.0.1:{port}/"
        )


class Stoker(Target):
    """`stoker serve` on one core with one function, whose replica is an nginx on the other."""

    def __init__(self, folder: Path, name: str, *, cpu: int, arguments: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        template = folder / "replica.conf"
        template.write_text(nginx_config(Path("HOME_FOLDER"), "PORT_NUMBER", None))
        script = (
            f"sed -e s,HOME_FOLDER,$HOME,g -e s,PORT_NUMBER,$PORT, {template} > $HOME/nginx.conf && "
            f"exec taskset -c 1 {NGINX} -c $HOME/nginx.conf"
        )
        documents = [
            _function("fast", ["sh", "-c", script], {}),
            _function("slow", ["sleep", "600"], {"timeout": "300ms"}),
        ]
        file = folder / "functions.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        port = free_port()
        argv = [
            "taskset",
            "-c",
            str(cpu),
            STOKER,
            "serve",
            str(file),
            "--gpus",
            "2xA100-40GB",
            "--port",
            str(port),
            *arguments,
        ]
        self.base = f"http://127.0.0.1:{port}/default"
        super().__init__(folder, name, argv, f"{self.base}/fast/")


def _function(name: str, command: list[str], more: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": name},
        "spec": {
            "container": {"command": command},
            "gpu": {"memory": "1Gi"},
            "slo": {"latency": "250ms"},
            "scaling": {"concurrency": 64, "maxReplicas": 1},
            **more,
        },
    }


def nginx_config(folder: Path, port: str, upstream: str | None) -> str:
    if upstream is None:
        return CONFIG.format(folder=folder, port=port, upstreams="", location=ANSWER.format())
    address = upstream.removeprefix("http://").rstrip("/")
    return CONFIG.format(
        folder=folder,
        port=port,
        upstreams=f"upstream replica {{ server {address}; keepalive 64; keepalive_requests 1000000000; }}",
        location=PROXY.format(upstream="http://replica"),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_mib(pids: list[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
