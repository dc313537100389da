"""Keep-alive as a cache: who is evicted, what is dropped, what a cold start costs; against a pool that scans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.policies.eviction.fixed_ttl import FixedTtl
from stoker.policies.eviction.greedy_dual import GreedyDual
from stoker.policies.eviction.interface import EvictionParams, EvictionPolicy
from stoker.policies.eviction.lru import Lru
from stoker_sim.keep_alive.faascache import Frequency, Landlord, Size
from stoker_sim.keep_alive.memory_pool import Kind, MemoryPool, PoolTally

pytestmark = pytest.mark.unit

SMALL = Kind("a/small", 100, 10, 110)
LARGE = Kind("a/large", 300, 10, 110)
SLOW = Kind("a/slow", 100, 10, 1_010)
KINDS = (SMALL, LARGE, SLOW)

Call = tuple[int, int]
"""Instant and function."""


def played(calls: list[Call], capacity_mib: int, policy: EvictionPolicy, kinds: tuple[Kind, ...] = KINDS) -> PoolTally:
    time_us, function = (np.array(column) for column in zip(*calls, strict=True))
    return MemoryPool(kinds, capacity_mib, policy).play(time_us.astype(np.int64), function.astype(np.int32))


def cold(calls: list[Call], capacity_mib: int, policy: EvictionPolicy) -> list[int]:
    found: list[int] = played(calls, capacity_mib, policy).cold.tolist()
    return found


def test_an_idle_container_serves_the_next_call_and_a_busy_one_makes_another_start() -> None:
    assert cold([(0, 0), (200, 0)], 1_000, Lru()) == [1, 0, 0]
    assert cold([(0, 0), (5, 0)], 1_000, Lru()) == [2, 0, 0]


def test_a_cold_call_lasts_its_start_up_longer() -> None:
    # Its container is busy until 110, so a call at 109 needs one more.
    assert cold([(0, 0), (109, 0)], 1_000, Lru()) == [2, 0, 0]
    assert cold([(0, 0), (110, 0)], 1_000, Lru()) == [1, 0, 0]


def test_a_call_is_dropped_where_running_ones_leave_no_room_and_nobody_is_evicted_for_it() -> None:
    tally = played([(0, 0), (200, 2), (205, 1), (2_000, 0)], 350, Lru())
    assert tally.dropped.tolist() == [0, 1, 0]
    assert tally.warm.tolist() == [1, 0, 0]


def test_a_fixed_time_ends_by_itself() -> None:
    policy = FixedTtl(EvictionParams(ttl_us=500))
    assert cold([(0, 0), (610, 0)], 1_000, policy) == [1, 0, 0]
    assert cold([(0, 0), (611, 0)], 1_000, policy) == [2, 0, 0]


def test_lru_evicts_whoever_was_used_longest_ago_and_greedy_dual_whoever_is_cheap_to_start() -> None:
    # Room for two of three; the slow one was used first, then the small one, then another function comes.
    other = Kind("a/other", 100, 10, 110)
    kinds = (SMALL, SLOW, other)
    calls = [(0, 1), (5_000, 0), (10_000, 2), (15_000, 0), (20_000, 1)]
    assert played(calls, 200, Lru(), kinds).cold.tolist() == [1, 2, 1]
    assert played(calls, 200, GreedyDual(), kinds).cold.tolist() == [2, 1, 1]


def test_each_variant_of_greedy_dual_leaves_out_what_it_says() -> None:
    # Used twice and large against used once and small: only what looks at the size evicts the large one.
    calls = [(0, 1), (5_000, 1), (10_000, 0), (15_000, 2), (20_000, 1)]
    large_again = {type(p).__name__: played(calls, 450, p).cold[1] for p in (Frequency(), Size(), Landlord())}
    assert large_again == {"Frequency": 1, "Size": 2, "Landlord": 2}


def test_overhead_is_what_cold_starts_add_over_the_time_that_all_would_take_warm() -> None:
    tally = played([(0, 0), (200, 0), (5_000, 2)], 1_000, Lru())
    assert tally.overhead(KINDS) == pytest.approx((100 + 1_000) / 30)


CALLS = st.dictionaries(st.integers(0, 750).map(lambda at: 4 * at), st.integers(0, 2), min_size=1, max_size=30).map(
    lambda calls: sorted(calls.items())
)
APART = (Kind("a/small", 100, 9, 110), Kind("a/large", 300, 9, 110), Kind("a/slow", 100, 9, 1_011))
"""No two containers become idle at once: calls are 4 apart, and how long they last differs by no multiple of that."""


@settings(max_examples=8)
@given(calls=CALLS, capacity_mib=st.integers(50, 900))
def test_the_pool_says_what_one_that_scans_all_containers_says(calls: list[Call], capacity_mib: int) -> None:
    tally = played(calls, capacity_mib, Lru(), APART)
    containers: list[list[int]] = []  # function, busy until; in the order that they came
    counts = np.zeros((3, len(APART)), np.int64)
    for now_us, index in calls:
        kind = APART[index]
        idle = [c for c in containers if c[1] <= now_us]
        mine = [c for c in idle if c[0] == index]
        if mine:
            latest = max(mine, key=lambda c: c[1])
            latest[1] = now_us + kind.warm_us
            counts[0, index] += 1
            continue
        free = capacity_mib - sum(APART[c[0]].memory_mib for c in containers)
        if free + sum(APART[c[0]].memory_mib for c in idle) < kind.memory_mib:
            counts[2, index] += 1
            continue
        for victim in sorted(idle, key=lambda c: c[1]):
            if free < kind.memory_mib:
                containers.remove(victim)
                free += APART[victim[0]].memory_mib
        containers.append([index, now_us + kind.cold_us])
        counts[1, index] += 1
    assert [tally.warm.tolist(), tally.cold.tolist(), tally.dropped.tolist()] == counts.tolist()
