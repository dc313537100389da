"""A process of Stoker beside an API server: the real program with a kubeconfig, ended with the benchmark."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.cluster.server import SYSTEM

_PATIENCE_S = 120.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


_LACKS = ("kubernetes", "oauthlib", "pydantic", "requests", "rich", "websocket")
"""Packages of developers that the image lacks. kopf loads them where they are, and with them 20 MiB."""
_AS_IN_THE_IMAGE = (
    "import runpy, sys; "
    f"sys.modules.update(dict.fromkeys({_LACKS!r})); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


class Component:
    """`python -m MODULE` with what its image has, and its log in a file."""

    def __init__(self, module: str, folder: Path, kubeconfig: Path, **settings: str) -> None:
        self.internal_port = free_port()
        self.log = folder / f"{module}-{self.internal_port}.log"
        environment = {name: text for name, text in os.environ.items() if not name.startswith("STOKER_")}
        environment |= {
            "STOKER_KUBECONFIG": str(kubeconfig),
            "STOKER_NAMESPACE": SYSTEM,
            "STOKER_POD_NAME": module.partition(".")[0].replace("_", "-"),
            "STOKER_INTERNAL_PORT": str(self.internal_port),
            **{f"STOKER_{name.upper()}": text for name, text in settings.items()},
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _AS_IN_THE_IMAGE, module], env=environment, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def until_logged(self, event: str, since: int = 0) -> None:
        """Its log has a line of this event."""
        deadline = time.monotonic() + _PATIENCE_S
        while f'"event":"{event}"' not in self.log.read_text()[since:].replace('": "', '":"'):
            self._check(deadline, f"log {event}")

    def until_ready(self) -> None:
        """It says that it is."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                OPENER.open(f"http://127.0.0.1:{self.internal_port}/readyz", timeout=5).read()
            except (OSError, urllib.error.URLError):
                self._check(deadline, "get ready")
            else:
                return

    def metrics(self) -> str:
        with OPENER.open(f"http://127.0.0.1:{self.internal_port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        """As by kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def _check(self, deadline: float, what: str) -> None:
        if self.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{self.process.args!r} did not {what}:\n{self.log.read_text()[-3000:]}")
        time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
