"""Waiting for a server: asks until it answers, and gives up with the reason at a deadline or when its process ended."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError

_PAUSE_S = 0.05


class NotReadyError(ClusterError):
    """Something did not become ready; the message says what, how long was waited and where its log is."""


def wait_until(what: str, ready: Callable[[], bool], *, timeout_s: float, alive: Callable[[], bool], log: Path) -> None:
    """Returns when `ready()` is true. Raises NotReadyError, at once when `alive()` turns false."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not alive():
            raise NotReadyError(f"cluster: {what} ended while starting: {last_line(log)} (log: {log})")
        if time.monotonic() > deadline:
            raise NotReadyError(f"cluster: {what} was not ready within {timeout_s:g} s (log: {log})")
        time.sleep(_PAUSE_S)


def answers(url: str, authority: Path | None = None) -> bool:
    """Whether a GET gives 200 within two seconds."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    # Never by way of a proxy that the environment names: these are servers of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; servers say there why they ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing"
