"""What holds of reserved places whatever is asked of them, in whatever order, at whatever times."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.slots.places import PRIOR_PPM, Place, Places, Redemption, horizon_us

pytestmark = pytest.mark.property

FLOWS = ("ns/a", "ns/b", "ns/c")
BESIDE = {"ns/a": {"ns/a", "ns/b"}, "ns/b": {"ns/a", "ns/b"}, "ns/c": {"ns/c"}}
"""a and b share their slots."""
OBJECTIVE_US = 1_000_000

offers = st.tuples(st.just("offer"), st.sampled_from(FLOWS), st.integers(1, 400_000), st.integers(0, 2_000_000))
"""Flow, execution time, how long after now the first place may be."""
waits = st.tuples(st.just("wait"), st.integers(0, 700_000))
picks = st.tuples(st.sampled_from(["redeem", "give back"]), st.integers(0, 60))
steps = st.lists(offers | offers | waits | picks, max_size=60)


@given(steps, st.sampled_from([1, 2, 3, 8]))
@settings(max_examples=40, deadline=None)
def test_never_more_than_half_of_the_slots_is_reserved_and_each_place_is_good_once(
    script: list[tuple[object, ...]], servers: int
) -> None:
    places, now_us = Places("p-"), 0
    given_out: list[Place] = []
    returned: set[str] = set()
    honoured: set[str] = set()
    for step in script:
        if step[0] == "wait":
            now_us += int(str(step[1]))
        elif step[0] == "offer":
            _, flow, exec_us, after_us = step
            assert isinstance(flow, str)
            assert isinstance(exec_us, int)
            assert isinstance(after_us, int)
            place = places.offer(
                flow,
                BESIDE[flow],
                exec_us=exec_us,
                servers=servers,
                earliest_us=now_us + after_us,
                now_us=now_us,
                objective_us=OBJECTIVE_US,
            )
            if place is not None:
                assert now_us + after_us <= place.at_us <= now_us + horizon_us(OBJECTIVE_US)
                given_out.append(place)
        elif given_out:
            place = given_out[int(str(step[1])) % len(given_out)]
            if step[0] == "give back":
                if place.id not in honoured and now_us <= place.void_us:
                    returned.add(place.id)
                places.give_back(place.id)
                continue
            outcome = places.redeem(place.id, place.flow, now_us)
            if outcome is Redemption.HONOURED:
                assert place.at_us <= now_us <= place.void_us
                assert place.id not in honoured | returned
                honoured.add(place.id)
            else:
                assert now_us != place.at_us or place.id in honoured | returned
    for pair in ({"ns/a", "ns/b"}, {"ns/c"}):
        kept = [place for place in given_out if place.flow in pair and place.id not in returned]
        assert_at_most_half(kept, servers)
    assert len({place.id for place in given_out}) == len(given_out)


def assert_at_most_half(places: list[Place], servers: int) -> None:
    """Over every stretch from one place to another: half of what the slots do in it, and one execution more."""
    ordered = sorted(places, key=lambda place: place.at_us)
    at: dict[int, int] = defaultdict(int)
    for place in ordered:
        at[place.at_us] += 1
    assert not at or max(at.values()) == 1, "two come at one instant"
    for first in range(len(ordered)):
        work_us = 0
        for last in range(first, len(ordered)):
            stretch_us = ordered[last].at_us - ordered[first].at_us
            assert 2 * work_us <= servers * stretch_us, "work that is due before the last one"
            work_us += ordered[last].exec_us


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=30), st.integers(0, 3_000_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_others_are_told_of_no_more_reserved_work_than_half_of_the_slots_can_do(
    execs_us: list[int], until_us: int, servers: int
) -> None:
    places = Places()
    given_out = [
        places.offer("ns/a", {"ns/a"}, exec_us=us, servers=servers, earliest_us=0, now_us=0, objective_us=OBJECTIVE_US)
        for us in execs_us
    ]
    due_us = sum(place.exec_us for place in given_out if place is not None and place.at_us <= until_us)
    counted_us = due_us * PRIOR_PPM // 1_000_000
    assert places.reserved_us({"ns/a"}, servers, 0, until_us) == min(counted_us, until_us * servers // 2)
    assert places.reserved_us({"ns/b"}, servers, 0, until_us) == 0
