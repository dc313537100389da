"""What a family of workloads is, and how a replication of it is made: a scenario of one load, objective and seed.

Every workload is made at the rate that its sources name, cut to its half and to MOST requests, and then compressed or
stretched in time to the load: its length in requests, and so the cost of a run, is the same at every load. Knows no
policy.
"""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
from msgspec import Struct, json
from msgspec.structs import replace

from stoker.model.device import Device
from stoker_sim.arrangement import merged
from stoker_sim.scenario import DeviceChoice, MemoryChoice, Scenario, devices_of
from stoker_sim.sources.forms import AnySource
from stoker_sim.sources.making import load_of, make
from stoker_sim.sources.units import as_written
from stoker_sim.study.halves import Half, keys_of, resampled, seed_of
from stoker_sim.workload import Workload

MOST = 4_000
"""Requests of one run."""
WARM_UP = 10
"""The first tenth of the time is in no figure."""


class Blocks(Struct, frozen=True):
    """A trace that was recorded once is put together anew from blocks of its half (study.halves)."""

    length_us: int
    count: int


class World(Struct, frozen=True, kw_only=True):
    """What a family is made of at one objective, for one half and replication."""

    sources: tuple[AnySource, ...]
    devices: tuple[DeviceChoice, ...]
    memory: MemoryChoice = MemoryChoice(in_host_at_start=True)
    every_other: bool = False
    """Only the functions of the half."""
    blocks: Blocks | None = None
    """Of each source that is a trace and not drawn by seed: the first `traces` of them."""
    traces: int = 0
    memory_mib: int | None = None
    """Of every function, instead of what the source says."""


class Point(Struct, frozen=True, order=True):
    """A load (offered warm GPU time over capacity) and an objective (over isolated warm medians)."""

    load: float
    slo_factor: float

    @property
    def label(self) -> str:
        return f"load {self.load:g}, SLO x{self.slo_factor:g}"


class Family(Struct, frozen=True, kw_only=True):
    name: str
    title: str
    why: str
    """What is hard in it, one sentence."""
    points: tuple[Point, ...]
    world: Callable[[Half, int, float], World]
    """Of a half, a replication and an objective."""


class Case(Struct, frozen=True, kw_only=True):
    """One replication of a family at one of its points."""

    half: Half
    scenario: Scenario
    world: World

    @property
    def devices(self) -> tuple[Device, ...]:
        return devices_of(self.scenario)


def case_of(family: Family, half: Half, replication: int, point: Point) -> Case:
    """The scenario has no policies but the default: those come with the study's settings."""
    world = family.world(half, replication, point.slo_factor)
    return Case(
        half=half,
        world=world,
        scenario=Scenario(
            name=f"{family.name}, {point.label}",
            workload=world.sources,
            devices=world.devices,
            memory=world.memory,
            loads=(point.load,),
            seeds=1,
            first_seed=seed_of(half, replication),
        ),
    )


def workload_of(case: Case) -> Workload:
    """The requests of a case. Raises BadSource, BadWorkload."""
    scenario, world, devices = case.scenario, case.world, case.devices
    seed = scenario.first_seed
    sources = list(scenario.sources)
    parts = []
    if world.blocks is not None:
        for source in sources[: world.traces]:
            trace = make((source,), devices, Path(), 0)
            length_us, count = world.blocks.length_us, world.blocks.count
            parts.append(resampled(trace, case.half, seed, block_us=length_us, blocks=count))
        sources = sources[world.traces :]
    if sources:
        parts.append(make(sources, devices, Path(), seed))
    work = parts[0] if len(parts) == 1 else merged(*parts)
    if world.memory_mib is not None:
        work = _smaller(work, world.memory_mib)
    if world.every_other:
        work = work.only(keys_of(case.half, work.keys))
    if len(work) > MOST:
        work = work.slice(0, int(work.time_us[MOST]))
    return work.scaled(scenario.loads[0] / load_of(work, devices))


def _smaller(work: Workload, memory_mib: int) -> Workload:
    """Every function with this memory, all of which a swap moves."""
    functions = []
    for function in work.functions:
        spec = function.definition.spec
        options = tuple(replace(option, memory_mib=memory_mib) for option in spec.gpu)
        functions.append(
            replace(
                function,
                definition=replace(function.definition, spec=replace(spec, gpu=options)),
                behaviour=replace(function.behaviour, swap_mib=memory_mib),
            )
        )
    return replace(work, functions=tuple(functions))


def described(family: Family, replications: int) -> bytes:
    """Both halves of the family as its scenarios say them, and the requests of the tuning half's first replication."""
    digest = blake2b(digest_size=16)
    for half in Half:
        for replication in range(replications):
            for point in family.points:
                case = case_of(family, half, replication, point)
                world = case.world
                blocks = None if world.blocks is None else (world.blocks.length_us, world.blocks.count, world.traces)
                digest.update(
                    json.encode((as_written(case.scenario), world.every_other, blocks, world.memory_mib, MOST, WARM_UP))
                )
    for point in family.points:
        work = workload_of(case_of(family, Half.TUNING, 0, point))
        for column in (work.time_us, work.function, work.exec_us, work.objectives_us()):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.digest()
