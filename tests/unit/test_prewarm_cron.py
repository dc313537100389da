"""Cron expressions, and the windows that make replicas before the call."""

from datetime import UTC, datetime

import pytest
from planning_world import S, World, gpus, make_function

from stoker.control.plan import plan
from stoker.control.planning import Plan, Start
from stoker.errors import InvalidObject
from stoker.model.cron import following, latest, parse_cron
from stoker.model.function import Function, PreWarm, PreWarmPolicy, PreWarmWindow
from stoker.policies.prewarm.interface import ArrivalHistory, Outlook
from stoker.policies.prewarm.registry import PREWARM
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

MINUTE = 60 * S


def minute(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 60


def wall(text: str) -> int:
    return minute(text) * MINUTE


def written(number: int | None) -> str:
    assert number is not None
    return datetime.fromtimestamp(number * 60, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("cron", "now", "last", "then"),
    [
        ("* * * * *", "2026-03-04 10:07", "2026-03-04 10:07", "2026-03-04 10:08"),
        ("*/15 * * * *", "2026-03-04 10:07", "2026-03-04 10:00", "2026-03-04 10:15"),
        ("5/20 * * * *", "2026-03-04 10:07", "2026-03-04 10:05", "2026-03-04 10:25"),
        ("0 8 * * 1-5", "2026-03-07 12:00", "2026-03-06 08:00", "2026-03-09 08:00"),  # a Saturday
        ("0 8 * * mon-fri", "2026-03-09 07:59", "2026-03-06 08:00", "2026-03-09 08:00"),
        ("30 6,18 * * *", "2026-03-04 10:07", "2026-03-04 06:30", "2026-03-04 18:30"),
        ("0 0 1-7/3 * *", "2026-03-05 00:00", "2026-03-04 00:00", "2026-03-07 00:00"),
        ("0 0 29 FEB *", "2026-03-04 10:07", "2024-02-29 00:00", "2028-02-29 00:00"),
        ("0 0 31 * *", "2026-03-04 10:07", "2026-01-31 00:00", "2026-03-31 00:00"),
        ("0 0 * * 7", "2026-03-04 10:07", "2026-03-01 00:00", "2026-03-08 00:00"),
        ("0 0 * * 0", "2026-03-04 10:07", "2026-03-01 00:00", "2026-03-08 00:00"),
        ("0 0 * * 5-7", "2026-03-01 10:07", "2026-03-01 00:00", "2026-03-06 00:00"),
        ("0 12 * 12 *", "2026-03-04 10:07", "2025-12-31 12:00", "2026-12-01 12:00"),
        # Both day fields are restricted: either suffices.
        ("0 0 13 * 5", "2026-03-10 00:00", "2026-03-06 00:00", "2026-03-13 00:00"),
        ("0 0 10 * 5", "2026-03-09 00:00", "2026-03-06 00:00", "2026-03-10 00:00"),
        # One begins with a star: both must match (an odd day of the month that is a Friday).
        ("0 0 */2 * 5", "2026-03-07 00:00", "2026-02-27 00:00", "2026-03-13 00:00"),
        ("59 23 31 12 *", "2026-12-31 23:59", "2026-12-31 23:59", "2027-12-31 23:59"),
    ],
)
def test_the_last_and_the_next_time_of_an_expression(cron: str, now: str, last: str, then: str) -> None:
    parsed = parse_cron(cron)
    assert written(latest(parsed, minute(now))) == last
    assert written(following(parsed, minute(now))) == then


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("* * * *", "4 fields"),
        ("60 * * * *", "it is 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "it is 1 to 31"),
        ("* * * 13 *", "jan ..."),
        ("* * * * 8", "'8' is no weekday"),
        ("*/0 * * * *", "the step 0"),
        ("20-10 * * * *", "runs backwards"),
        ("* * * * fri-mon", "runs backwards"),
        ("1,,2 * * * *", "'' is no minute"),
        ("a * * * *", "'a' is no minute"),
        ("1-2-3 * * * *", "is no minute"),
        ("* * * * monday", "is no weekday"),
        ("0 0 31 2,4 *", "never comes"),
        ("²  * * * *", "is no minute"),
    ],
)
def test_what_is_no_expression_is_refused_with_path_and_cause(cron: str, says: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        parse_cron(cron, "spec.here")
    assert says in str(caught.value)
    assert caught.value.path == "spec.here"


def test_the_same_day_by_weekday_makes_an_impossible_day_of_the_month_possible() -> None:
    assert written(following(parse_cron("0 0 31 2 1"), minute("2026-02-03 00:00"))) == "2026-02-09 00:00"


def test_before_the_epoch_nothing_fires() -> None:
    assert latest(parse_cron("0 12 * * *"), 60) is None


def windows(*parts: PreWarmWindow) -> PreWarm:
    return PreWarm(policy=PreWarmPolicy.CRON, windows=parts)


def window(cron: str = "0 8 * * *", minutes: int = 60, replicas: int = 1) -> PreWarmWindow:
    return PreWarmWindow(cron=cron, duration_us=minutes * MINUTE, replicas=replicas)


def firm(pre_warm: PreWarm, at: str, lead_us: int = 30 * S) -> tuple[int, int | None]:
    """Replicas wanted at a wall time, and in how many seconds that may change."""
    outlook = Outlook(pre_warm=pre_warm, history=ArrivalHistory(), now_us=7 * S, wall_us=wall(at), lead_us=lead_us)
    found = PREWARM[pre_warm.policy].forecast(outlook)
    assert found.weak == 0
    return found.firm, None if found.until_us is None else (found.until_us - 7 * S) // S


def test_a_window_begins_earlier_by_the_start_up_and_ends_after_its_duration() -> None:
    assert firm(windows(window()), "2026-03-04 07:59") == (0, 30)
    assert firm(windows(window()), "2026-03-04 07:59", 60 * S) == (1, 61 * 60)
    assert firm(windows(window()), "2026-03-04 08:00") == (1, 3600)
    assert firm(windows(window()), "2026-03-04 08:59") == (1, 60)
    assert firm(windows(window()), "2026-03-04 09:00") == (0, 23 * 3600 - 30)


def test_overlapping_windows_want_the_largest_number_and_the_next_edge_of_all_is_due() -> None:
    both = windows(window(replicas=2), window("30 8 * * *", 60, 5), window("0 20 * * *", 60, 9))
    assert firm(both, "2026-03-04 08:10") == (2, 20 * 60 - 30)
    assert firm(both, "2026-03-04 08:30") == (5, 1800)
    assert firm(both, "2026-03-04 09:10") == (5, 1200)


def test_a_window_longer_than_its_period_never_ends() -> None:
    always = windows(window("0 * * * *", 90))
    assert [firm(always, f"2026-03-04 08:{m:02}")[0] for m in range(60)] == [1] * 60


def test_without_a_civil_clock_or_with_an_expression_that_is_none_nothing_is_wanted() -> None:
    outlook = Outlook(pre_warm=windows(window()), history=ArrivalHistory(), now_us=7 * S, wall_us=0, lead_us=S)
    assert PREWARM[PreWarmPolicy.CRON].forecast(outlook).firm == 0
    assert firm(windows(window("x y")), "2026-03-04 08:10") == (0, None)


def in_window(**fields: object) -> Function:
    return make_function(pre_warm=windows(window(minutes=10, replicas=2)), keep_alive_ttl_us=5 * S, **fields)  # type: ignore[arg-type]


class Clocked(World):
    """A world whose model time has a civil time beside it."""

    offset_us = 0

    def at(self, text: str) -> None:
        self.offset_us = wall(text) - self.now_us

    def plan(self) -> Plan:
        from msgspec.structs import replace

        observed = replace(self.observed(), wall_us=self.now_us + self.offset_us)
        result = plan(observed, self.now_us, self.params)
        self.memory, self.failures, self.last = result.memory, [], result
        for action in result.actions:
            self.actions.append((self.now_us, action))
            self._act(action)
        return result


def test_a_window_makes_its_replicas_before_the_call_keeps_them_and_lets_them_go() -> None:
    world = Clocked([in_window()], gpus(3))
    world.at("2026-03-04 07:59")
    first = world.plan()
    assert first.actions == ()
    # Start-up 2 s, a quarter more and a second: due 3.5 s before eight.
    assert first.next_due_us - world.now_us == 10 * S
    world.run(55 * S)
    assert not world.starts()
    world.run(5 * S)
    assert world.warm("f") == 2
    # Nobody calls, and the keep-alive is 5 s: the window keeps them all the same.
    world.run(9 * 60 * S, by_us=S)
    assert world.warm("f") == 2
    assert world.drains() == []
    world.run(70 * S, by_us=S)
    assert world.warm("f") == 0
    assert {d.reason for d in world.drains()} == {Reason.IDLE}
    assert len(world.starts()) == 2


def test_the_next_edge_of_a_window_is_due() -> None:
    world = Clocked([in_window()], gpus(3))
    world.at("2026-03-04 07:59")
    world.now_us += 52 * S
    result = world.plan()
    assert result.next_due_us - world.now_us == int(4.5 * S)


def test_in_its_window_a_function_takes_idle_devices_of_others_and_gives_none() -> None:
    world = Clocked([in_window(), make_function("idle"), make_function("late")], gpus(2))
    world.at("2026-03-04 07:00")
    world.want("idle", 1)
    world.until(lambda: world.warm("idle") == 1)
    world.want("idle", 0)
    world.run(2 * S)
    world.at("2026-03-04 08:01")
    world.until(lambda: world.warm("f") == 2)
    assert [d.reason for d in world.drains()] == [Reason.GIVES_WAY]
    world.want("late", 1)
    world.run(60 * S)
    assert world.warm("f") == 2
    assert world.starts("late") == []


def test_a_window_never_wants_more_than_the_maximum() -> None:
    world = Clocked([in_window(max_replicas=1)], gpus(3))
    world.at("2026-03-04 08:01")
    world.plan()
    assert len([a for _, a in world.actions if isinstance(a, Start)]) == 1
