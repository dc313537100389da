"""A `stoker serve` of our own with a folder of its own, from its start until it is ready, and its end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.reality.world import GPUS, QUANTUM_S, documents

STOKER = Path(sys.executable).with_name("stoker")
READY_S = 20.0
END_S = 30.0


class Serving:
    """`with Serving(folder, kind, policy) as serving:`; `port` is the gateway's, the logs lie in `folder`."""

    def __init__(self, folder: Path, kind: str, policy: str, *, keep_alive_s: float | None = None) -> None:
        self.folder = folder
        self.event_log = folder / "events.log"
        self.stamps = folder / "stamps"
        self.output = folder / "serve.log"
        self.port = 0
        self._kind = kind
        self._policy = policy
        self._keep_alive_s = keep_alive_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        file = self.folder / "functions.yaml"
        file.write_bytes(documents(self._kind, self.stamps, keep_alive_s=self._keep_alive_s))
        arguments = ["--gpus", GPUS[self._kind], "--port", "0", "--queueing", self._policy, "--log-format", "json"]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "STOKER_QUANTUM_S": str(QUANTUM_S),
            "STOKER_EVENT_LOG_MIB": "1024",
            "STOKER_DRAIN_S": "1",
        }
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [str(STOKER), "serve", str(file), *arguments, "--event-log", str(self.event_log)],
                env=environment,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + READY_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise RuntimeError(f"stoker serve did not come up: {self.output.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)

    def _ready(self) -> bool:
        for path in (self.folder / ".local/state/stoker").glob("serve-*.json"):
            state = json.loads(path.read_bytes())
            self.port = int(state["url"].rsplit(":", 1)[1])
            try:
                with urllib.request.urlopen(f"{state['internal']}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False
        return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def emptied(folder: Path) -> Path:
    """A new, empty folder in its place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
