"""Load by wrk, on the core that the proxy under test does not use."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

LOAD_CPU = "1"
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_POST = "wrk.method = 'POST'\nwrk.body = string.rep('x', {size})\nwrk.headers['Content-Type'] = 'text/plain'\n"


@dataclass(frozen=True)
class Load:
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    """Answers other than 2xx and 3xx, and failures of connections."""


def post_script(folder: Path, size: int) -> Path:
    """What makes wrk send a body of so many bytes."""
    script = folder / f"post-{size}.lua"
    script.write_text(_POST.format(size=size))
    return script


def wrk(url: str, connections: int, seconds: int, script: Path | None = None) -> Load:
    """Closed loop: each connection sends its next request when it has its answer. One connection: no queue."""
    # A limit of its own beyond wrk's 2 s: an answer that takes longer than that is slow and no error.
    argv = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    argv += ["--latency", *(("-s", str(script)) if script is not None else ()), url]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def percentile(which: str) -> float:
        found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
        return 0.0 if found is None else float(found[1]) * _UNIT_MS[found[2]]

    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    bad = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    bad += sum(int(number) for line in re.findall(r"Socket errors: (.*)", text) for number in re.findall(r"\d+", line))
    return Load(requests, rate, percentile("50"), percentile("99"), bad)
