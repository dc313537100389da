"""Idle gaps of a workload, what policies make of them, and how memory in them is counted."""

import numpy as np
import pytest
from sim_workloads import S, workload_of

from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.interface import EvictionParams
from stoker.policies.eviction.registry import make_eviction
from stoker_sim.keep_alive.gaps import Gaps, idle_gaps
from stoker_sim.keep_alive.windows import KeepAlive, Kept, play

pytestmark = pytest.mark.unit

MINUTE = 60 * S
DEVICE_MIB = 40_960


def called(*at_us: int, exec_us: int = S, horizon_us: int = 1_000 * MINUTE, least_us: int = 1) -> Gaps:
    (gaps,) = idle_gaps(workload_of([(at, 0, exec_us) for at in at_us], functions=1, horizon_us=horizon_us), least_us)
    return gaps


def fixed(minutes: int) -> KeepAlive:
    return KeepAlive(make_eviction("fixed-ttl", EvictionParams(ttl_us=minutes * MINUTE)))


def by_the_clock() -> KeepAlive:
    policy = make_eviction("hazard-rate", EvictionParams(wait_weight=3_600))
    return KeepAlive(policy, PreWarmPolicy.HAZARD_RATE, wait_weight=3_600)


def kept(way: KeepAlive, gaps: Gaps, since_us: int = 0) -> Kept:
    (found,) = play([way], gaps, DEVICE_MIB, since_us)
    return found


def test_requests_that_overlap_are_one_busy_time_and_the_trace_ends_idle() -> None:
    gaps = called(0, 3 * S, 20 * S, exec_us=5 * S)
    assert gaps.begin_us.tolist() == [8 * S]
    assert gaps.end_us.tolist() == [20 * S]
    assert (gaps.first_us, gaps.last_us, gaps.horizon_us) == (0, 25 * S, 1_000 * MINUTE)


def test_gaps_that_nobody_would_act_in_count_as_busy() -> None:
    assert len(called(0, 2 * S, 9 * S)) == 2
    gaps = called(0, 2 * S, 9 * S, least_us=2 * S)
    assert gaps.begin_us.tolist() == [3 * S]


def test_functions_without_requests_have_no_gaps_and_are_left_out() -> None:
    found = idle_gaps(workload_of([(0, 1, S)], functions=2))
    assert [gaps.definition.name for gaps in found] == ["f1"]
    assert len(found[0]) == 0


def test_a_fixed_time_is_cold_after_it_and_held_no_longer() -> None:
    found = kept(fixed(10), called(0, 5 * MINUTE, 30 * MINUTE))
    assert found.cold.tolist() == [False, True]
    assert found.held_us.tolist() == [5 * MINUTE - S, 10 * MINUTE]
    assert found.held_after_us == 10 * MINUTE


def test_what_is_held_after_the_last_request_ends_with_the_trace() -> None:
    assert kept(fixed(10), called(0, horizon_us=4 * MINUTE)).held_after_us == 4 * MINUTE - S


def test_memory_counts_from_the_warm_up_on_and_cold_starts_are_left_to_the_caller() -> None:
    gaps = called(0, 5 * MINUTE, 30 * MINUTE)
    found = kept(fixed(10), gaps, since_us=7 * MINUTE)
    assert found.held_us.tolist() == [0, 8 * MINUTE + S]
    assert found.cold.tolist() == [False, True]
    assert kept(fixed(10), gaps, since_us=35 * MINUTE).held_after_us == 5 * MINUTE + S


def test_a_policy_whose_times_are_constant_is_asked_once_and_says_the_same_as_asked_every_time() -> None:
    gaps = called(*np.cumsum([0, 1, 90, 400, 5_000, 601, 600, 2]).tolist(), exec_us=1)
    for name in ("fixed-ttl", "ski-rental"):
        once = KeepAlive(make_eviction(name, EvictionParams(ttl_us=200)))
        always = KeepAlive(make_eviction(name, EvictionParams(ttl_us=200)))
        assert once.is_constant
        always.is_constant = False
        for since_us in (0, 450):
            one, other = kept(once, gaps, since_us), kept(always, gaps, since_us)
            assert one.held_us.tolist() == other.held_us.tolist()
            assert one.cold.tolist() == other.cold.tolist()
            assert one.held_after_us == other.held_after_us


def test_a_function_that_is_called_by_the_clock_is_warm_for_the_calls_and_holds_little_between_them() -> None:
    found = kept(by_the_clock(), called(*(60 * MINUTE * call for call in range(6))))
    # It knows the clock after the first idle time.
    assert found.cold.tolist() == [False, False, False, False, False]
    assert found.held_us[0] == 60 * MINUTE - S
    assert max(found.held_us[3:]) < 20 * MINUTE


def test_a_request_that_comes_while_the_pre_warmed_replica_starts_is_cold() -> None:
    regular = [60 * MINUTE * call for call in range(6)]

    def last(idle_us: int) -> tuple[int, bool]:
        """Memory held in a gap of that length after regular ones, and whether its end is cold."""
        found = kept(by_the_clock(), called(*regular, regular[-1] + S + idle_us))
        return int(found.held_us[-1]), bool(found.cold[-1])

    first_us, _ = last(45 * MINUTE)
    both_us, cold = last(60 * MINUTE)
    assert not cold
    # Of the second time that it is held in this gap; a start takes 1 s.
    begins_us = 60 * MINUTE - (both_us - first_us)
    assert last(begins_us) == (first_us, True)
    assert last(begins_us + S // 2) == (first_us + S // 2, True)
    assert last(begins_us + S) == (first_us + S, False)


def test_ways_that_learn_share_a_history_and_do_not_touch_each_other() -> None:
    gaps = called(*(7 * MINUTE * call for call in range(30)))
    histogram = KeepAlive(make_eviction("hybrid-histogram"), PreWarmPolicy.HISTOGRAM)
    together = play([histogram, by_the_clock(), fixed(3)], gaps, DEVICE_MIB)
    for way, found in zip((histogram, by_the_clock(), fixed(3)), together, strict=True):
        alone = kept(way, gaps)
        assert alone.held_us.tolist() == found.held_us.tolist()
        assert alone.cold.tolist() == found.cold.tolist()
