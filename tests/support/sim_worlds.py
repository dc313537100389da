"""Small workloads for tests of the simulator, each request written out."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from stoker.model.function import Function
from stoker.testing.builders import make_function
from stoker_sim.arrangement import arranged
from stoker_sim.outcomes import OUTCOMES, REASONS, Outcomes
from stoker_sim.workload import ANY, Behaviour, ClosedLoop, SimFunction, Workload

DEFINITION = make_function()


def sim_function(
    definition: Function = DEFINITION,
    *,
    exec_us: Mapping[str, int] | None = None,
    cold_us: int = 0,
    resume_us: int = 0,
    swap_mib: int = 0,
    interference: str = "",
) -> SimFunction:
    """A function whose median request takes 100 us on any GPU."""
    behaviour = Behaviour(
        exec_us=dict(exec_us or {ANY: 100}),
        cold_us=cold_us,
        resume_us=resume_us,
        swap_mib=swap_mib,
        interference=interference,
    )
    return SimFunction(definition=definition, behaviour=behaviour)


def workload(
    functions: SimFunction | Iterable[SimFunction],
    requests: Iterable[tuple[int, int, int]],
    *,
    horizon_us: int | None = None,
    closed: Iterable[ClosedLoop] = (),
) -> Workload:
    """`requests`: (arrival in us, index of the function, execution time in us)."""
    rows = np.array(list(requests), np.int64).reshape(-1, 3)
    return arranged(
        [functions] if isinstance(functions, SimFunction) else list(functions),
        rows[:, 0],
        rows[:, 1].astype(np.int32),
        rows[:, 2],
        horizon_us=horizon_us,
        closed=tuple(closed),
    )


def endings(result: Outcomes) -> list[str]:
    """Outcome and reason of each request, as in `served` or `expired Timeout`."""
    return [
        OUTCOMES[outcome].value + (f" {REASONS[reason].value}" if reason >= 0 else "")
        for outcome, reason in zip(result.outcome.tolist(), result.reason.tolist(), strict=True)
    ]


def image(result: Outcomes) -> bytes:
    """All bytes of a result, for comparison."""
    rest = result.residence
    columns: list[NDArray[np.generic]] = [
        *result.columns().values(),
        rest.function,
        rest.variant,
        rest.device,
        rest.begin_us,
        rest.warm_us,
        rest.end_us,
        rest.memory_mib,
    ]
    return b"|".join(column.tobytes() for column in columns) + str(result.end_us).encode()


def most_at_once(spans: Iterable[tuple[int, int, int]]) -> int:
    """The largest sum of the weights of spans (begin, end, weight) at any instant; an end frees for a begin."""
    steps = sorted((at, weight) for begin, end, weight0 in spans for at, weight in ((begin, weight0), (end, -weight0)))
    level = most = 0
    for _, weight in sorted(steps):
        level += weight
        most = max(most, level)
    return most
