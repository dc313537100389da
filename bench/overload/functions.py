"""What is served: functions that sleep for as long as a request says, on two simulated GPUs of one slot each.

Three differ in what they take and promise, as models of some tens of milliseconds do; with as much GPU time asked of
each, ten times of the capacity are some 900 requests/s: what one core can refuse is measured by bench.refusals. All
numbers are ours. Replicas are bench.reality's handler; they run on the generator's core,
as those of a GPU have cores that the platform does not compute on.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

HANDLER = Path(__file__).parents[1] / "reality" / "handler.py"
GPUS = "2xA100-40GB"
SLOTS = 2
PLATFORM_CORE, OTHER_CORE = 0, 1
"""Gateway, agent and reconciler have one core; load generator and replicas the other."""


class Served(Struct, frozen=True, kw_only=True):
    """One function."""

    name: str
    namespace: str = "default"
    units: float
    """Median milliseconds of a request on a GPU."""
    spread: float = 1.3
    """Its 99th percentile over its median."""
    latency_ms: int
    percentile: float = 99
    weight: int = 1
    """fairShare."""
    cpu_slower: float | None = None
    """Its CPU variant takes so many times as long; None: it has none."""
    cpu_at_once: int = 4
    """Requests that the CPU variant takes at a time."""
    miss: tuple[str, ...] = ("Divert", "Refuse")
    """onPredictedMiss."""
    timeout_ms: int = 5_000
    queued: int = 10_000
    """queue.maxRequests: so many that no figure hangs on it."""
    ready: bool = True
    """False: its process never listens."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def target(self) -> str:
        return f"/{self.namespace}/{self.name}/"


THREE = (
    Served(name="tight", units=20, latency_ms=250, percentile=99, weight=2),
    Served(name="middle", units=30, latency_ms=600, percentile=95),
    Served(name="loose", units=50, latency_ms=2000, percentile=90, cpu_slower=3),
)


def rates_of(served: Sequence[Served], load: float) -> list[float]:
    """Requests/s of each, such that all ask for the same GPU time, and for `load` times of all slots together."""
    return [load * SLOTS / len(served) / (one.units / 1000) for one in served]


def documents(served: Sequence[Served], *, folder: Path, policy: dict[str, object] | None = None) -> bytes:
    """The YAML of these functions, and of a GpuPolicy with this spec. `folder`: where replicas may write."""
    objects = [_document(one, folder / "stamps") for one in served]
    return written(objects, policy)


def written(functions: Sequence[dict[str, object]], policy: dict[str, object] | None) -> bytes:
    """The YAML of them, and of a GpuPolicy with this spec."""
    objects = list(functions)
    if policy is not None:
        kind = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
        objects.append({**kind, "spec": policy})
    return b"\n---\n".join(json.dumps(one).encode() for one in objects)


def _document(one: Served, stamps: Path) -> dict[str, object]:
    env = {"KIND": "sleeping", "LOAD_S": "0", "STAMPS": str(stamps)}
    handler = ["taskset", "-c", str(OTHER_CORE), sys.executable, "-I", "-S", str(HANDLER)]
    cpu = {
        "env": [{"name": "SLOWER", "value": str(one.cpu_slower)}],
        "resources": {"cpu": "250m"},
        "concurrency": one.cpu_at_once,
        "maxReplicas": 1,
    }
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": one.name, "namespace": one.namespace},
        "spec": {
            "container": {
                "command": handler if one.ready else ["sleep", "86400"],
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "resources": {"cpu": "10m"},
            },
            "gpu": {"memory": "1Gi", "sharing": "Shared"},
            **({} if one.cpu_slower is None else {"cpuVariant": cpu}),
            "slo": {"latency": f"{one.latency_ms}ms", "percentile": one.percentile},
            "fairShare": one.weight,
            "onPredictedMiss": list(one.miss),
            "timeout": f"{one.timeout_ms}ms",
            "queue": {"maxRequests": one.queued},
            "scaling": {"minReplicas": SLOTS, "maxReplicas": SLOTS, "concurrency": 1, "keepAlive": {"ttl": "1h"}},
        },
    }
