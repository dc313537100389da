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
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOKER = Path(sys.executable).with_name("stoker")
READY_S = 20.0
END_S = 30.0


class Serving:
    """`with Serving(folder, documents, arguments) as serving:`; `port` is the gateway's, the logs lie in `folder`."""

    def __init__(
        self,
        folder: Path,
        documents: bytes,
        arguments: Sequence[str],
        *,
        settings: Mapping[str, str] | None = None,
        core: int | None = None,
    ) -> None:
        """`documents`: the YAML. `settings`: STOKER_* variables. `core`: platform and replicas stay on it, but for
        replicas that choose another one themselves.
        """
        self.folder = folder
        self.output = folder / "serve.log"
        self.port = 0
        self.internal = ""
        """Address of the internal listener."""
        self._documents = documents
        self._arguments = arguments
        self._settings = {"STOKER_DRAIN_S": "1", **(settings or {})}
        self._pinned = () if core is None else ("taskset", "-c", str(core))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that is gateway, agent and reconciler."""
        assert self._process is not None
        return self._process.pid

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.internal}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def __enter__(self) -> Self:
        file = self.folder / "functions.yaml"
        file.write_bytes(self._documents)
        # PYTHONPATH: whoever measures another tree than that of the environment says so there.
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment = {**kept, "HOME": str(self.folder), "LANG": "C.UTF-8", **self._settings}
        command = [*self._pinned, str(STOKER), "serve", str(file), "--port", "0", "--log-format", "json"]
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *self._arguments], env=environment, stdout=output, stderr=output
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
        self.stop()

    def stop(self) -> None:
        """In order; does nothing where it has ended."""
        self._end(signal.SIGTERM)

    def _ready(self) -> bool:
        for path in (self.folder / ".local/state/stoker").glob("serve-*.json"):
            state = json.loads(path.read_bytes())
            self.port = int(state["url"].rsplit(":", 1)[1])
            self.internal = str(state["internal"])
            try:
                with urllib.request.urlopen(f"{self.internal}/readyz", timeout=5) as answer:
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
