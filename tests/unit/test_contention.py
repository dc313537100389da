"""How much of a function may be queued while its devices are contended."""

import pytest

from stoker.max_min import max_min
from stoker.model.function import Priority
from stoker.policies.queueing.interface import Weights
from stoker.slots.contention import EVERY_US, LONG, MOST_PERCENT, NONE_US, QUEUED_PERCENT, WINDOW_US, Contention

pytestmark = pytest.mark.unit

STANDARD = Priority.STANDARD
MS = 1_000
POOL = [(2, ["a/f", "a/g", "b/h"])]


def asked(demands_ms: dict[str, int], weights: Weights = Weights(), now_us: int = 0) -> Contention:  # noqa: B008
    contention = Contention()
    contention.set_weights(weights)
    for flow, demand_ms in demands_ms.items():
        contention.ask(flow, STANDARD, demand_ms * MS, now_us)
    return contention


def limits_ms(contention: Contention, now_us: int = 0, objective_ms: int = 1_000) -> dict[str, int | None]:
    found = {flow: contention.limit_us(flow, objective_ms * MS, POOL, now_us) for flow in POOL[0][1]}
    return {flow: None if limit is None else limit // MS for flow, limit in found.items()}


def test_nobody_is_bound_while_less_is_asked_than_there_is() -> None:
    assert set(limits_ms(asked({"a/f": 900, "b/h": 900})).values()) == {None}


def queued_ms(share_ms: int, longest_ms: int = 1_000) -> int:
    return share_ms * (longest_ms * QUEUED_PERCENT // 100) // 1_000


def test_who_asks_for_more_than_its_share_may_queue_what_keeps_its_share_of_the_slots_busy() -> None:
    # Namespaces share two servers: one second each. b/h leaves nothing, a/g asks for less than half of its namespace's.
    limits = limits_ms(asked({"a/f": 5_000, "a/g": 200, "b/h": 4_000}))
    assert limits == {"a/f": queued_ms(800), "a/g": None, "b/h": queued_ms(1_000)}
    assert limits_ms(asked({"a/f": 5_000, "a/g": 200, "b/h": 4_000}), objective_ms=100)["a/f"] == queued_ms(800, 100)


def test_shares_follow_the_weights_of_namespaces_and_functions() -> None:
    weights = Weights({"a/f": 3}, {"b": 3})
    contention = asked({"a/f": 5_000, "a/g": 5_000, "b/h": 5_000}, weights)
    assert None not in limits_ms(contention).values()
    assert {flow: contention.share_us(flow) // MS for flow in POOL[0][1]} == {"a/f": 375, "a/g": 125, "b/h": 1_500}


def test_what_a_higher_priority_asks_is_not_shared() -> None:
    contention = asked({"a/f": 5_000})
    contention.ask("b/h", Priority.CRITICAL, 1_500 * MS, 0)
    contention.ask("a/g", Priority.BATCH, 1_500 * MS, 0)
    assert contention.limit_us("a/g", 1_000 * MS, POOL, 0) == NONE_US, "nothing is left for the last"
    assert contention.limit_us("a/f", 1_000 * MS, POOL, 0) == queued_ms(500) * MS
    assert contention.limit_us("b/h", 1_000 * MS, POOL, 0) is None


def test_nobody_is_bound_who_is_alone() -> None:
    assert set(limits_ms(asked({"a/f": 50_000})).values()) == {None}


def test_a_burst_that_may_wait_for_seconds_is_taken_about_as_long_as_it_may_wait() -> None:
    contention = asked({"a/f": 50_000, "b/h": 50_000})
    contention.take("a/f", 40_000 * MS, 0)
    assert contention.limit_us("a/f", 60_000 * MS, POOL, 0) == 59_000 * MS
    assert contention.limit_us("a/f", 30_000 * MS, POOL, 0) == NONE_US


def test_demand_that_has_passed_binds_nobody() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    assert limits_ms(contention)["a/f"] is not None
    half = WINDOW_US + WINDOW_US // 2
    assert limits_ms(contention, half)["a/f"] is not None, "half of it is within the last second: 2.5 s of work"
    assert limits_ms(contention, 2 * WINDOW_US)["a/f"] is None
    assert contention.share_us("a/f") == 0


def ask_for(seconds: int, demands_ms: dict[str, int]) -> Contention:
    """So much in each of so many seconds, evenly."""
    contention = Contention()
    for tenth in range(10 * seconds):
        for flow, demand_ms in demands_ms.items():
            contention.ask(flow, STANDARD, demand_ms * MS // 10, tenth * WINDOW_US // 10)
    return contention


def test_a_burst_of_a_second_binds_nobody_who_asks_for_less_than_its_share_on_average() -> None:
    contention = ask_for(LONG, {"a/f": 500, "b/h": 5_000})
    end_us = LONG * WINDOW_US
    contention.ask("a/f", STANDARD, 1_500 * MS, end_us)
    limits = limits_ms(contention, end_us)
    assert limits["a/f"] is None
    assert limits["b/h"] is not None


def test_a_little_too_much_on_average_binds_who_asks_for_much_more_than_its_share() -> None:
    end_us = LONG * WINDOW_US
    assert set(limits_ms(ask_for(LONG, {"a/f": 1_100, "b/h": 1_100}), end_us).values()) == {None}
    limits = limits_ms(ask_for(LONG, {"a/f": 760, "b/h": 1_630}), end_us)
    assert limits["a/f"] is None
    assert limits["b/h"] is not None
    assert set(limits_ms(ask_for(LONG, {"a/f": 760, "b/h": 1_240}), end_us).values()) == {None}


def test_an_average_begins_anew_after_a_second_without_demand() -> None:
    contention = Contention()
    for flow in ("a/f", "b/h"):
        contention.ask(flow, STANDARD, 10 * MS, 0)
    later_us = 3 * WINDOW_US
    for flow in ("a/f", "b/h"):
        contention.ask(flow, STANDARD, 4_000 * MS, later_us)
    assert None not in [limits_ms(contention, later_us)[flow] for flow in ("a/f", "b/h")], "quiet times earn no credit"


def test_shares_are_looked_at_again_now_and_then_only() -> None:
    contention = asked({"a/f": 100, "b/h": 100})
    assert limits_ms(contention)["a/f"] is None
    contention.ask("a/f", STANDARD, 9_000 * MS, 1)
    assert limits_ms(contention, EVERY_US - 1)["a/f"] is None
    assert limits_ms(contention, EVERY_US)["a/f"] == queued_ms(1_900)


def test_max_min_gives_whoever_asks_for_little_what_it_asks_for_and_the_others_the_rest_by_weight() -> None:
    assert max_min({"a": 1, "b": 100, "c": 100}, {"c": 2}, 31) == {"a": 1, "b": 10, "c": 20}
    assert max_min({"a": 3, "b": 4}, {}, 100) == {"a": 3, "b": 4}
    assert max_min({"a": 3}, {}, -1) == {"a": 0}
    assert max_min({}, {}, 10) == {}


def test_who_took_more_than_its_share_lately_gets_what_is_free_only() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    may_ms = 10 * MOST_PERCENT
    contention.take("a/f", may_ms * MS - 1, 0)
    assert limits_ms(contention)["a/f"] == queued_ms(1_000)
    contention.take("a/f", 1, 0)
    assert contention.limit_us("a/f", 1_000 * MS, POOL, 0) == NONE_US
    assert contention.share_us("a/f") == 1_000 * MS, "what it may have else is still known"
    assert limits_ms(contention)["b/h"] == queued_ms(1_000)
    contention.ask("a/f", STANDARD, 5_000 * MS, WINDOW_US)
    later = contention.limit_us("a/f", 1_000 * MS, POOL, WINDOW_US + WINDOW_US // 2)
    assert later is not None
    assert later > 0, "half of it is longer ago than a second"
