"""Records the small event log of tests/golden/files anew: `python -m bench.golden_log FILE.jsonl.gz`.

A real `stoker serve` with three functions on two simulated GPUs and 100 requests, drawn from one seed: `quick` is asked
for most, `slow` begins cold, `rare` comes so seldom that it is started again. On a quiet machine: what-ifs are compared
with what was measured. The folder of the run is taken out of the log, and nothing else.
"""

import gzip
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.reality.world import HANDLER
from bench.serving import Serving

SEED, REQUESTS = 6, 100
QUICK_PER_S, SLOW_PER_S = 5.5, 1.1
RARE_AT_S = (1.8, 6.8, 7.8, 13.8)
QUICK_MS, SLOW_MS, RARE_MS = (30, 105), (150, 300), 150
FUNCTION = """
apiVersion: stoker.dev/v1alpha1
kind: GpuFunction
metadata: {{name: {name}}}
spec:
  container:
    command: [python3, function.py]
    env: [{{name: KIND, value: sleeping}}, {{name: LOAD_S, value: "{load_s}"}}, {{name: STAMPS, value: stamps}}]
  gpu: {{memory: {memory}, sharing: Shared}}
  slo: {{latency: {latency}}}
  onPredictedMiss: [{miss}]
  scaling: {{minReplicas: {least}, maxReplicas: {most}{more}}}
"""
FUNCTIONS = (
    FUNCTION.format(
        name="quick", load_s=0.05, memory="4Gi", latency="250ms", miss="Divert, ServeLate", least=1, most=2, more=""
    ),
    FUNCTION.format(
        name="slow", load_s=0.05, memory="6Gi", latency="900ms", miss="Divert, Refuse", least=0, most=2, more=""
    ),
    FUNCTION.format(
        name="rare",
        load_s=0.4,
        memory="8Gi",
        latency="500ms",
        miss="Divert, ServeLate",
        least=0,
        most=1,
        more=", keepAlive: {policy: FixedTTL, ttl: 2s}",
    ),
)


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(HANDLER, folder / "function.py")
        log = folder / "events.log"
        arguments = ["--gpus", "2xT4-16GB", "--queueing", "least-slack", "--event-log", str(log)]
        with Serving(folder, "---".join(FUNCTIONS).encode(), arguments) as serving:
            play(serving.port)
        plain = log.read_bytes().replace(name.encode(), b".")
    target.write_bytes(gzip.compress(plain, 9, mtime=0))


def play(port: int) -> None:
    began = time.monotonic()

    def call(at_s: float, name: str, units: float) -> int:
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/default/{name}/?units={units:.1f}", timeout=60) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(REQUESTS) as callers:
        calls = [callers.submit(call, *one) for one in requests()]
    print(f"{sum(one.exception() is None for one in calls)} of {REQUESTS} requests were answered 200")


def requests() -> list[tuple[float, str, float]]:
    """When each comes, for which function, and how long it takes in milliseconds."""
    draw = random.Random(SEED)
    found = [(at_s, "rare", float(RARE_MS)) for at_s in RARE_AT_S]
    for name, per_s, (least, most) in (("quick", QUICK_PER_S, QUICK_MS), ("slow", SLOW_PER_S, SLOW_MS)):
        at_s = 0.0
        for _ in range(REQUESTS):
            at_s += draw.expovariate(per_s)
            found.append((at_s, name, draw.uniform(least, most)))
    return sorted(found)[:REQUESTS]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
