"""Places that an agent reserves for requests that it refused: once, in time, for whom they were made."""

import pytest

from stoker.slots.places import (
    HORIZON_MIN_US,
    HORIZON_OBJECTIVES,
    HORIZON_US,
    IN_ALL,
    PER_FLOW,
    UNRESERVED_MIN_US,
    UNRESERVED_OBJECTIVES,
    WINDOW_MIN_US,
    Place,
    Places,
    Redemption,
    horizon_us,
)

pytestmark = pytest.mark.unit

MS = 1_000
F, G = "ns/f", "ns/g"


def offer(
    places: Places, flow: str = F, *beside: str, at_us: int = 0, now_us: int = 0, exec_us: int = 20 * MS
) -> Place | None:
    return places.offer(
        flow,
        {flow, *beside},
        exec_us=exec_us,
        servers=1,
        earliest_us=at_us,
        now_us=now_us,
        objective_us=200 * MS,
    )


def some(place: Place | None) -> Place:
    assert place is not None
    return place


def test_places_follow_each_other_at_half_of_the_rate_of_the_slots() -> None:
    places = Places()
    assert [some(offer(places, at_us=10 * MS)).at_us for _ in range(4)] == [10 * MS, 50 * MS, 90 * MS, 130 * MS]


def test_flows_that_share_slots_share_the_half() -> None:
    places = Places()
    assert some(offer(places, F, G)).at_us == 0
    assert some(offer(places, G, F)).at_us == 40 * MS
    assert some(offer(places, "ns/elsewhere")).at_us == 0


def test_a_place_that_was_given_back_goes_to_the_next_who_asks() -> None:
    places = Places()
    _, second, third = (some(offer(places)) for _ in range(3))
    places.give_back(second.id)
    assert places.redeem(second.id, F, second.at_us) is Redemption.USED
    assert some(offer(places)).at_us == second.at_us
    assert some(offer(places)).at_us == third.at_us + 40 * MS


def test_a_gap_that_is_too_short_is_passed_over() -> None:
    places = Places()
    offer(places, at_us=0)
    offer(places, at_us=100 * MS)
    assert some(offer(places, exec_us=31 * MS)).at_us == 140 * MS
    assert some(offer(places, exec_us=30 * MS)).at_us == 40 * MS


def test_a_place_is_honoured_once_and_only_within_its_window() -> None:
    places = Places()
    place = some(offer(places, at_us=50 * MS))
    assert place.window_us == WINDOW_MIN_US
    assert places.redeem(place.id, F, place.at_us - 1) is Redemption.EARLY
    assert places.redeem(place.id, G, place.at_us) is Redemption.UNKNOWN
    assert places.redeem("nobody's", F, place.at_us) is Redemption.UNKNOWN
    assert places.redeem(place.id, F, place.void_us) is Redemption.HONOURED
    assert places.redeem(place.id, F, place.void_us) is Redemption.USED
    other = some(offer(places, at_us=50 * MS))
    assert places.redeem(other.id, F, other.void_us + 1) is Redemption.LATE


def test_what_is_void_is_forgotten_and_takes_no_memory() -> None:
    places = Places()
    last = [some(offer(places)) for _ in range(50)][-1]
    places.expire(last.void_us)
    assert len(places) == 1
    places.expire(last.void_us + 1)
    assert len(places) == 0
    assert places.redeem(last.id, F, last.void_us + 1) is Redemption.UNKNOWN
    assert not places._lines
    assert not places._all


def test_nobody_gets_a_place_beyond_the_horizon_nor_one_that_must_be_late() -> None:
    places = Places()
    assert offer(places, exec_us=201 * MS) is None
    taken = 0
    while offer(places) is not None:
        taken += 1
    assert taken == HORIZON_MIN_US // (40 * MS) + 1  # one in 40 ms, both ends
    assert some(offer(places, now_us=40 * MS)).at_us == HORIZON_MIN_US + 40 * MS


def test_the_horizon_is_some_objectives_ahead_within_bounds() -> None:
    found = [horizon_us(seconds * 1_000 * MS) for seconds in (0, 2, 3_600)]
    assert found == [HORIZON_MIN_US, HORIZON_OBJECTIVES * 2_000 * MS, HORIZON_US]


def test_there_are_no_more_places_than_may_be() -> None:
    places = Places()
    assert sum(offer(places, exec_us=1) is not None for _ in range(PER_FLOW + 1)) == PER_FLOW
    for number in range(IN_ALL // PER_FLOW - 1):
        for _ in range(PER_FLOW):
            offer(places, f"ns/{number}", exec_us=1)
    assert offer(places, G, exec_us=1) is None
    assert len(places) == IN_ALL // 2, "a namespace has as many as it leaves free"
    assert offer(places, "other/f", exec_us=1) is not None


def test_places_that_are_over_make_room_in_their_namespace() -> None:
    places = Places()
    for number in range(IN_ALL // PER_FLOW // 2):
        for _ in range(PER_FLOW):
            offer(places, f"ns/{number}", exec_us=1)
    assert offer(places, G, exec_us=1) is None
    assert offer(places, G, exec_us=1, now_us=10 * HORIZON_US) is not None


def test_reserved_work_counts_until_it_came_or_is_void() -> None:
    places = Places()
    first, second = some(offer(places)), some(offer(places))
    assert places.reserved_us({F, G}, 1, 0, 100 * MS) == 20 * MS, "half of them may come, while nothing is known"
    assert places.reserved_us({F}, 1, 0, 19 * MS) == 19 * MS // 2, "at most half of what the slots do until then"
    assert places.reserved_us({F}, 1, 0, 0) == 0
    places.redeem(first.id, F, 0)
    assert places.reserved_us({F}, 1, 0, 100 * MS) == 20 * MS * 9 // 16
    assert places.reserved_us({F}, 1, second.void_us + 1, second.void_us + 100 * MS) == 0


def test_a_flow_that_is_bound_to_a_share_has_half_of_that_only() -> None:
    places = Places()

    def at_us(flow: str, apart_us: int) -> int:
        asked = {"exec_us": 20 * MS, "servers": 1, "earliest_us": 0, "now_us": 0, "objective_us": 200 * MS}
        return some(places.offer(flow, {F, G}, **asked, apart_us=apart_us)).at_us

    assert [at_us(F, 200 * MS) for _ in range(3)] == [0, 200 * MS, 400 * MS]
    assert [at_us(G, 0) for _ in range(3)] == [40 * MS, 80 * MS, 120 * MS], "the others have what it leaves"


def test_a_place_does_not_stand_before_work_of_higher_priority() -> None:
    places = Places()
    asked = {"exec_us": 20 * MS, "servers": 1, "earliest_us": 0, "now_us": 0, "objective_us": 200 * MS}
    places.offer(F, {F}, **asked, level=1)
    assert [places.reserved_us({F}, 1, 0, 100 * MS, level) for level in (0, 1, 2)] == [10 * MS, 10 * MS, 0]


@pytest.mark.parametrize(
    ("objective_us", "within_us"),
    [(200 * MS, UNRESERVED_MIN_US), (2_000 * MS, UNRESERVED_OBJECTIVES * 2_000 * MS)],
)
def test_those_without_a_place_are_told_instants_that_differ_and_none_far_ahead(
    objective_us: int, within_us: int
) -> None:
    places = Places()

    def told() -> int:
        return places.come_back_us(F, step_us=10 * MS, earliest_us=15 * MS, now_us=0, objective_us=objective_us)

    assert [told() for _ in range(within_us // (10 * MS) + 1)] == list(range(15 * MS, 15 * MS + within_us + 1, 10 * MS))
    assert [told(), told()] == [15 * MS, 25 * MS]


def test_places_that_nobody_comes_for_stand_before_nobody() -> None:
    places, now_us, counted = Places(), 0, []
    for _ in range(100):
        place = some(offer(places, at_us=now_us, now_us=now_us))
        counted.append(places.reserved_us({F}, 1, now_us, now_us + 200 * MS))
        now_us = place.void_us + 1
    assert counted[0] == 10 * MS
    assert counted[-1] < 20 * MS // 100
    for _ in range(50):
        place = some(offer(places, at_us=now_us, now_us=now_us))
        now_us = place.at_us
        assert places.redeem(place.id, F, now_us) is Redemption.HONOURED
    offer(places, at_us=now_us + 40 * MS, now_us=now_us)
    assert places.reserved_us({F}, 1, now_us, now_us + 200 * MS) > 18 * MS, "until they come again"


def test_two_agents_never_give_the_same_name() -> None:
    assert some(offer(Places("one-"))).id != some(offer(Places("two-"))).id
