"""Load by wrk, on the core that the proxy under test does not use."""

import re
import subprocess
from dataclasses import dataclass

LOAD_CPU = "1"
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def one_at_a_time(url: str, seconds: int) -> Load:
    """One connection: latency without a queue."""
    return _wrk(url, 1, seconds)


def closed_loop(url: str, connections: int, seconds: int) -> Load:
    """As many as go through."""
    return _wrk(url, connections, seconds)


def _wrk(url: str, connections: int, seconds: int) -> Load:
    argv = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def percentile(which: str) -> float:
        number, unit = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE).groups()  # type: ignore[union-attr]
        return float(number) * _UNIT_MS[unit]

    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    bad = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    bad += sum(int(number) for line in re.findall(r"Socket errors: (.*)", text) for number in re.findall(r"\d+", line))
    return Load(requests, rate, percentile("50"), percentile("99"), bad)
