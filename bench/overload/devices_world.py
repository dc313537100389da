"""What the bench of device choices serves: the mix of the study as functions of a live platform, and its requests.

Pure. GPUs are simulated, and functions sleep for as long as the study says for the device that they are on. A CPU
replica asks for a small part of a core and costs as much as one of a core in the study, so that as many of them fit
here as there.
"""

import sys
from pathlib import Path

import numpy as np

from bench.overload.arrivals import Arrivals
from bench.overload.functions import HANDLER, OTHER_CORE, Served, written
from stoker_node.devices import cpu_device
from stoker_sim.results.heterogeneous_mixes import FAST, MIXES, PRICES, SLOW, START_US, Member
from stoker_sim.results.heterogeneous_study import CORES, KEPT_MILLICORES, SPREAD
from stoker_sim.workload import CPU, Workload

MIX = next(mix for mix in MIXES if mix.name == "both")
CPU_REPLICAS = (1000 * CORES - KEPT_MILLICORES) // 1000
"""As many as fit in the study."""
CPU_MILLIS = cpu_device(cores=1).millicores // CPU_REPLICAS
"""Of one replica: the platform is pinned to one core."""
CPU_PRICE = round(PRICES[CPU] * 1000 / CPU_MILLIS, 6)
"""Of a core an hour, such that a replica costs what it does in the study."""
GPUS = {FAST: f"{FAST}-24GB", SLOW: f"{SLOW}-16GB"}


def arrivals_of(work: Workload) -> Arrivals:
    """The requests of the simulator, as a generator is told them."""
    # What is sent over HTTP has three decimals.
    return Arrivals(work.time_us, work.function.astype(np.int64), np.round(work.exec_us / 1000, 3))


def served_as(member: Member) -> Served:
    """For arrivals and figures: work is told in milliseconds of the faster GPU."""
    return Served(
        name=member.name,
        units=member.fast_ms,
        spread=SPREAD,
        latency_ms=round(member.objective_ms),
        percentile=member.percentile,
    )


def documents(choice: str, folder: Path) -> bytes:
    """The YAML of the functions, and of a GpuPolicy with the choice and the prices."""
    prices = {**{GPUS[product]: PRICES[product] for product in GPUS}, CPU: CPU_PRICE}
    listed = [{"product": product, "perHour": price} for product, price in prices.items()]
    functions = [_document(member, folder / "stamps") for member in MIX.members]
    return written(functions, {"deviceChoice": choice, "prices": listed})


def _document(member: Member, stamps: Path) -> dict[str, object]:
    slower = member.slow_ms / member.fast_ms
    # A process is told its device when it starts.
    command = f'case "$STOKER_DEVICE" in *{SLOW}*) export SLOWER={slower};; esac; exec "$@"'
    handler = ["taskset", "-c", str(OTHER_CORE), sys.executable, "-I", "-S", str(HANDLER)]
    env = {"KIND": "sleeping", "LOAD_S": str(START_US / 1e6), "STAMPS": str(stamps)}
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": member.name, "namespace": "default"},
        "spec": {
            "container": {
                "command": ["sh", "-c", command, "sh", *handler],
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "resources": {"cpu": "10m"},
            },
            "gpu": {"memory": "1Gi", "sharing": "Shared"},
            "cpuVariant": {
                "env": [{"name": "SLOWER", "value": str(member.cpu_ms / member.fast_ms)}],
                "resources": {"cpu": f"{CPU_MILLIS}m"},
                "maxReplicas": 10,
            },
            "slo": {"latency": f"{member.objective_ms:g}ms", "percentile": member.percentile},
            "onPredictedMiss": ["Divert", "Refuse"],
            "timeout": "60s",
            "scaling": {"maxReplicas": 2, "keepAlive": {"ttl": "30s"}},
        },
    }
