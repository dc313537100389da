"""What is served: nine functions of different length, size and objective, and the simulated GPUs that they share.

Five are called often and stay; four are called seldom, and turn each other out of the memory that is left. All numbers
are ours. A GPU has one slot. For computing functions there is one GPU, so that they leave one of two cores to platform
and client; sleeping ones get two.
"""

import json
import os
import sys
from functools import cache
from math import exp, log
from pathlib import Path

from msgspec import Struct

from stoker.control.planning import PlanParams
from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.policy import default_policy
from stoker_cli.objects.object_file import load_objects
from stoker_cli.objects.validation import Validator
from stoker_node.simulated import parse_gpus
from stoker_sim.draws import Z99

HANDLER = Path(__file__).with_name("handler.py")
KINDS = ("sleeping", "computing")
GPUS = {"sleeping": "2xA100-40GB", "computing": "1xA100-40GB"}
POLICIES = ("fcfs", "least-slack", "sjf", "mqfq-sticky")
LOADS = (0.5, 0.8, 1.1)
QUANTUM_S = 2
REPLICA_PRIORITY = "10"


class Profile(Struct, frozen=True, kw_only=True):
    """One function."""

    name: str
    units: float
    """Median work of a request: about milliseconds."""
    spread: float
    """Its 99th percentile over its median."""
    per_second: float
    """Requests, before they are scaled to a load."""
    memory_gib: int
    load_s: float
    latency_ms: int
    refuses: bool = False
    """A predicted miss is refused; else it is served late."""
    stays: bool = False
    """One replica for each GPU is kept; else there is one at most."""
    keep_alive_s: float = 600

    @property
    def mean_units(self) -> float:
        """Of a lognormal distribution with this median and spread."""
        return self.units * exp((log(self.spread) / Z99) ** 2 / 2)


PROFILES = (
    Profile(name="a", units=8, spread=1.5, per_second=20, memory_gib=6, load_s=0.15, latency_ms=80, stays=True),
    Profile(
        name="b",
        units=15,
        spread=2.0,
        per_second=12,
        memory_gib=6,
        load_s=0.2,
        latency_ms=100,
        refuses=True,
        stays=True,
    ),
    Profile(name="c", units=25, spread=2.0, per_second=8, memory_gib=6, load_s=0.25, latency_ms=250, stays=True),
    Profile(
        name="d", units=40, spread=1.5, per_second=5, memory_gib=6, load_s=0.3, latency_ms=400, refuses=True, stays=True
    ),
    Profile(name="e", units=60, spread=2.5, per_second=3, memory_gib=6, load_s=0.3, latency_ms=600, stays=True),
    Profile(name="f", units=120, spread=2.0, per_second=0.5, memory_gib=8, load_s=0.5, latency_ms=1500),
    Profile(name="g", units=150, spread=1.5, per_second=0.4, memory_gib=9, load_s=0.6, latency_ms=1500, refuses=True),
    Profile(name="h", units=200, spread=1.5, per_second=0.3, memory_gib=10, load_s=0.7, latency_ms=2500),
    Profile(name="i", units=80, spread=2.0, per_second=0.3, memory_gib=7, load_s=0.4, latency_ms=1000, keep_alive_s=3),
)
BACKGROUND = Profile(name="z", units=1, spread=1.0, per_second=30, memory_gib=1, load_s=0.1, latency_ms=500)
"""Called in the calibration beside PROFILES: a loop that is idle finds timers earlier than one that serves."""


def devices(kind: str) -> tuple[Device, ...]:
    return parse_gpus(GPUS[kind])


def slots(kind: str) -> int:
    return sum(device.slots for device in devices(kind))


def plan_params() -> PlanParams:
    """As `stoker serve` plans without a GpuPolicy."""
    policy = default_policy()
    return PlanParams(
        quantum_us=QUANTUM_S * 1_000_000,
        allocation=policy.allocation,
        pre_warm=policy.pre_warm,
        scaling=policy.scaling,
        keep_alive=policy.keep_alive,
        keep_alive_max_us=policy.keep_alive_max_us,
    )


def documents(kind: str, stamps: Path, *, keep_alive_s: float | None = None) -> bytes:
    """The file of functions. `stamps`: where replicas write when they listened. `keep_alive_s`: for all of
    them, none is kept without it, and BACKGROUND is served too (calibration).
    """
    served = PROFILES if keep_alive_s is None else (*PROFILES, BACKGROUND)
    return b"\n---\n".join(json.dumps(_document(profile, kind, stamps, keep_alive_s)).encode() for profile in served)


@cache
def functions(kind: str) -> tuple[Function, ...]:
    """The same as the platform understands them, in the order of PROFILES."""
    found = load_objects(documents(kind, Path("stamps")), "functions.yaml", Validator.packaged())
    assert not found.errors, found.errors
    values = [loaded.value for loaded in found.objects.values()]
    by_name = {value.name: value for value in values if isinstance(value, Function)}
    return tuple(by_name[profile.name] for profile in PROFILES)


def _document(profile: Profile, kind: str, stamps: Path, keep_alive_s: float | None) -> dict[str, object]:
    env = {"KIND": kind, "LOAD_S": str(profile.load_s), "STAMPS": str(stamps)}
    many = len(devices(kind))
    ttl_ms = round((profile.keep_alive_s if keep_alive_s is None else keep_alive_s) * 1000)
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": profile.name},
        "spec": {
            "container": {
                "command": [*_below_platform(), sys.executable, "-I", "-S", str(HANDLER)],
                "env": [{"name": name, "value": value} for name, value in env.items()],
            },
            "gpu": {"memory": f"{profile.memory_gib}Gi", "sharing": "Shared"},
            "slo": {"latency": f"{profile.latency_ms}ms"},
            "onPredictedMiss": ["Refuse"] if profile.refuses else ["ServeLate"],
            "timeout": "20s",
            "scaling": {
                "minReplicas": many if profile.stays and keep_alive_s is None else 0,
                "maxReplicas": many if profile.stays else 1,
                "concurrency": 1,
                "keepAlive": {"ttl": f"{ttl_ms}ms"},
            },
        },
    }


def _below_platform() -> tuple[str, ...]:
    """What replicas are started by where platform and client have the scheduler's real-time class (a machine that
    others compute on): the same class, behind them. Else nothing.
    """
    return ("chrt", "--rr", REPLICA_PRIORITY) if os.sched_getscheduler(0) == os.SCHED_RR else ()
