"""The seven families that policies are judged on: real traces and their users, measured models, real devices.

Ours are the choice of devices, loads and how many functions there are: so that not everything fits where a family is
about memory, and so that published policies are neither at 0 nor at 1 and differ. They were set by what published ones
do on the tuning half.
Execution times, memory and start-ups are those of the project's tables (stoker_sim.profiles, traces.kaas, traces.disb,
start_up); models wait in host memory at first, as in Torpor (ATC'25), where the table has a time for that.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from stoker.model.function import Priority, Sharing
from stoker_sim.colocation import disb_clients
from stoker_sim.llm_timing import llama2_70b
from stoker_sim.profiles import catalogue, context_us
from stoker_sim.scenario import DeviceChoice, MemoryChoice
from stoker_sim.sources import forms
from stoker_sim.sources.units import Mebibytes, Micros
from stoker_sim.start_up import load_times_us
from stoker_sim.study.family import Blocks, Family, Point, World
from stoker_sim.study.halves import Half, window_of
from stoker_sim.traces import disb, kaas
from stoker_sim.traces.azure_llm import Service
from stoker_sim.traces.servegen import WINDOW_S

_S = 1_000_000
_BUS_MIB_PER_S = MemoryChoice().bus_mib_per_s
_V100 = "V100"
_V100_MIB = kaas.DEVICE_MIB
_MAPPED = forms.Mapped(products=(_V100,))


def _gpus(count: int, product: str = _V100, memory_mib: int = _V100_MIB, slots: int = 1) -> tuple[DeviceChoice, ...]:
    return (DeviceChoice(product=product, memory=Mebibytes(memory_mib), count=count, slots=slots),)


def _model(name: str) -> dict[str, Any]:
    """What a source says of functions that all are this profile on a V100."""
    profile = next(profile for profile in catalogue((_V100,)) if profile.name == name)
    return {
        "name": name,
        "exec": (Micros(profile.exec_us[_V100].value),),
        "p99_over_p50": profile.p99_over_p50,
        "memory": Mebibytes(profile.memory_mib.value),
        "start": Micros(profile.cold_us.value),
        "resume": Micros(profile.resume_us.value),
        "sharing": Sharing.SHARED,
    }


_AZURE_MINUTES, _AZURE_BEGIN = 20, 480


def _azure(half: Half, replication: int, slo_factor: float) -> World:
    begin = _AZURE_BEGIN + _AZURE_MINUTES * window_of(half, replication, 24)
    source = forms.AzureFunctions(
        begin_minute=begin, end_minute=begin + _AZURE_MINUTES, slo_factor=slo_factor, mapped=_MAPPED
    )
    return World(sources=(source,), devices=_gpus(2), every_other=True)


_SERVEGEN_WINDOWS = 576


def _servegen(half: Half, replication: int, slo_factor: float) -> World:
    begin_s = WINDOW_S * window_of(half, replication, _SERVEGEN_WINDOWS, step=37)
    source = forms.ServeGen(
        model="m-large",
        begin=Micros(begin_s * _S),
        end=Micros((begin_s + WINDOW_S) * _S),
        rate=0.1,
        slo_factor=slo_factor,
        mapped=_MAPPED,
    )
    return World(sources=(source,), devices=_gpus(2), every_other=True)


def _llm(half: Half, replication: int, slo_factor: float) -> World:  # noqa: ARG001  the seed is the scenario's
    """A model takes a quarter of a node (ours: 140 GB of weights, and room for 16 answers), and starts as long as the
    largest one that ServerlessLLM loaded from local storage.
    """
    timing = llama2_70b()
    loads_us = sorted(load_times_us("H100-SXM", "Qwen_Qwen3-32B", "sllm"))
    said: dict[str, Any] = {"slo_factor": slo_factor, "start": Micros(loads_us[len(loads_us) // 2])}
    sources = (
        forms.AzureLlm(service=Service.CONVERSATION, functions=4, **said),
        forms.AzureLlm(service=Service.CODE, functions=2, **said),
        forms.Mooncake(functions=2, **said),
    )
    return World(
        sources=sources,
        devices=_gpus(2, timing.product, timing.memory_mib, slots=16),
        memory=MemoryChoice(),
        blocks=Blocks(100 * _S, 3),
        traces=len(sources),
        memory_mib=timing.memory_mib // 4,
    )


def _real_time(half: Half, replication: int, slo_factor: float) -> World:  # noqa: ARG001  as above
    clients = [client for client in disb_clients() if (client.server, client.workload) == ("trt", "REAL")]
    best_effort = forms.Poisson(
        name="best-effort",
        functions=6,
        zipf=0,
        exec=tuple(Micros(client.alone_us) for client in clients if client.name.endswith("_be")),
        per_second=150,
        duration=Micros(24 * _S),
        priority=Priority.BATCH,
        memory=Mebibytes(disb.MEMORY_MIB),
        start=Micros(disb.DEFAULTS.start_us),
        resume=Micros(disb.DEFAULTS.resume_us),
        sharing=Sharing.SHARED,
        slo_factor=20 * slo_factor,
    )
    return World(
        sources=(forms.Disb(best_effort=False, slo_factor=slo_factor), best_effort),
        devices=_gpus(1, disb.PRODUCT, 10_240),
        blocks=Blocks(_S, 24),
        traces=1,
    )


_KAAS_TENANTS = 8


def _kernels(half: Half, replication: int, slo_factor: float) -> World:  # noqa: ARG001  as above
    sources = tuple(
        forms.Poisson(
            name=app.lower(),
            functions=_KAAS_TENANTS,
            tenants=_KAAS_TENANTS,
            exec=(Micros(profile.device_us),),
            per_second=14,
            duration=Micros(90 * _S),
            memory=Mebibytes(profile.memory_mib),
            start=Micros(context_us().value),
            resume=Micros(profile.memory_mib * _S // _BUS_MIB_PER_S),
            sharing=Sharing.SHARED,
            slo_factor=slo_factor,
        )
        for (app, mode), profile in sorted(kaas.isolated().items())
        if mode == "kaas"
    )
    return World(sources=sources, devices=_gpus(kaas.GPUS))


def _zipf(half: Half, replication: int, slo_factor: float) -> World:  # noqa: ARG001  as above
    sources = tuple(
        forms.Poisson(
            **_model(name), functions=10, tenants=5, per_second=10, duration=Micros(100 * _S), slo_factor=slo_factor
        )
        for name in ("bert-large", "nnunet", "resnext101-b64", "tft-b1024", "bert-large-b8")
    )
    return World(sources=sources, devices=_gpus(2))


def _bursts(half: Half, replication: int, slo_factor: float) -> World:  # noqa: ARG001  as above
    sources = tuple(
        forms.Bursts(
            **_model(name),
            functions=4,
            tenants=4,
            zipf=0,
            per_second=12,
            ratio=10,
            quiet=Micros(9 * _S),
            burst=Micros(_S),
            duration=Micros(100 * _S),
            slo_factor=slo_factor,
        )
        for name in ("resnet50-b32", "se-resnext101-b16", "bert-large", "tft-b1024")
    )
    return World(sources=sources, devices=_gpus(2))


def _points(*pairs: tuple[float, float]) -> tuple[Point, ...]:
    return tuple(Point(load, factor) for load, factor in pairs)


_USUAL = _points((0.7, 5), (0.95, 2), (1.2, 10))

_ALL = (
    Family(
        name="azure",
        title="Azure-mapped",
        why="a few functions send most requests, many send one at a time, and not all fit",
        points=_USUAL,
        world=_azure,
    ),
    Family(
        name="servegen",
        title="ServeGen skew",
        why="clients of a language model service: skewed and bursty, with short and long models side by side",
        points=_USUAL,
        world=_servegen,
    ),
    Family(
        name="llm",
        title="LLM conversation",
        why="answers of seconds to minutes, each with an objective of its own, by eight models that fit once each",
        points=_points((0.7, 2), (0.95, 5), (1.2, 10)),
        world=_llm,
    ),
    Family(
        name="real-time",
        title="periodic real-time beside best effort",
        why="objectives of milliseconds beside work that can wait, and one function more than fits",
        points=_USUAL,
        world=_real_time,
    ),
    Family(
        name="kernels",
        title="kernel graphs",
        why="KaaS' applications: hundreds of megabytes to gigabytes are moved for a tenth of a second of kernels",
        points=_USUAL,
        world=_kernels,
    ),
    Family(
        name="zipf",
        title="memory-tight Zipf 1.8",
        why="five models of ten functions each; a third of them fits, and a start takes longer than most requests",
        points=_points((0.5, 5), (0.7, 2), (0.95, 10)),
        world=_zipf,
    ),
    Family(
        name="bursts",
        title="overload burst (MMPP)",
        why="each function bursts to ten times its quiet rate by itself; all fit, there is too much to do",
        points=_points((0.7, 5), (1.2, 2), (2.0, 10)),
        world=_bursts,
    ),
)
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ALL})
"""By the name that the command takes."""
