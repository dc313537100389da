"""What `mqfq-sticky` is made of: functions of the Azure sample as GPU functions on one device, under several policies.

Plain figures; stoker_sim.results.mqfq_sticky makes the page of them.
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker_sim.draws import key_of, uniforms
from stoker_sim.engine.setup import Form, Memory, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.evaluate.fairness import fairness
from stoker_sim.evaluate.sample import sample_of
from stoker_sim.profiles import catalogue
from stoker_sim.traces.azure_functions import sample
from stoker_sim.traces.mapping import mapped
from stoker_sim.workload import Workload

OURS, BASE = "mqfq-sticky", "fcfs"
POLICIES = (BASE, "batch", "sjf", "paella-srpt", "mqfq", OURS)
FUNCTIONS = 24
SLOTS = 2
"""D, as in the published experiments."""
PRODUCT = "V100"
PATIENT_S = 60
"""No objective that is queued for shortens T then: it is 5 s, as published."""
TIGHT = "5x the median"
PATIENT = f"{PATIENT_S} s"
_MEMORIES_MIB = (24_576, 12_288, 6_144)
"""The A30's, and as if the functions were two and four times as large."""
_LOADS = (0.1, 0.2, 0.4, 0.8)
_TIGHT_LOADS = (0.1, 0.2, 0.4)
_SEEDS = 3
_BEGIN, _MINUTES = 480, 60
_NO_TIMEOUT_US = 1_000_000_000_000


class Setting(Struct, frozen=True):
    """What the paper does not say, and so is varied."""

    memory_mib: int
    load: float
    """Warm GPU time over capacity: what starts add comes on top."""
    objectives: str


class Cell(Struct, frozen=True, kw_only=True):
    """One run."""

    setting: Setting
    seed: int
    policy: str
    mean_s: float
    """Latency: arrival to answer."""
    p99_s: float
    worst_s: float
    """The largest mean latency of a function."""
    jain: float
    """Of service over max-min share among functions, windows of a minute, mean."""
    starts: float
    """Share of the requests whose function had to be brought to the device."""


def study(*, small: bool = False) -> tuple[Cell, ...]:
    """`small`: one memory, two loads, half the policies and one draw."""
    memories, loads = ((_MEMORIES_MIB[-1],), _LOADS[:2]) if small else (_MEMORIES_MIB, _LOADS)
    seeds = range(1 if small else _SEEDS)
    policies = (BASE, "sjf", OURS) if small else POLICIES
    cells = []
    for seed in seeds:
        for load in loads:
            patient = _workload(seed, load, PATIENT)
            for memory_mib in memories:
                setting = Setting(memory_mib, load, PATIENT)
                cells += [_cell(patient, setting, seed, policy) for policy in policies]
            if load in _TIGHT_LOADS:
                tight = _workload(seed, load, TIGHT)
                ends = dict.fromkeys((memories[0], memories[-1]))
                cells += [_cell(tight, Setting(memory_mib, load, TIGHT), seed, OURS) for memory_mib in ends]
    return tuple(cells)


def _workload(seed: int, load: float, objectives: str) -> Workload:
    """So many functions of the trace that are asked from once a minute to once a second, drawn by the seed."""
    whole = sample(begin_minute=_BEGIN, end_minute=_BEGIN + _MINUTES)
    counts = np.bincount(whole.function, minlength=len(whole.functions))
    candidates = [key for key, n in zip(whole.keys, counts.tolist(), strict=True) if _MINUTES <= n <= 60 * _MINUTES]
    drawn = {key: float(uniforms(key_of(seed, "choose", key), np.zeros(1, np.int64))[0]) for key in candidates}
    chosen = sorted(candidates, key=lambda key: (drawn[key], key))[:FUNCTIONS]
    work = mapped(whole.only(chosen), catalogue((PRODUCT,)), (PRODUCT,), seed)
    work = work.scaled(load * SLOTS * work.horizon_us / float(work.exec_us.sum()))
    functions = []
    for function in work.functions:
        spec = function.definition.spec
        slo = replace(spec.slo, latency_us=PATIENT_S * 1_000_000) if objectives == PATIENT else spec.slo
        spec = replace(spec, slo=slo, timeout_us=_NO_TIMEOUT_US)
        functions.append(replace(function, definition=replace(function.definition, spec=spec)))
    return replace(work, functions=tuple(functions))


def _cell(work: Workload, setting: Setting, seed: int, policy: str) -> Cell:
    devices = (Device(id="gpu", kind=DeviceKind.GPU, product=PRODUCT, memory_mib=setting.memory_mib, slots=SLOTS),)
    outcomes = simulate(
        work,
        Setup(
            devices=devices,
            form=Form.LATE_BINDING,
            queueing=policy,
            serve_late=False,
            memory=Memory(in_host_at_start=True),
            seed=seed,
        ),
    )
    latency_s = (outcomes.finish_us - outcomes.arrival_us) / 1e6
    counts = np.bincount(outcomes.function)
    sums = np.bincount(outcomes.function, weights=latency_s)
    return Cell(
        setting=setting,
        seed=seed,
        policy=policy,
        mean_s=float(latency_s.mean()),
        p99_s=float(np.sort(latency_s)[int(0.99 * (len(latency_s) - 1))]),
        worst_s=float((sums[counts > 0] / counts[counts > 0]).max()),
        jain=fairness(sample_of(work, devices, outcomes))["jain_functions_60s_mean"] or 0.0,
        starts=float(outcomes.cold.mean()),
    )
