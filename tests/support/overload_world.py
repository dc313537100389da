"""Three functions with tighter and looser objectives on two shared GPUs, offered so many times what these can do."""

import numpy as np
from msgspec import Struct

from stoker.model.function import GpuOption, OnMiss, Sharing
from stoker.slots.forecast import Rule
from stoker.testing.builders import make_function, make_gpu
from stoker_sim.arrangement import arranged
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import Outcomes
from stoker_sim.workload import Behaviour, SimFunction, Workload

S, MS = 1_000_000, 1_000
NAMES = ("tight", "middle", "loose")
EXEC_US = (20 * MS, 30 * MS, 40 * MS)
LATENCY_US = (100 * MS, 250 * MS, 1_000 * MS)
GPUS = 2
WARM_UP_S = 4
SHARED = (GpuOption(memory_mib=1_024, sharing=Sharing.SHARED),)


TENANTS, TENANT_EXEC_US, TENANT_LATENCY_US = 10, 12 * MS, 250 * MS
CALM_LOAD = 1.46
"""GPU seconds a second that nine of ten tenants ask for together: 0.73 of what there is."""


class Tenants(Struct, frozen=True):
    """What nine tenants see, and what the tenth gets."""

    success: float
    p99_us: float
    greedy_useful: float
    """GPU seconds of answers on time, each second."""


class Curve(Struct, frozen=True):
    """The figures of one load, warm-up left out."""

    useful: float
    """GPU seconds of answers on time, each second."""
    shares: tuple[float, ...]
    """The same by function."""
    kept: tuple[float, ...]
    """On time of what was promised, by function."""
    late: float
    """Share of the GPU time spent on what came late."""


def workload(load: float, seconds: int, seed: int, mix: tuple[float, ...], misses: tuple[OnMiss, ...]) -> Workload:
    """`mix`: how the demand for GPU time is divided."""
    functions = []
    for name, exec_us, latency_us in zip(NAMES, EXEC_US, LATENCY_US, strict=True):
        definition = make_function(
            name,
            gpu=SHARED,
            latency_us=latency_us,
            timeout_us=10 * S,
            min_replicas=GPUS,
            max_replicas=GPUS,
            on_predicted_miss=misses,
            max_requests=100_000,
        )
        behaviour = Behaviour(exec_us={"any": exec_us}, cold_us=100 * MS)
        functions.append(SimFunction(definition=definition, behaviour=behaviour))
    draw = np.random.default_rng(seed)
    rows = []
    for number, exec_us in enumerate(EXEC_US):
        rate = load * GPUS * mix[number] / sum(mix) / (exec_us / S)
        at = draw.integers(2 * S, (2 + seconds) * S, draw.poisson(rate * seconds))
        spread = draw.normal(-0.005, 0.1, len(at))
        rows.append(np.stack([at, np.full(len(at), number), exec_us * np.exp(spread)], axis=1).astype(np.int64))
    table = np.concatenate(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return arranged(functions, table[:, 0], table[:, 1].astype(np.int32), table[:, 2])


def play(
    load: float,
    *,
    seconds: int = 20,
    seed: int = 1,
    mix: tuple[float, ...] = (1, 1, 1),
    queueing: str = "least-slack",
    rule: Rule = Rule.SCHEDULE,
    serve_late: bool = True,
) -> Curve:
    """One run."""
    setup = Setup(
        devices=tuple(make_gpu(f"g{number}", memory_mib=3 * 1_024) for number in range(GPUS)),
        form=Form.REPLICAS,
        queueing=queueing,
        knowledge=Knowledge.LEARNED,
        admission_policy=rule,
        serve_late=serve_late,
    )
    return figures(simulate(workload(load, seconds, seed, mix, (OnMiss.REFUSE,)), setup), seconds)


def figures(result: Outcomes, seconds: int) -> Curve:
    counted = result.arrival_us >= WARM_UP_S * S
    span_us = (seconds + 2 - WARM_UP_S) * S
    on_time, promised = result.on_time & counted, result.promised & counted
    of = [result.function == number for number in range(len(NAMES))]
    late = result.occupied_us[counted & result.served & ~result.on_time].sum()
    return Curve(
        useful=float(result.exec_us[on_time].sum() / span_us),
        shares=tuple(float(result.exec_us[on_time & one].sum() / span_us) for one in of),
        kept=tuple(float((on_time & promised & one).sum() / max(1, (promised & one).sum())) for one in of),
        late=float(late / max(1, result.occupied_us[counted].sum())),
    )


def tenants(*, greedy: float, seconds: int = 30, seed: int = 1) -> Tenants:
    """Ten alike but for the first, which asks for so many times of what each of the others does."""
    draw = np.random.default_rng(seed)
    functions, rows = [], []
    for number in range(TENANTS):
        definition = make_function(
            "model",
            namespace=f"tenant-{number}",
            gpu=SHARED,
            latency_us=TENANT_LATENCY_US,
            timeout_us=10 * S,
            min_replicas=GPUS,
            max_replicas=GPUS,
            on_predicted_miss=(OnMiss.REFUSE,),
            max_requests=100_000,
        )
        behaviour = Behaviour(exec_us={"any": TENANT_EXEC_US}, cold_us=100 * MS)
        functions.append(SimFunction(definition=definition, behaviour=behaviour))
        rate = CALM_LOAD / (TENANTS - 1) / (TENANT_EXEC_US / S) * (1 if number else greedy)
        at = draw.integers(2 * S, (2 + seconds) * S, draw.poisson(rate * seconds))
        rows.append(np.stack([at, np.full(len(at), number), np.full(len(at), TENANT_EXEC_US)], axis=1))
    table = np.concatenate(rows).astype(np.int64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    setup = Setup(
        devices=tuple(make_gpu(f"g{number}", memory_mib=TENANTS * 1_024) for number in range(GPUS)),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
    )
    result = simulate(arranged(functions, table[:, 0], table[:, 1].astype(np.int32), table[:, 2]), setup)
    counted = result.arrival_us >= WARM_UP_S * S
    nine = counted & (result.function > 0)
    took_us = (result.dispatch_us + result.occupied_us - result.arrival_us)[nine & result.served]
    return Tenants(
        success=float((nine & result.served).sum() / nine.sum()),
        p99_us=float(np.quantile(took_us, 0.99)),
        greedy_useful=float(
            result.exec_us[counted & result.on_time & (result.function == 0)].sum() / ((seconds + 2 - WARM_UP_S) * S)
        ),
    )
