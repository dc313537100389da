"""What `torpor-density` is made of: functions with swapped models on four GPUs, and the baselines beside them.

Plain figures; stoker_sim.results.torpor_density makes the page of them. Inputs are Torpor's (ATC'25) where its text
gives them, and say where they are from otherwise.
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.draws import key_of, uniforms
from stoker_sim.engine.setup import Form, Memory, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.generate.poisson import poisson
from stoker_sim.outcomes import Outcomes
from stoker_sim.start_up import BERT, RESNET152
from stoker_sim.workload import Behaviour, SimFunction, Workload

_PRODUCT, _GPUS, _DEVICE_MIB = "V100", 4, 32_768
_PERCENTILE = 98.0
_MINUTE_US = 60_000_000
WARM_UP_MINUTES, MOST_MINUTES = 2, 22
MIXES = (0.1, 0.25, 0.5)
"""Shares of heavy models (ours)."""
_BUS_MIB_PER_S = 12_000
_PEER_MIB_PER_S = 47_684
"""NVLink between V100, the fastest pair: two links of 25 GB/s."""
_CONTEXT_MIB = 1_500
"""What a PyTorch function's context holds on a GPU (StreamBox, ATC'24): each native function has its own."""
_LIGHT_MIB, _HEAVY_MIB = 230, 1_297
"""ResNet-152's 60 and Bert large's 340 million parameters, at four bytes each."""


class _Model(Struct, frozen=True):
    """One of the two kinds; times in microseconds."""

    exec_us: int
    swapped_us: int
    """Execution with a swap before it, copy and kernels overlapping."""
    objective_us: int
    memory_mib: int
    cold_us: int


_LIGHT = _Model(30_000, 27_000, 80_000, _LIGHT_MIB, RESNET152.cold_us)
_HEAVY = _Model(42_000, 144_000, 200_000, _HEAVY_MIB, BERT.cold_us)


class Rates(Struct, frozen=True):
    """Requests of a function each minute, drawn evenly."""

    low: float
    high: float

    @property
    def label(self) -> str:
        return f"{self.low:g}-{self.high:g}/min"


PUBLISHED_RATES, LOW_RATES = Rates(5, 30), Rates(5, 10)


class Way(Struct, frozen=True):
    """Who decides what."""

    name: str
    queueing: str = "rrc"
    eviction: str = "light-first"
    peers: bool = True
    meaning: str = ""


TORPOR = Way("torpor")
FIFO = Way("fifo", queueing="fcfs", meaning="a queue by arrival")
LRU = Way("lru", eviction="lru", meaning="eviction by recency alone")
NO_COPIES = Way("no copies between GPUs", peers=False)


class Cell(Struct, frozen=True, kw_only=True):
    """One run."""

    functions: int
    heavy: float
    """Share of the functions with a heavy model."""
    rates: str
    way: str
    run: int
    """Functions that run at all."""
    compliant: int
    load: float
    swaps: float
    """Share of the requests that waited for their model."""


def study(*, small: bool) -> list[Cell]:
    """`small`: 160 functions, one mix and a few minutes."""
    minutes = 6 if small else MOST_MINUTES
    cells: list[Cell] = []
    for heavy in (0.25,) if small else MIXES:
        runs = [(160, PUBLISHED_RATES, TORPOR), (160, PUBLISHED_RATES, NO_COPIES)]
        if not small:
            runs += [(functions, PUBLISHED_RATES, TORPOR) for functions in (240, 320)]
            runs += [(functions, LOW_RATES, TORPOR) for functions in (320, 480, 560)]
            runs += [(320, PUBLISHED_RATES, way) for way in (FIFO, LRU)]
        cells += [_cell(functions, heavy, rates, way, minutes) for functions, rates, way in runs]
        cells += [_native(160, heavy, minutes), _kept(160, heavy, minutes)]
    return cells


def _workload(functions: int, heavy: float, rates: Rates, minutes: int, memory_mib: int | None = None) -> Workload:
    """`memory_mib`: beside the model, in a process of its own."""
    made = []
    percent = round(100 * heavy)
    for at in range(functions):
        is_heavy = (at + 1) * percent // 100 > at * percent // 100
        model = _HEAVY if is_heavy else _LIGHT
        made.append(_function(at, model, memory_mib))
    drawn = [float(uniforms(key_of(0, "rate", f.key), np.zeros(1, np.int64))[0]) for f in made]
    per_second = [(rates.low + (rates.high - rates.low) * u) / 60 for u in drawn]
    return poisson(made, per_second, minutes * _MINUTE_US)


def _function(at: int, model: _Model, beside_mib: int | None) -> SimFunction:
    behaviour = Behaviour(
        exec_us={_PRODUCT: model.exec_us},
        cold_us=model.cold_us,
        # A swap that is hidden behind its inference still is one.
        resume_us=0 if beside_mib else max(1, model.swapped_us - model.exec_us),
        swap_mib=model.memory_mib,
    )
    function = declared(
        "torpor",
        f"f{at:04d}",
        behaviour,
        Assumptions(sharing=Sharing.SHARED),
        memory_mib=model.memory_mib + (beside_mib or 0),
        slo_us=model.objective_us,
    )
    spec = function.definition.spec
    spec = replace(spec, slo=replace(spec.slo, percentile=_PERCENTILE))
    return replace(function, definition=replace(function.definition, spec=spec))


def _devices(slots: int, count: int = _GPUS) -> tuple[Device, ...]:
    """Two GPUs on each PCIe switch, which is the bus that they share."""
    return tuple(
        Device(
            id=f"gpu-{at}",
            kind=DeviceKind.GPU,
            product=_PRODUCT,
            memory_mib=_DEVICE_MIB,
            slots=slots,
            node=f"s{at // 2}",
        )
        for at in range(count)
    )


def _cell(functions: int, heavy: float, rates: Rates, way: Way, minutes: int) -> Cell:
    work = _workload(functions, heavy, rates, minutes)
    memory = Memory(
        eviction=way.eviction,
        bus_mib_per_s=_BUS_MIB_PER_S,
        in_host_at_start=True,
        copies=1,
        peer_mib_per_s=_PEER_MIB_PER_S if way.peers else None,
    )
    outcomes = simulate(
        work,
        Setup(devices=_devices(1), form=Form.LATE_BINDING, queueing=way.queueing, serve_late=False, memory=memory),
    )
    return Cell(
        functions=functions,
        heavy=heavy,
        rates=rates.label,
        way=way.name,
        run=functions,
        compliant=_compliant(work, outcomes),
        load=_load(work),
        swaps=float(outcomes.cold.mean()),
    )


def _native(functions: int, heavy: float, minutes: int) -> Cell:
    """Each function owns a process on one GPU; those for which no memory is left do not run."""
    work = _workload(functions, heavy, PUBLISHED_RATES, minutes, _CONTEXT_MIB)
    homes: list[list[str]] = [[] for _ in range(_GPUS)]
    free = [_DEVICE_MIB] * _GPUS
    for function in work.functions:
        need = function.definition.spec.gpu[0].memory_mib
        at = max(range(_GPUS), key=free.__getitem__)
        if need <= free[at]:
            free[at] -= need
            homes[at].append(function.key)
    compliant = 0
    for keys in homes:
        part = work.only(keys)
        outcomes = simulate(part, Setup(devices=_devices(1, 1), form=Form.STATIC, queueing="fcfs", serve_late=False))
        compliant += _compliant(part, outcomes)
    run = sum(map(len, homes))
    return Cell(
        functions=functions,
        heavy=heavy,
        rates=PUBLISHED_RATES.label,
        way="native",
        run=run,
        compliant=compliant,
        load=_load(work),
        swaps=0.0,
    )


def _kept(functions: int, heavy: float, minutes: int) -> Cell:
    """Processes that are kept until their memory is needed, and start from cold; a start takes no GPU time."""
    work = _workload(functions, heavy, PUBLISHED_RATES, minutes, _CONTEXT_MIB)
    slots = _DEVICE_MIB // (_CONTEXT_MIB + _LIGHT_MIB)
    outcomes = simulate(work, Setup(devices=_devices(slots), form=Form.LATE_BINDING, queueing="fcfs", serve_late=False))
    return Cell(
        functions=functions,
        heavy=heavy,
        rates=PUBLISHED_RATES.label,
        way="keep-alive",
        run=functions,
        compliant=_compliant(work, outcomes),
        load=_load(work),
        swaps=float(outcomes.cold.mean()),
    )


def _compliant(work: Workload, outcomes: Outcomes) -> int:
    """Functions with 98 % of their requests within the objective, after the warm-up."""
    counted = outcomes.arrival_us >= WARM_UP_MINUTES * _MINUTE_US
    offered = np.bincount(outcomes.function[counted], minlength=len(work.functions))
    on_time = np.bincount(outcomes.function[counted & outcomes.on_time], minlength=len(work.functions))
    return int(np.count_nonzero((on_time * 100 >= _PERCENTILE * offered) & (offered > 0)))


def _load(work: Workload) -> float:
    return float(work.exec_us.sum()) / work.horizon_us / _GPUS
