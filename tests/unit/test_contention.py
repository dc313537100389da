"""How much of a function may be queued while its devices are contended."""

import pytest

from stoker.max_min import max_min
from stoker.model.function import Priority
from stoker.policies.queueing.interface import Weights
from stoker.slots.contention import EVERY_US, LONG, MOST_PERCENT, WINDOW_US, Contention

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


def shares_ms(contention: Contention, now_us: int = 0) -> dict[str, int | None]:
    """Of each flow what it is bound to; None: it is not."""
    bound = {flow: contention.is_bound(flow, POOL, now_us) for flow in POOL[0][1]}
    return {flow: contention.share_us(flow) // MS if is_bound else None for flow, is_bound in bound.items()}


def test_nobody_is_bound_while_less_is_asked_than_there_is() -> None:
    assert set(shares_ms(asked({"a/f": 900, "b/h": 900})).values()) == {None}


def test_who_asks_for_more_than_its_share_is_bound_to_it() -> None:
    # Namespaces share two servers: one second each. b/h leaves nothing, a/g asks for less than half of its namespace's.
    assert shares_ms(asked({"a/f": 5_000, "a/g": 200, "b/h": 4_000})) == {"a/f": 800, "a/g": None, "b/h": 1_000}


def waits_at_most(contention: Contention, flow: str, servers: int, now_us: int = 0) -> int:
    """How many may wait in the pool so that one more of the flow, which can hardly wait, is still taken."""
    assert contention.is_bound(flow, POOL, now_us)
    limits = [contention.limit_us(flow, 1_000 * MS, waiting, servers, now_us) for waiting in range(50)]
    assert set(limits) == {None, 0}
    assert None not in limits[limits.index(0) :]
    return limits.index(0) - 1


def test_who_is_bound_is_taken_while_few_wait_so_that_no_slot_idles() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    assert [waits_at_most(contention, "a/f", servers) for servers in (1, 2, 3, 8)] == [1, 2, 3, 11]


def test_shares_follow_the_weights_of_namespaces_and_functions() -> None:
    weights = Weights({"a/f": 3}, {"b": 3})
    contention = asked({"a/f": 5_000, "a/g": 5_000, "b/h": 5_000}, weights)
    assert shares_ms(contention) == {"a/f": 375, "a/g": 125, "b/h": 1_500}


def test_what_a_higher_priority_asks_is_not_shared() -> None:
    contention = asked({"a/f": 5_000})
    contention.ask("b/h", Priority.CRITICAL, 1_500 * MS, 0)
    contention.ask("a/g", Priority.BATCH, 1_500 * MS, 0)
    assert shares_ms(contention) == {"a/f": 500, "a/g": 0, "b/h": None}
    assert waits_at_most(contention, "a/g", 1) == 0, "nothing is left for the last, but for what would idle"


def test_nobody_is_bound_who_is_alone() -> None:
    assert set(shares_ms(asked({"a/f": 50_000})).values()) == {None}


def test_a_burst_that_may_wait_for_seconds_is_taken_about_as_long_as_it_may_wait() -> None:
    contention = asked({"a/f": 50_000, "b/h": 50_000})
    assert contention.is_bound("a/f", POOL, 0)
    contention.take("a/f", 40_000 * MS, 0)
    assert contention.limit_us("a/f", 60_000 * MS, 10, 2, 0) == 59_000 * MS
    assert contention.limit_us("a/f", 30_000 * MS, 10, 2, 0) == 0, "it had more than its share in 29 s"


def test_demand_that_has_passed_binds_nobody() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    assert shares_ms(contention)["a/f"] is not None
    half = WINDOW_US + WINDOW_US // 2
    assert shares_ms(contention, half)["a/f"] is not None, "half of it is within the last second: 2.5 s of work"
    assert shares_ms(contention, 2 * WINDOW_US)["a/f"] is None
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
    bound = shares_ms(contention, end_us)
    assert bound["a/f"] is None
    assert bound["b/h"] is not None


def test_a_little_too_much_on_average_binds_who_asks_for_much_more_than_its_share() -> None:
    end_us = LONG * WINDOW_US
    assert set(shares_ms(ask_for(LONG, {"a/f": 1_100, "b/h": 1_100}), end_us).values()) == {None}
    bound = shares_ms(ask_for(LONG, {"a/f": 760, "b/h": 1_630}), end_us)
    assert bound["a/f"] is None
    assert bound["b/h"] is not None
    assert set(shares_ms(ask_for(LONG, {"a/f": 760, "b/h": 1_240}), end_us).values()) == {None}


def test_an_average_begins_anew_after_a_second_without_demand() -> None:
    contention = Contention()
    for flow in ("a/f", "b/h"):
        contention.ask(flow, STANDARD, 10 * MS, 0)
    later_us = 3 * WINDOW_US
    for flow in ("a/f", "b/h"):
        contention.ask(flow, STANDARD, 4_000 * MS, later_us)
    assert None not in [shares_ms(contention, later_us)[flow] for flow in ("a/f", "b/h")], "quiet times earn no credit"


def test_shares_are_looked_at_again_now_and_then_only() -> None:
    contention = asked({"a/f": 100, "b/h": 100})
    assert shares_ms(contention)["a/f"] is None
    contention.ask("a/f", STANDARD, 9_000 * MS, 1)
    assert shares_ms(contention, EVERY_US - 1)["a/f"] is None
    assert shares_ms(contention, EVERY_US)["a/f"] == 1_900


def test_max_min_gives_whoever_asks_for_little_what_it_asks_for_and_the_others_the_rest_by_weight() -> None:
    assert max_min({"a": 1, "b": 100, "c": 100}, {"c": 2}, 31) == {"a": 1, "b": 10, "c": 20}
    assert max_min({"a": 3, "b": 4}, {}, 100) == {"a": 3, "b": 4}
    assert max_min({"a": 3}, {}, -1) == {"a": 0}
    assert max_min({}, {}, 10) == {}


def test_who_took_more_than_its_share_lately_is_taken_while_fewer_wait() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    contention.take("a/f", 10 * MOST_PERCENT * MS - 1, 0)
    assert waits_at_most(contention, "a/f", 2) == 2
    contention.take("a/f", 1, 0)
    assert waits_at_most(contention, "a/f", 2) == 1
    assert waits_at_most(contention, "b/h", 2) == 2, "the other one had nothing"
    contention.ask("a/f", STANDARD, 5_000 * MS, WINDOW_US)
    later_us = WINDOW_US + WINDOW_US // 2
    assert waits_at_most(contention, "a/f", 2, later_us) == 2, "half of it is longer ago than a second"
