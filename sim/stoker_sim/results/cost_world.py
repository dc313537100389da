"""What functions cost, and what they may: the traces of the package on priced devices of three kinds.

Of a trace is kept who asks when, for how long and how often; it is cut to a hundred requests of a few functions and
stretched over 66 minutes, so that a rolling hour is more than the begin of it. Devices, prices and how much slower an
L4 and cores are, are ours: what is compared is one and the same in the simulation and in the bound.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec.structs import replace

from stoker.cost.cap import PLAN_US
from stoker.cost.prices import HOUR_US
from stoker.model.device import Device, DeviceKind
from stoker.model.function import CostBounds, CpuVariant, GpuOption, OnMiss, Sharing
from stoker_sim.engine.setup import Delays, Form, Knowledge, Setup
from stoker_sim.scenario import DeviceChoice, PolicyChoice, Scenario, devices_of, setup_of
from stoker_sim.sources import forms
from stoker_sim.sources.making import make
from stoker_sim.sources.units import Mebibytes, Micros
from stoker_sim.traces.azure_llm import Service
from stoker_sim.workload import CPU, SimFunction, Workload

_S = 1_000_000
LENGTH_US = HOUR_US + 6 * 60 * _S
PRICES: Mapping[str, float] = MappingProxyType({"A100": 3.0, "L4": 0.7, CPU: 0.04})
"""Of an hour; of `cpu` one core. Ours, of the order of what clouds ask."""
L4_FACTOR = 2.5
CPU_FACTORS = (4.0, 12.0)
"""Over the time on an A100; functions have them in turn. With objectives of 5 times, the first of them is on time."""
SLO_FACTOR = 5.0
CPU_MILLIS = 4000
MEMORY_MIB = 16_384
_DEVICES = (
    DeviceChoice(product="A100", memory=Mebibytes(40_960), count=6),
    DeviceChoice(product="L4", memory=Mebibytes(24_576), count=6),
    DeviceChoice(cores=48),
)
_LLM_START_US = Micros(10 * _S)
_SAID: dict[str, Any] = {"slo_factor": SLO_FACTOR, "timeout": Micros(120 * _S)}
_LLM: dict[str, Any] = {**_SAID, "batch": 1, "start": _LLM_START_US}
FUNCTIONS = 3
"""Of a trace with more: so many, by their number of requests from the median on; the busiest where there are few."""

SOURCES: Mapping[str, forms.AnySource] = MappingProxyType(
    {
        "Azure Functions, mapped": forms.AzureFunctions(
            begin_minute=480, end_minute=560, mapped=forms.Mapped(products=("A100",)), **_SAID
        ),
        "ServeGen": forms.ServeGen(model="m-large", end=Micros(4_800 * _S), rate=0.05, **_LLM),
        "Azure LLM, conversation": forms.AzureLlm(service=Service.CONVERSATION, functions=4, **_LLM),
        "Azure LLM, code": forms.AzureLlm(service=Service.CODE, functions=2, **_LLM),
        "Philly": forms.Philly(exec=Micros(10 * _S), **_SAID),
        "DISB, real-time": forms.Disb(best_effort=False, **_SAID),
    }
)
"""The traces of the package with open arrivals, but for Mooncake: a run of it takes minutes."""


def workload_of(name: str, most: int) -> Workload:
    """At most so many requests of the trace, over LENGTH_US, without bounds."""
    devices = devices_of(Scenario(workload=SOURCES[name], devices=_DEVICES))
    whole = make((SOURCES[name],), devices, Path(), 0)
    counts = np.bincount(whole.function, minlength=len(whole.functions))
    ranked = [whole.keys[index] for index in np.argsort(-counts, kind="stable") if counts[index]]
    median = len(ranked) // 2 if len(ranked) > 2 * FUNCTIONS else 0
    work = whole.only(set(ranked[median:][:FUNCTIONS]))
    if len(work) > most:
        work = work.slice(0, int(work.time_us[most]))
    work = replace(work, functions=tuple(_on_three(number, one) for number, one in enumerate(work.functions)))
    return work.scaled(work.horizon_us / LENGTH_US)


def _on_three(number: int, function: SimFunction) -> SimFunction:
    """The same function with a time on each kind of device, and with a CPU variant."""
    behaviour, definition = function.behaviour, function.definition
    median_us = behaviour.median_us
    on_cpu = CPU_FACTORS[number % len(CPU_FACTORS)]
    exec_us = {"A100": median_us, "L4": round(L4_FACTOR * median_us), CPU: round(on_cpu * median_us)}
    container = replace(definition.spec.container, cpu_millis=CPU_MILLIS)
    spec = replace(
        definition.spec,
        gpu=(GpuOption(memory_mib=MEMORY_MIB, sharing=Sharing.EXCLUSIVE),),
        cpu_variant=CpuVariant(container=container),
        on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE),
    )
    return replace(
        function,
        behaviour=replace(behaviour, exec_us=exec_us, resume_us=0, interference=""),
        definition=replace(definition, spec=spec),
    )


def bounded(work: Workload, caps: Mapping[str, float]) -> Workload:
    """The same with maxCostPerHour of these functions."""

    def under(function: SimFunction) -> SimFunction:
        spec = function.definition.spec
        slo = replace(spec.slo, cost=CostBounds(per_hour=caps.get(function.key)))
        return replace(function, definition=replace(function.definition, spec=replace(spec, slo=slo)))

    return replace(work, functions=tuple(map(under, work.functions)))


def devices() -> tuple[Device, ...]:
    """What all traces run on."""
    return devices_of(Scenario(workload=SOURCES["Philly"], devices=_DEVICES))


def setup() -> Setup:
    """The platform as it is by default, with prices."""
    scenario = Scenario(
        workload=SOURCES["Philly"],
        devices=_DEVICES,
        form=Form.REPLICAS,
        prices=dict(PRICES),
        knowledge=Knowledge.LEARNED,
    )
    made = setup_of(scenario, PolicyChoice(queueing="least-slack"), devices(), 0)
    # As often as bounds on cost allow for: they are held against two seconds without a look (stoker.cost.cap).
    return replace(made, delays=Delays(load_plan_us=_S), plan=replace(made.plan, resync_us=2 * PLAN_US))


def rates() -> dict[str, float]:
    """What a replica costs an hour by product; on the CPU device its cores."""
    return {"A100": PRICES["A100"], "L4": PRICES["L4"], CPU: PRICES[CPU] * CPU_MILLIS / 1000}


def counts() -> dict[str, int]:
    """How many replicas of a function there is room for at once by product."""
    found: dict[str, int] = {}
    for device in devices():
        product = CPU if device.kind is DeviceKind.CPU else device.product.partition("-")[0]
        room = device.millicores // CPU_MILLIS if device.kind is DeviceKind.CPU else 1
        found[product] = found.get(product, 0) + room
    return found
