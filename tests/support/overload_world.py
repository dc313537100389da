"""Three functions with tighter and looser objectives on two shared GPUs, offered so many times what these can do."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stoker.model.function import GpuOption, OnMiss, Sharing
from stoker.slots.forecast import Rule
from stoker.testing.builders import make_function, make_gpu
from stoker_sim.arrangement import arranged
from stoker_sim.engine.returns import Returning, Returns
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


class Stream(Struct, frozen=True):
    """Requests of one function."""

    function: str
    exec_us: int
    latency_us: int
    per_second: float
    namespace: str = "default"
    spread: float = 0.0
    """Of the logarithm of the execution time."""


PAIR = (Stream("chat", 40 * MS, 300 * MS, 30), Stream("report", 120 * MS, 1_500 * MS, 11))
"""Of `make demo`: some 2.5 times what one slot can do, one of them with an objective that it can wait for."""


def streamed(streams: Sequence[Stream], gpus: int, seconds: int, seed: int, misses: tuple[OnMiss, ...]) -> Workload:
    """Functions with a replica on each of the GPUs, and their Poisson arrivals after two seconds."""
    draw = np.random.default_rng(seed)
    functions, rows = [], []
    for number, stream in enumerate(streams):
        definition = make_function(
            stream.function,
            namespace=stream.namespace,
            gpu=SHARED,
            latency_us=stream.latency_us,
            timeout_us=10 * S,
            min_replicas=gpus,
            max_replicas=gpus,
            on_predicted_miss=misses,
            max_requests=100_000,
        )
        behaviour = Behaviour(exec_us={"any": stream.exec_us}, cold_us=100 * MS)
        functions.append(SimFunction(definition=definition, behaviour=behaviour))
        at = draw.integers(2 * S, (2 + seconds) * S, draw.poisson(stream.per_second * seconds))
        exec_us = stream.exec_us * np.exp(draw.normal(-(stream.spread**2) / 2, stream.spread, len(at)))
        rows.append(np.stack([at, np.full(len(at), number), exec_us], axis=1).astype(np.int64))
    table = np.concatenate(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return arranged(functions, table[:, 0], table[:, 1].astype(np.int32), table[:, 2])


def workload(load: float, seconds: int, seed: int, mix: tuple[float, ...], misses: tuple[OnMiss, ...]) -> Workload:
    """`mix`: how the demand for GPU time is divided."""
    streams = [
        Stream(name, exec_us, latency_us, load * GPUS * part / sum(mix) / (exec_us / S), spread=0.1)
        for name, exec_us, latency_us, part in zip(NAMES, EXEC_US, LATENCY_US, mix, strict=True)
    ]
    return streamed(streams, GPUS, seconds, seed, misses)


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


def figures(result: Outcomes, seconds: int, functions: int = len(NAMES)) -> Curve:
    counted = result.arrival_us >= WARM_UP_S * S
    span_us = (seconds + 2 - WARM_UP_S) * S
    on_time, promised = result.on_time & counted, result.promised & counted
    of = [result.function == number for number in range(functions)]
    late = result.occupied_us[counted & result.served & ~result.on_time].sum()
    return Curve(
        useful=float(result.exec_us[on_time].sum() / span_us),
        shares=tuple(float(result.exec_us[on_time & one].sum() / span_us) for one in of),
        kept=tuple(float((on_time & promised & one).sum() / max(1, (promised & one).sum())) for one in of),
        late=float(late / max(1, result.occupied_us[counted].sum())),
    )


def tenants(*, greedy: float, seconds: int = 30, seed: int = 1) -> Tenants:
    """Ten alike but for the first, which asks for so many times of what each of the others does."""
    each = CALM_LOAD / (TENANTS - 1) / (TENANT_EXEC_US / S)
    streams = [
        Stream("model", TENANT_EXEC_US, TENANT_LATENCY_US, each * (1 if number else greedy), f"tenant-{number}")
        for number in range(TENANTS)
    ]
    setup = Setup(
        devices=tuple(make_gpu(f"g{number}", memory_mib=TENANTS * 1_024) for number in range(GPUS)),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
    )
    result = simulate(streamed(streams, GPUS, seconds, seed, (OnMiss.REFUSE,)), setup)
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


def pair(seconds: int = 20, seed: int = 1) -> Curve:
    """PAIR on the one slot of one GPU. Who is refused is given a place where there is one, and nobody comes back."""
    setup = Setup(
        devices=(make_gpu("g0", memory_mib=2 * 1_024),),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
    )
    work = streamed(PAIR, 1, seconds, seed, (OnMiss.REFUSE,))
    return figures(simulate(work, setup, Returns(Returning(tries=0))), seconds, len(PAIR))
