"""The engine against queueing theory: mean waits inside 99.9 % intervals that are at most 1 % wide to each side.

Intervals are by batch means over independent replications, the begin of each (an empty system) left out.
"""

from collections.abc import Callable
from math import factorial, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from stoker.testing.builders import make_function, make_gpu
from stoker_sim.draws import exponentials, generator, key_of
from stoker_sim.engine.setup import Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import ANY, Behaviour, SimFunction, Workload

pytestmark = [pytest.mark.sim, pytest.mark.timeout(1800)]

MEAN_US = 100_000  # long enough that whole microseconds do not show
REQUESTS = 500_000
WARM_UP = 20_000
BATCH = 20_000
NORMAL = 3.2905  # 99.9 %, both sides
WIDEST = 0.01
MOST = 24  # replications until the interval must be narrow enough

Service = Callable[[int, int], NDArray[np.float64]]
"""Of (seed, how many), with mean 1."""
LONG_US = 10**15


def exponential(seed: int, count: int) -> NDArray[np.float64]:
    return exponentials(key_of(seed, "service", "f"), np.arange(count))


def gamma(seed: int, count: int) -> NDArray[np.float64]:
    return generator(seed, "service", "f").gamma(2.0, 0.5, count)


def uniform(seed: int, count: int) -> NDArray[np.float64]:
    return generator(seed, "service", "f").uniform(0.0, 2.0, count)


def workload(seed: int, load: float, service: Service, shares: tuple[float, ...] = (1.0,)) -> Workload:
    """One function for each share of the requests; functions that come first have the earlier deadlines."""
    gaps = exponentials(key_of(seed, "arrivals", "f"), np.arange(REQUESTS)) * MEAN_US / load
    functions = tuple(
        SimFunction(
            definition=make_function(f"f{index}", latency_us=1 + index * LONG_US, timeout_us=3 * LONG_US),
            behaviour=Behaviour(exec_us={ANY: MEAN_US}, cold_us=0),
        )
        for index in range(len(shares))
    )
    classes = np.searchsorted(np.cumsum(shares)[:-1], generator(seed, "class", "f").uniform(size=REQUESTS))
    time_us = np.rint(np.cumsum(gaps)).astype(np.int64)
    return Workload(
        functions=functions,
        time_us=time_us,
        function=classes.astype(np.int32),
        exec_us=np.maximum(1, np.rint(service(seed, REQUESTS) * MEAN_US)).astype(np.int64),
        horizon_us=int(time_us[-1]) + 1,
    )


def check(expected: dict[int, float], load: float, service: Service, *, slots: int = 1, queueing: str = "fcfs") -> None:
    """`expected`: mean wait by function, in mean service times."""
    shares = (1.0 / len(expected),) * len(expected)
    setup = Setup(devices=(make_gpu(slots=slots),), queueing=queueing, serve_late=False)
    means: dict[int, list[float]] = {function: [] for function in expected}
    for seed in range(MOST):
        result = simulate(workload(seed, load, service, shares), setup)
        for function, found in means.items():
            waits = result.wait_us[(result.function == function)][WARM_UP:] / MEAN_US
            whole = len(waits) // BATCH * BATCH
            found.extend(waits[:whole].reshape(-1, BATCH).mean(axis=1).tolist())
        halves = {f: NORMAL * float(np.std(m, ddof=1)) / sqrt(len(m)) / expected[f] for f, m in means.items()}
        if max(halves.values()) <= WIDEST and seed > 0:
            break
    for function, theory in expected.items():
        mean = float(np.mean(means[function]))
        print(
            f"load {load} function {function}: {mean:.4f}, theory {theory:.4f} +- {halves[function]:.2%}, {seed + 1} x"
        )
        assert halves[function] <= WIDEST
        assert abs(mean / theory - 1) <= halves[function]


def erlang_c(load: float, servers: int) -> float:
    """Probability of a wait in M/M/c at `load` per server."""
    offered = load * servers
    waits = offered**servers / factorial(servers) / (1 - load)
    return waits / (sum(offered**n / factorial(n) for n in range(servers)) + waits)


def test_m_m_1_waits_as_erlang_says() -> None:
    load = 0.5
    check({0: load / (1 - load)}, load, exponential)


def test_m_m_c_waits_as_erlang_says() -> None:
    load, servers = 0.6, 2
    # `check` counts load by server: arrivals come `servers` times as often.
    check({0: erlang_c(load, servers) / (servers * (1 - load))}, load * servers, exponential, slots=servers)


@pytest.mark.parametrize(("service", "variation"), [(gamma, 0.5), (uniform, 1 / 3)])
def test_m_g_1_waits_as_pollaczek_and_khinchine_say(service: Service, variation: float) -> None:
    load = 0.5
    check({0: load * (1 + variation) / (2 * (1 - load))}, load, service)


def test_non_preemptive_priorities_wait_as_cobham_says() -> None:
    # Deadlines so far apart that EDF is two classes of priority, each served by arrival (A. Cobham, 1954).
    load, variation = 0.6, 0.5
    left = load * (1 + variation) / 2
    first, both = load / 2, load
    check({0: left / (1 - first), 1: left / ((1 - first) * (1 - both))}, load, gamma, queueing="edf")
