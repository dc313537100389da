"""Eviction policies: who leaves first when memory is needed, and who leaves by itself and when."""

from typing import Any

import pytest

from stoker.errors import UnknownName
from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.interface import EvictionParams, IdleResident
from stoker.policies.eviction.registry import EVICTION, make_eviction, make_keep_alive
from stoker.policies.prewarm.histogram import BIN_US, MIN_SAMPLES
from stoker.policies.prewarm.interface import ArrivalHistory

pytestmark = pytest.mark.unit

S = 1_000_000
NOW = 1_000 * S


def resident(flow: str = "default/f", **fields: Any) -> IdleResident:
    facts = {
        "memory_mib": 1_000,
        "reload_us": 5 * S,
        "exec_us": 100_000,
        "latency_us": S,
        "ttl_us": 300 * S,
        "loaded_us": 0,
        "idle_since_us": 900 * S,
        "uses": 10,
        "clock": 0.0,
    }
    return IdleResident(flow=flow, **{**facts, **fields})


def order(name: str, **residents: IdleResident) -> list[str]:
    """Who leaves, one after the other."""
    policy = make_eviction(name)
    return sorted(residents, key=lambda one: policy.value(residents[one], NOW))


def stays_us(name: str, one: IdleResident, **params: Any) -> int | None:
    until_us = make_eviction(name, EvictionParams(**params)).keep_until_us(one)
    return None if until_us is None else until_us - one.idle_since_us


def test_lru_evicts_whoever_was_used_longest_ago_and_nobody_leaves_by_itself() -> None:
    assert order("lru", late=resident(), early=resident(idle_since_us=800 * S)) == ["early", "late"]
    assert stays_us("lru", resident()) is None


def test_greedy_dual_keeps_what_was_used_after_the_last_victim_left() -> None:
    aged = resident(clock=6e4)
    assert order("greedy-dual", old=resident(), aged=aged, big=resident(memory_mib=9_000)) == ["big", "old", "aged"]
    assert stays_us("greedy-dual", resident()) is None


def test_light_functions_leave_before_heavy_ones_and_each_kind_by_recency() -> None:
    light: dict[str, Any] = {"reload_us": 100_000}
    found = order(
        "light-first",
        heavy=resident(idle_since_us=100 * S),
        light=resident(**light),
        light_early=resident(**light, idle_since_us=800 * S),
        heavy_early=resident(idle_since_us=50 * S),
    )
    assert found == ["light_early", "light", "heavy_early", "heavy"]
    assert stays_us("light-first", resident()) is None


def test_a_fixed_ttl_is_the_functions_own_or_one_for_all() -> None:
    assert stays_us("fixed-ttl", resident()) == 300 * S
    assert stays_us("fixed-ttl", resident(), ttl_us=7 * S) == 7 * S
    # Who would leave first anyway goes first when memory is needed.
    assert order("fixed-ttl", long=resident(), short=resident(ttl_us=S)) == ["short", "long"]


def test_ski_rental_stays_until_holding_has_cost_what_a_start_does() -> None:
    assert stays_us("ski-rental", resident()) == 300 * S
    assert stays_us("ski-rental", resident(reload_us=S)) == 60 * S
    assert stays_us("ski-rental", resident(share=0.25)) == 1_200 * S
    assert stays_us("ski-rental", resident(), wait_weight=1) == 5 * S
    assert stays_us("ski-rental", resident(share=0.0)) == 64 * 300 * S


def test_a_drawn_stay_is_the_same_within_one_idle_period_and_another_in_the_next() -> None:
    drawn = [stays_us("ski-rental-random", resident(episode=episode)) for episode in range(50)]
    assert drawn == [stays_us("ski-rental-random", resident(episode=episode)) for episode in range(50)]
    assert len(set(drawn)) == 50
    assert all(stay is not None and 0 <= stay <= 300 * S for stay in drawn)
    assert drawn[0] != stays_us("ski-rental-random", resident(), seed=1)
    assert drawn[0] != stays_us("ski-rental-random", resident("default/g"))


def test_the_hybrid_histogram_stays_to_the_tail_and_for_the_ttl_where_nothing_is_known() -> None:
    history = ArrivalHistory(counts={30: MIN_SAMPLES}, last_us=0, woken_us=0)
    assert stays_us("hybrid-histogram", resident(history=history)) == int(31 * BIN_US * 1.1)
    assert stays_us("hybrid-histogram", resident(history=history, comes_back=True)) == 0
    assert stays_us("hybrid-histogram", resident(history=ArrivalHistory())) == 300 * S
    assert stays_us("hybrid-histogram", resident()) == 300 * S
    often = ArrivalHistory(counts={0: MIN_SAMPLES}, last_us=0, woken_us=0)
    assert stays_us("hybrid-histogram", resident(history=often, comes_back=True)) == int(BIN_US * 1.1)


def test_slack_value_keeps_the_one_whose_callers_would_be_late() -> None:
    model = resident(latency_us=60 * S, reload_us=10 * S)
    small = resident(latency_us=200_000, reload_us=2 * S)
    assert order("slack-value", model=model, small=small) == ["model", "small"]
    # Greedy-dual sees the start-up time only.
    assert order("greedy-dual", model=model, small=small) == ["small", "model"]


def test_slack_value_counts_requests_that_come_while_the_start_has_no_slack_left() -> None:
    policy = make_eviction("slack-value")

    def value(**fields: Any) -> float:
        return policy.value(resident(**fields), NOW)

    half, all_of_it, twice = (value(reload_us=us) for us in (450_000, 900_000, 1_800_000))
    assert all_of_it == 2 * half, "a start within the slack harms by the part of it that it takes"
    assert all_of_it < twice < 2 * all_of_it
    assert value(uses=20) > 2 * value(), "more requests, and more of them late"
    assert value(memory_mib=2_000) == value() / 2
    assert value(exec_us=S) == 0.0, "late even when warm"
    assert value(loaded_us=NOW - S) == value(loaded_us=NOW - 5 * S), "one request is no stream"
    assert policy.value(resident(), NOW + 100 * S) < value(), "what is not used loses value"


@pytest.mark.parametrize("name", sorted(EVICTION))
def test_what_a_resident_is_worth_stays_while_it_is_idle_unless_the_policy_says_otherwise(name: str) -> None:
    policy, one = make_eviction(name), resident()
    now, later = policy.value(one, NOW), policy.value(one, NOW + 3_600 * S)
    assert (now != later) == policy.fades


def test_each_keep_alive_policy_is_one_of_these() -> None:
    for policy in KeepAlivePolicy:
        assert make_keep_alive(policy).keep_alive is policy
    named = {make().keep_alive for make in EVICTION.values()} - {None}
    assert named == set(KeepAlivePolicy)


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="fixed-ttl, greedy-dual"):
        make_eviction("oldest")
