"""The hazard rate: which minutes it is warm in, how long it stays alone, and what plan() does with it."""

from itertools import pairwise

import pytest
from msgspec import structs
from planning_world import S, World, gpus, make_function

from stoker.model.function import KeepAlivePolicy, PreWarm, PreWarmPolicy, Sharing
from stoker.policies.eviction.interface import EvictionParams, IdleResident
from stoker.policies.eviction.registry import make_eviction
from stoker.policies.prewarm.hazard_rate import holding_us, price, rate, windows
from stoker.policies.prewarm.histogram import BIN_US
from stoker.policies.prewarm.interface import NOTHING, ArrivalHistory, Forecast, Outlook
from stoker.policies.prewarm.registry import PREWARM

pytestmark = pytest.mark.unit

MINUTE = BIN_US
WEIGHT = 180
USUAL = price(1.0, 5 * S, WEIGHT)
UNKNOWN = ArrivalHistory()


def seen(beyond: int = 0, **minutes: int) -> ArrivalHistory:
    """So many idle times by the minute, as in m30=2."""
    counts = {int(name[1:]): count for name, count in minutes.items()}
    return ArrivalHistory(counts=counts, beyond=beyond, last_us=0, woken_us=0)


def minutes_of(history: ArrivalHistory, at_price: float = USUAL) -> list[tuple[int, int]]:
    return [(w.begin_us // MINUTE, w.end_us // MINUTE) for w in windows(history, at_price)]


def test_an_unknown_function_on_a_whole_device_stays_as_long_as_under_ski_rental() -> None:
    idle = IdleResident(flow="a/f", memory_mib=1, reload_us=5 * S, exec_us=1, loaded_us=0, idle_since_us=0, uses=1,
                        clock=0.0)  # fmt: skip
    stays = {name: make_eviction(name).keep_until_us(idle) for name in ("ski-rental", "hazard-rate")}
    assert stays == {"ski-rental": 300 * S, "hazard-rate": 300 * S}


def test_one_idle_time_is_enough_to_be_back_about_as_long_after_the_next_call() -> None:
    assert minutes_of(UNKNOWN) == [(0, 15)]
    assert minutes_of(seen(m30=1)) == [(29, 32)]


def test_two_habits_make_two_windows_and_what_is_rare_makes_none() -> None:
    assert minutes_of(seen(m10=50, m60=50)) == [(9, 12), (59, 62)]
    assert minutes_of(seen(m10=100, m60=1)) == [(9, 12), (59, 62)], "nobody who waits so long calls at another time"
    assert minutes_of(seen(m10=100, m60=1, beyond=9)) == [(9, 12)]


def test_what_outlasts_all_that_was_seen_is_held_by_the_prior_until_its_rate_has_fallen() -> None:
    assert minutes_of(seen(m0=1000)) == [(0, 5)]
    assert minutes_of(seen(m0=1000, m100=50)) == [(0, 1), (99, 102)]


def test_a_cheaper_minute_is_never_left_out_and_no_minute_is_worth_more_than_a_start() -> None:
    known = seen(m0=3, m7=2, m31=4, m200=1, beyond=2)
    warm = [{m for a, b in minutes_of(known, p) for m in range(a, b)} for p in (0.5, 0.1, 0.02, 0.001)]
    assert all(less <= more for less, more in pairwise(warm))
    assert minutes_of(known, 1.5) == []
    assert minutes_of(UNKNOWN, 1e-9) == minutes_of(known, 1e-9) == [(0, 240)]


def test_a_function_with_a_small_share_and_a_slow_start_is_cheap_to_hold() -> None:
    assert price(0.5, 5 * S, WEIGHT) == USUAL / 2
    assert price(1.0, 10 * S, WEIGHT) == pytest.approx(USUAL / 2)
    assert price(0.0, 5 * S, WEIGHT) == USUAL / 64


def test_the_rate_is_of_those_that_lasted_until_the_minute() -> None:
    assert rate(UNKNOWN, 0) == pytest.approx(1 / 11)
    assert rate(seen(m0=2), 0) == pytest.approx((2 + 2 / 11) / (2 + 2))
    # One half of the idle times that end in minute 30 counts there; those of minute 5 are over.
    assert rate(seen(m5=100, m30=2), 30) == pytest.approx((1 + 20 / (40 * 41)) / (1.5 + 20 / 40))


def outlook(known: ArrivalHistory, now_us: int, keep_max_us: int | None = None) -> Outlook:
    return Outlook(
        pre_warm=PreWarm(policy=PreWarmPolicy.HAZARD_RATE),
        history=known,
        now_us=now_us,
        wall_us=0,
        lead_us=7 * S,
        start_us=5 * S,
        wait_weight=WEIGHT,
        keep_max_us=keep_max_us,
    )


def forecast(known: ArrivalHistory, now_us: int, keep_max_us: int | None = None) -> Forecast:
    return PREWARM[PreWarmPolicy.HAZARD_RATE].forecast(outlook(known, now_us, keep_max_us))


def test_one_replica_is_wanted_in_each_window_and_started_before_it() -> None:
    known = seen(m10=50, m60=50)
    first_us, second_us = 9 * MINUTE - 7 * S, 59 * MINUTE - 7 * S
    assert forecast(known, 0) == Forecast(until_us=first_us)
    assert forecast(known, first_us) == Forecast(weak=1, until_us=12 * MINUTE)
    assert forecast(known, 12 * MINUTE) == Forecast(until_us=second_us)
    assert forecast(known, second_us) == Forecast(weak=1, until_us=62 * MINUTE)
    assert forecast(known, 62 * MINUTE) == NOTHING
    assert forecast(UNKNOWN, 0) == NOTHING


def test_the_administrators_bound_shortens_every_window() -> None:
    known = seen(m10=50, m60=50)
    assert forecast(known, 9 * MINUTE, keep_max_us=MINUTE) == Forecast(weak=1, until_us=10 * MINUTE)
    assert forecast(known, 10 * MINUTE, keep_max_us=MINUTE) == Forecast(until_us=59 * MINUTE - 7 * S)
    assert forecast(known, 9 * MINUTE, keep_max_us=0) == NOTHING


def stays_us(known: ArrivalHistory | None, **fields: bool) -> int | None:
    return make_eviction("hazard-rate", EvictionParams(wait_weight=WEIGHT)).keep_until_us(
        IdleResident(flow="a/f", memory_mib=1, reload_us=5 * S, exec_us=1, loaded_us=0, idle_since_us=0, uses=1,
                     clock=0.0, history=known, **fields)
    )  # fmt: skip


def test_what_comes_back_leaves_with_its_window_and_what_does_not_waits_if_that_pays() -> None:
    later, often = seen(m30=9), seen(m0=90, m30=9)
    assert stays_us(later, comes_back=True) == 0
    assert stays_us(often, comes_back=True) == MINUTE
    assert stays_us(often, comes_back=True, brought_back=True) == 0
    assert stays_us(seen(m3=9)) == 5 * MINUTE
    assert stays_us(later) == 0, "half an hour costs more than a start"


def test_holding_pays_to_the_end_of_a_late_window_where_minutes_are_cheap() -> None:
    later = seen(m30=9)
    assert holding_us(later, 0.02) == list(windows(later, 0.02))[-1].end_us
    assert 32 * MINUTE < holding_us(later, 0.02) < 60 * MINUTE


def every(minutes: int, calls: int) -> World:
    function = make_function(pre_warm=PreWarm(policy=PreWarmPolicy.HAZARD_RATE), keep_alive=KeepAlivePolicy.HAZARD_RATE)
    world = World([function], gpus(1), wait_weight=WEIGHT)
    for _ in range(calls):
        world.call("f")
        world.now_us += minutes * MINUTE
        world.settle()
        world.plan()
    return world


def test_after_three_calls_by_the_clock_the_function_is_gone_in_between_and_back_before_the_next() -> None:
    world = every(30, calls=3)
    world.call("f")
    world.run(30 * S, by_us=S)
    assert world.warm("f") == 0
    world.run(27 * MINUTE, by_us=10 * S)
    assert world.replicas == {}
    world.run(2 * MINUTE, by_us=S)
    assert world.warm("f") == 1
    # Nobody calls this time: it goes with the window.
    world.run(5 * MINUTE, by_us=10 * S)
    assert world.replicas == {}


def test_what_was_brought_back_for_nothing_goes_with_its_window_and_not_after_the_first_window_again() -> None:
    world = every(1, calls=1)
    world.call("f")
    known = world.memory.functions["default/f"]
    habits = structs.replace(known.arrivals, counts={**{minute: 640 >> minute for minute in range(7)}, 30: 50})
    world.memory = structs.replace(world.memory, functions={"default/f": structs.replace(known, arrivals=habits)})
    first, second = windows(habits, price(1.0, 2 * S, WEIGHT))
    assert first.begin_us == 0
    assert first.end_us > second.end_us - second.begin_us
    last_us = habits.last_us or 0
    world.run(last_us + first.end_us - world.now_us + 10 * S, by_us=10 * S)
    assert world.replicas == {}
    world.run(last_us + second.begin_us - world.now_us + 10 * S, by_us=5 * S)
    assert world.warm("f") == 1
    world.run(last_us + second.end_us - world.now_us + 10 * S, by_us=5 * S)
    assert world.replicas == {}


def test_what_shares_its_device_is_brought_back_for_rarer_calls() -> None:
    rarely = {10: 100, 60: 1}
    back = []
    for sharing in (Sharing.EXCLUSIVE, Sharing.SHARED):
        function = make_function(
            pre_warm=PreWarm(policy=PreWarmPolicy.HAZARD_RATE),
            keep_alive=KeepAlivePolicy.HAZARD_RATE,
            memory_mib=10_240,
            sharing=sharing,
        )
        world = World([function], gpus(1), wait_weight=WEIGHT)
        world.call("f")
        known = world.memory.functions["default/f"]
        habits = structs.replace(known.arrivals, counts=rarely, beyond=4)
        world.memory = structs.replace(world.memory, functions={"default/f": structs.replace(known, arrivals=habits)})
        world.run((habits.last_us or 0) + 61 * MINUTE - world.now_us, by_us=20 * S)
        back.append(world.warm("f"))
    assert back == [0, 1]
