"""The optimum of keep-alive: equal to trying everything, and at no policy's expense."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_workloads import S, workload_of

from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.interface import EvictionParams
from stoker.policies.eviction.registry import make_eviction
from stoker_sim.keep_alive.gaps import Gaps, idle_gaps
from stoker_sim.keep_alive.optimum import cold_at, costs_of, foreseen, frontier
from stoker_sim.keep_alive.windows import KeepAlive, play

pytestmark = pytest.mark.property

MINUTE = 60 * S
HORIZON_US = 500 * MINUTE
DEVICE_MIB = 40_960
CALLS = st.lists(
    st.tuples(st.integers(0, 300 * 60).map(lambda at_s: at_s * S), st.integers(0, 1), st.integers(1, 40 * S)),
    min_size=2,
    max_size=7,
).map(sorted)
SINCE = st.sampled_from([0, 60 * MINUTE, 200 * MINUTE])
WAYS = [
    KeepAlive(make_eviction("fixed-ttl", EvictionParams(ttl_us=10 * MINUTE))),
    KeepAlive(make_eviction("ski-rental")),
    KeepAlive(make_eviction("ski-rental-random")),
    KeepAlive(make_eviction("hybrid-histogram", EvictionParams(ttl_us=240 * MINUTE))),
    KeepAlive(make_eviction("hazard-rate")),
]
PRE_WARMING = [
    KeepAlive(make_eviction("hybrid-histogram"), PreWarmPolicy.HISTOGRAM),
    KeepAlive(make_eviction("hazard-rate"), PreWarmPolicy.HAZARD_RATE),
]


def gaps_of(calls: list[tuple[int, int, int]]) -> tuple[Gaps, ...]:
    return idle_gaps(workload_of(calls, functions=2, horizon_us=HORIZON_US))


@settings(max_examples=8)
@given(calls=CALLS, since_us=SINCE)
def test_the_frontier_is_what_trying_every_set_of_gaps_finds(calls: list[tuple[int, int, int]], since_us: int) -> None:
    costs = costs_of(gaps_of(calls), since_us)
    memory, cold = frontier(costs)
    tried: dict[int, float] = {}
    for held in product((False, True), repeat=len(costs.hold)):
        total = sum(h if keep else s for keep, h, s in zip(held, costs.hold, costs.start, strict=True))
        left = held.count(False)
        tried[left] = min(total, tried.get(left, total))
    for held_memory, left in zip(memory.tolist(), cold.tolist(), strict=True):
        assert held_memory == pytest.approx(tried[left])
        assert held_memory == pytest.approx(min(total for count, total in tried.items() if count <= left))
        assert cold_at(costs, held_memory) == left
    assert memory[0] == pytest.approx(min(tried.values()))


@settings(max_examples=8)
@given(calls=CALLS, since_us=SINCE)
def test_no_policy_has_fewer_cold_starts_than_the_optimum_that_holds_as_much(
    calls: list[tuple[int, int, int]], since_us: int
) -> None:
    functions = gaps_of(calls)
    costs = costs_of(functions, since_us)
    cold = [0] * len(WAYS + PRE_WARMING)
    memory = [0.0] * len(cold)
    for gaps in functions:
        for at, found in enumerate(play(WAYS + PRE_WARMING, gaps, DEVICE_MIB, since_us)):
            counted = gaps.end_us >= since_us
            missed = int(found.cold[counted].sum())
            cold[at] += missed
            memory[at] += float(found.held_us[counted].sum() + missed * gaps.start_us) * gaps.memory_mib
    for at in range(len(WAYS)):
        fewest = cold_at(costs, memory[at])
        assert fewest is not None
        assert fewest <= cold[at]
    for held in memory:
        assert held >= foreseen(costs) * (1 - 1e-12)
