"""Small functions and workloads for the tests of the simulator's input."""

from collections.abc import Sequence

import numpy as np

from stoker_sim.arrangement import arranged
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.workload import ANY, Behaviour, SimFunction, Workload

MS, S = 1_000, 1_000_000


def sim_function(name: str = "f", exec_us: int = 10 * MS, namespace: str = "default") -> SimFunction:
    return declared(namespace, name, Behaviour(exec_us={ANY: exec_us}, cold_us=S), Assumptions())


def workload_of(requests: Sequence[tuple[int, int, int]], functions: int = 2, **columns: int) -> Workload:
    """Requests as (time, function, execution time)."""
    rows = np.array(requests, np.int64).reshape(-1, 3)
    return arranged(
        [sim_function(f"f{index}") for index in range(functions)],
        rows[:, 0],
        rows[:, 1].astype(np.int32),
        rows[:, 2],
        horizon_us=columns.get("horizon_us"),
    )
