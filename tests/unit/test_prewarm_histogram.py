"""The hybrid histogram: what it learns, what it predicts, and what plan() does with it."""

import pytest
from planning_world import S, World, gpus, make_function

from stoker.control.planning import Start
from stoker.model.function import KeepAlivePolicy, PreWarm, PreWarmPolicy
from stoker.policies.prewarm.histogram import BIN_US, BINS, MIN_SAMPLES, REMEMBERED, Windows, expected, learn
from stoker.policies.prewarm.interface import NOTHING, ArrivalHistory, Forecast, Outlook
from stoker.policies.prewarm.registry import PREWARM

pytestmark = pytest.mark.unit

MINUTE = BIN_US


def history(*minutes: float, last_us: int = 0) -> ArrivalHistory:
    """Arrivals after so many idle minutes each."""
    found = learn(ArrivalHistory(), last_us, last_us, busy=False)
    at_us = last_us
    for idle in minutes:
        at_us += int(idle * MINUTE)
        found = learn(found, at_us, at_us, busy=False)
    return found


def forecast(known: ArrivalHistory, now_us: int, lead_us: int = 5 * S, keep_max_us: int | None = None) -> Forecast:
    pre_warm = PreWarm(policy=PreWarmPolicy.HISTOGRAM)
    outlook = Outlook(
        pre_warm=pre_warm, history=known, now_us=now_us, wall_us=0, lead_us=lead_us, keep_max_us=keep_max_us
    )
    return PREWARM[PreWarmPolicy.HISTOGRAM].forecast(outlook)


def test_each_arrival_counts_once_by_the_idle_time_before_it() -> None:
    known = history(5, 5, 12, 300)
    assert known.counts == {5: 2, 12: 1}
    assert known.beyond == 1
    assert learn(known, known.woken_us, 999 * MINUTE, busy=False) is known
    assert learn(known, 3, 999 * MINUTE, busy=False) is known, "a gateway that forgot does not bring arrivals back"


def test_idle_time_counts_from_the_end_of_the_work_not_from_the_last_arrival() -> None:
    known = learn(ArrivalHistory(), 0, 0, busy=True)
    known = learn(known, 0, 7 * MINUTE, busy=True)
    known = learn(known, 10 * MINUTE, 10 * MINUTE, busy=False)
    assert known.counts == {3: 1}


def test_work_before_any_arrival_is_known_is_no_history() -> None:
    assert learn(ArrivalHistory(), None, 5 * S, busy=True) == ArrivalHistory()


def test_old_habits_fade() -> None:
    known = ArrivalHistory(counts={5: REMEMBERED - 1, 9: 1}, last_us=0, woken_us=0)
    known = learn(known, 5 * MINUTE, 5 * MINUTE, busy=False)
    assert known.counts == {5: REMEMBERED // 2}


@pytest.mark.parametrize(
    ("known", "windows"),
    [
        (history(*[30] * (MIN_SAMPLES - 1)), None),
        (history(*[30] * MIN_SAMPLES), Windows(27 * MINUTE, int(31 * MINUTE * 1.1))),
        (history(*[0.5] * 50), Windows(0, int(MINUTE * 1.1))),
        # 5 % come after 10 minutes, 99 % by the 40th.
        (history(*[10] * 10, *[30] * 85, *[40] * 10), Windows(9 * MINUTE, int(41 * MINUTE * 1.1))),
        # Half of them are longer than the histogram: nothing is known.
        (history(*[30] * 10, *[BINS + 5] * 10), None),
        # Flat: any minute is as likely as any other.
        (ArrivalHistory(counts=dict.fromkeys(range(BINS), 3), last_us=0, woken_us=0), None),
    ],
)
def test_what_the_histogram_shows(known: ArrivalHistory, windows: Windows | None) -> None:
    assert expected(known) == windows


def test_between_head_and_tail_one_replica_is_wanted_early_enough() -> None:
    known = history(*[30] * MIN_SAMPLES)
    last_us = known.last_us or 0
    begin_us, end_us = last_us + 27 * MINUTE - 5 * S, last_us + int(31 * MINUTE * 1.1)
    assert forecast(known, last_us) == Forecast(until_us=begin_us)
    assert forecast(known, begin_us) == Forecast(weak=1, until_us=end_us)
    assert forecast(known, end_us) == NOTHING
    assert forecast(history(30), last_us) == NOTHING


def regular(keep_alive: KeepAlivePolicy = KeepAlivePolicy.HYBRID_HISTOGRAM, **fields: object) -> World:
    """A function that is called every half hour, with the habit already learned."""
    function = make_function(
        pre_warm=PreWarm(policy=PreWarmPolicy.HISTOGRAM),
        keep_alive=keep_alive,
        keep_alive_ttl_us=600 * S,
        **fields,  # type: ignore[arg-type]
    )
    world = World([function], gpus(1))
    for _ in range(MIN_SAMPLES + 1):
        world.call("f")
        world.now_us += 30 * MINUTE
        world.settle()
        world.plan()
    return world


def test_a_function_called_every_half_hour_is_warm_before_each_call_and_gone_in_between() -> None:
    world = regular()
    world.call("f")
    world.run(30 * S, by_us=S)
    assert world.warm("f") == 0
    assert len(world.memory.functions["default/f"].arrivals.counts) > 0
    world.run(26 * MINUTE, by_us=10 * S)
    assert world.replicas == {}
    world.run(MINUTE, by_us=S)
    assert world.warm("f") == 1
    # Nobody calls this time: it goes after the tail.
    world.run(10 * MINUTE, by_us=10 * S)
    assert world.replicas == {}


def test_with_a_fixed_keep_alive_the_replica_stays_for_it_and_comes_back_before_the_call() -> None:
    world = regular(KeepAlivePolicy.FIXED_TTL)
    world.call("f")
    world.run(9 * MINUTE, by_us=10 * S)
    assert world.warm("f") == 1
    world.run(5 * MINUTE, by_us=10 * S)
    assert world.replicas == {}
    world.run(14 * MINUTE, by_us=10 * S)
    assert world.warm("f") == 1


def test_a_predicted_call_takes_no_device_from_anybody() -> None:
    world = regular()
    world.functions["default/other"] = make_function("other", keep_alive_ttl_us=3600 * S)
    world.call("f")
    world.run(10 * S, by_us=S)
    world.want("other", 1)
    world.until(lambda: world.warm("other") == 1)
    world.want("other", 0)
    world.run(30 * MINUTE, by_us=10 * S)
    assert world.warm("other") == 1
    assert not any(isinstance(a, Start) and a.function.name == "f" and at > world.now_us - 20 * MINUTE
                   for at, a in world.actions)  # fmt: skip


def test_hybrid_keep_alive_alone_keeps_until_the_tail() -> None:
    function = make_function(keep_alive=KeepAlivePolicy.HYBRID_HISTOGRAM, keep_alive_ttl_us=2 * S)
    world = World([function], gpus(1))
    for _ in range(MIN_SAMPLES + 1):
        world.call("f")
        world.now_us += 10 * MINUTE
        world.settle()
        world.plan()
    world.call("f")
    world.run(10 * MINUTE, by_us=10 * S)
    assert world.warm("f") == 1
    world.run(4 * MINUTE, by_us=10 * S)
    assert world.replicas == {}


def test_the_policy_of_the_platform_acts_where_the_function_names_none_and_history_is_dropped_with_it() -> None:
    world = World([make_function()], gpus(1), pre_warm=PreWarmPolicy.HISTOGRAM)
    world.call("f")
    assert world.memory.functions["default/f"].arrivals.last_us is not None
    world.functions["default/f"] = make_function(pre_warm=PreWarm())
    world.step()
    assert world.memory.functions["default/f"].arrivals == ArrivalHistory()


def test_the_administrators_bound_shortens_every_keep_alive() -> None:
    world = World([make_function(keep_alive_ttl_us=3600 * S)], gpus(1), keep_alive_max_us=5 * S)
    world.call("f")
    world.run(8 * S, by_us=S)
    assert world.replicas == {}


def test_the_administrators_bound_shortens_what_is_kept_for_the_next_call() -> None:
    often = history(*[0.5] * 18, 30, 30)
    last_us = often.last_us or 0
    assert expected(often) == Windows(0, int(31 * MINUTE * 1.1))
    assert forecast(often, last_us, keep_max_us=MINUTE) == Forecast(weak=1, until_us=last_us + MINUTE)
    assert forecast(often, last_us + MINUTE, keep_max_us=MINUTE) == NOTHING
    assert forecast(often, last_us, keep_max_us=600 * MINUTE).until_us == last_us + int(31 * MINUTE * 1.1)
    assert forecast(often, last_us, keep_max_us=0) == NOTHING
    # One that is brought back for the call is idle since it is warm.
    rarely = history(*[30] * 12)
    last_us, head_us = rarely.last_us or 0, int(30 * MINUTE * 0.9)
    assert forecast(rarely, last_us, keep_max_us=MINUTE) == Forecast(until_us=last_us + head_us - 5 * S)
    warm_us = last_us + head_us
    assert forecast(rarely, warm_us, keep_max_us=MINUTE) == Forecast(weak=1, until_us=warm_us + MINUTE)
    assert forecast(rarely, warm_us + MINUTE, keep_max_us=MINUTE) == NOTHING


def test_a_replica_that_a_histogram_would_keep_goes_at_the_administrators_bound() -> None:
    function = make_function(
        keep_alive=KeepAlivePolicy.HYBRID_HISTOGRAM, pre_warm=PreWarm(policy=PreWarmPolicy.HISTOGRAM)
    )
    world = World([function], gpus(1), keep_alive_max_us=20 * S)
    for idle in [*[MINUTE // 2] * 18, 30 * MINUTE, 30 * MINUTE]:
        world.call("f")
        world.now_us += idle
        world.settle()
        world.plan()
    world.call("f")
    windows = expected(world.memory.functions["default/f"].arrivals)
    assert windows is not None
    assert windows.head_us == 0
    world.run(10 * S, by_us=S)
    assert world.warm("f") == 1
    world.run(20 * S, by_us=S)
    assert world.replicas == {}
