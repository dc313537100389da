"""How much of a function may be queued while its devices are contended."""

import pytest

from stoker.max_min import max_min
from stoker.model.function import Priority
from stoker.policies.queueing.interface import Weights
from stoker.slots.contention import EVERY_US, NONE_US, WINDOW_US, Contention

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


def test_who_asks_for_more_than_its_share_may_queue_what_the_share_does_within_the_objective() -> None:
    # Namespaces share two servers: one second each. b/h leaves nothing, a/g asks for less than half of its namespace's.
    limits = limits_ms(asked({"a/f": 5_000, "a/g": 200, "b/h": 4_000}))
    assert limits == {"a/f": 800, "a/g": None, "b/h": 1_000}
    assert limits_ms(asked({"a/f": 5_000, "a/g": 200, "b/h": 4_000}), objective_ms=100)["a/f"] == 80


def test_shares_follow_the_weights_of_namespaces_and_functions() -> None:
    weights = Weights({"a/f": 3}, {"b": 3})
    limits = limits_ms(asked({"a/f": 5_000, "a/g": 5_000, "b/h": 5_000}, weights))
    assert limits == {"a/f": 375, "a/g": 125, "b/h": 1_500}


def test_what_a_higher_priority_asks_is_not_shared() -> None:
    contention = asked({"a/f": 5_000})
    contention.ask("b/h", Priority.CRITICAL, 1_500 * MS, 0)
    contention.ask("a/g", Priority.BATCH, 1_500 * MS, 0)
    assert contention.limit_us("a/g", 1_000 * MS, POOL, 0) == NONE_US, "nothing is left for the last"
    assert contention.limit_us("a/f", 1_000 * MS, POOL, 0) == 500 * MS
    assert contention.limit_us("b/h", 1_000 * MS, POOL, 0) is None


def test_nobody_is_bound_who_is_alone() -> None:
    assert set(limits_ms(asked({"a/f": 50_000})).values()) == {None}


def test_a_burst_that_may_wait_for_long_is_taken_as_long_as_it_may_wait() -> None:
    contention = asked({"a/f": 50_000, "b/h": 50_000})
    contention.take("a/f", 40_000 * MS, 0)
    assert contention.limit_us("a/f", 60_000 * MS, POOL, 0) == 60_000 * MS
    assert contention.limit_us("a/f", 30_000 * MS, POOL, 0) == NONE_US


def test_demand_that_has_passed_binds_nobody() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    assert limits_ms(contention)["a/f"] == 1_000
    half = WINDOW_US + WINDOW_US // 2
    assert limits_ms(contention, half)["a/f"] == 1_000, "half of it is within the last second: 2.5 s of work"
    assert limits_ms(contention, 2 * WINDOW_US)["a/f"] is None


def test_shares_are_looked_at_again_now_and_then_only() -> None:
    contention = asked({"a/f": 100, "b/h": 100})
    assert limits_ms(contention)["a/f"] is None
    contention.ask("a/f", STANDARD, 9_000 * MS, 1)
    assert limits_ms(contention, EVERY_US - 1)["a/f"] is None
    assert limits_ms(contention, EVERY_US)["a/f"] == 1_900


def test_max_min_gives_whoever_asks_for_little_what_it_asks_for_and_the_others_the_rest_by_weight() -> None:
    assert max_min({"a": 1, "b": 100, "c": 100}, {"c": 2}, 31) == {"a": 1, "b": 10, "c": 20}
    assert max_min({"a": 3, "b": 4}, {}, 100) == {"a": 3, "b": 4}
    assert max_min({"a": 3}, {}, -1) == {"a": 0}
    assert max_min({}, {}, 10) == {}


def test_who_took_more_than_its_share_lately_gets_what_is_free_only() -> None:
    contention = asked({"a/f": 5_000, "b/h": 5_000})
    contention.take("a/f", 1_099 * MS, 0)
    assert limits_ms(contention)["a/f"] == 1_000
    contention.take("a/f", MS, 0)
    assert contention.limit_us("a/f", 1_000 * MS, POOL, 0) == NONE_US
    assert limits_ms(contention)["b/h"] == 1_000
    contention.ask("a/f", STANDARD, 5_000 * MS, WINDOW_US)
    later = contention.limit_us("a/f", 1_000 * MS, POOL, WINDOW_US + WINDOW_US // 2)
    assert later is not None
    assert later > 0, "half of it is longer ago than a second"
