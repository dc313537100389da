"""Starts `stoker serve` as a user would, in a process group of its own, and leaves nothing of it running."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

STOKER = Path(sys.executable).with_name("stoker")
READY_WITHIN_S = 30.0
PORTS_TRIED = 50


class DemoError(Exception):
    """What went wrong, in one sentence for the user."""


def free_port(wanted: int) -> int:
    """`wanted`, or the next one that is free together with its successor (the internal listener). Raises DemoError."""
    for port in range(wanted, min(wanted + 2 * PORTS_TRIED, 65535), 2):
        if _is_free(port) and _is_free(port + 1):
            return port
    raise DemoError(f"No free pair of ports from {wanted} on; name another: make demo PORT=18080")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections of the last run do not matter
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Serving:
    """One `stoker serve`. `close()` may be called at any time, and more than once."""

    def __init__(self, files: Sequence[Path], gpus: str, port: int, folder: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.internal = f"http://127.0.0.1:{port + 1}"
        self.log = folder / "serve.log"
        self.command = [str(STOKER), "serve", *(str(file) for file in files), "--gpus", gpus, "--port", str(port)]
        self.environment = environment(folder)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when /readyz says so. Raises DemoError with the end of its log."""
        with self.log.open("wb") as log:
            # Its own group: Ctrl-C reaches the demo alone, which then ends it in order.
            # Started without an await, so that no cancellation can fall between the start and its record.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
        while not await asyncio.to_thread(self._is_ready):
            if self._process.poll() is not None:
                raise DemoError(f"stoker serve ended with code {self._process.returncode}:\n{self.last_lines()}")
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError(f"stoker serve is not ready after {READY_WITHIN_S:g} s:\n{self.last_lines()}")
            await asyncio.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.internal}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def last_lines(self, count: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def stoker(self, *words: str) -> str:
        """Run a stoker command against it, as a user would in another terminal; its output."""
        done = subprocess.run(
            [str(STOKER), *words, "--port", str(self.port)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return (done.stdout + done.stderr).strip()

    def close(self) -> None:
        """Ask, insist, then kill: whatever it is doing, it and its functions are gone on return."""
        process = self._process
        if process is None:
            return
        for number, patience_s in ((signal.SIGINT, 8.0), (signal.SIGTERM, 4.0)):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def environment(folder: Path) -> dict[str, str]:
    """What serve and the other commands get: ours, plus a place for the state file where no home is set.

    An environment that is active in the user's shell would be asked for `python`; the examples need this one.
    """
    env = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "CONDA_PREFIX"}}
    if not env.get("HOME", "").startswith("/") and not env.get("XDG_STATE_HOME", "").startswith("/"):
        env["XDG_STATE_HOME"] = str(folder)
    return env
