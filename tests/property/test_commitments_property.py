"""Commitments and lanes against the plainest model of them: one sorted list that is looked through from its begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.policies.queueing.commitments import Commitments
from stoker.policies.queueing.lanes import Lane, Room, pooled
from stoker.prediction import predict_wait_us

pytestmark = pytest.mark.property

LANES = {"a/f": Lane("g0", ("g0",), 1), "a/g": Lane("g0", ("g0", "g1"), 2), "b/h": Lane("x", ("x",), 3)}

rooms = st.builds(
    lambda servers, remaining: Room(servers, tuple(sorted(remaining))),
    st.integers(1, 4),
    st.lists(st.integers(0, 50), max_size=5),
)
entries = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from(sorted(LANES)), st.integers(1, 9), st.integers(0, 120), st.integers(0, 2)
    ),
    max_size=140,
)


@given(room=rooms, ahead_us=st.integers(0, 300))
def test_a_room_says_what_the_prediction_of_waits_says(room: Room, ahead_us: int) -> None:
    assert room.start_us(ahead_us) == predict_wait_us(room.remaining_us, ahead_us, room.servers)


@given(room=rooms, instant_us=st.integers(-5, 120))
def test_the_most_work_before_an_instant_is_the_most_with_which_a_start_is_by_then(room: Room, instant_us: int) -> None:
    most_us = room.work_until_us(instant_us)
    assert room.start_us(most_us + 1) > instant_us
    if most_us >= 0:
        assert room.start_us(most_us) <= instant_us


@given(queued=entries, gone=st.sets(st.integers(0, 139)), new=entries.filter(bool), data=st.data())
def test_what_breaks_is_what_a_look_at_every_promise_finds(
    queued: list[tuple[int, str, int, int, int]],
    gone: set[int],
    new: list[tuple[int, str, int, int, int]],
    data: st.DataObject,
) -> None:
    commitments = Commitments()
    commitments.arrange(LANES)
    for number, (rank, flow, work_us, promise_us, priority) in enumerate(queued):
        commitments.add(((rank,), number), str(number), flow, work_us, promise_us, priority)
    for number in gone:
        commitments.discard(str(number))
    left = sorted((entry[0], number) for number, entry in enumerate(queued) if number not in gone)
    now_us = data.draw(st.integers(0, 20))
    at = {lane: data.draw(rooms) for lane in LANES.values()}
    at = {lane: Room(lane.servers, room.remaining_us) for lane, room in at.items()}
    for rank, flow, work_us, _, priority in new[:5]:
        place = ((rank,), len(queued))
        pool = [n for _, n in left if LANES[queued[n][1]].pool == LANES[flow].pool]
        ahead = [n for n in pool if (queued[n][0], n) < (rank, len(queued))]
        assert commitments.ahead_us(flow, place) == sum(queued[n][2] for n in ahead)
        expected: list[str] | None = []
        before_us = work_us + sum(queued[n][2] for n in ahead)
        for number in pool[len(ahead) :]:
            _, other, other_us, promise_us, level = queued[number]
            room = at[LANES[other]]
            if promise_us and room.work_until_us(promise_us - now_us) < before_us:
                if level >= priority:
                    expected = None
                    break
                assert expected is not None
                expected.append(str(number))
            else:
                before_us += other_us
        assert commitments.broken_by(flow, place, work_us, priority, at, now_us) == expected


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("123456"), min_size=1), max_size=8))
def test_flows_are_of_one_pool_if_a_chain_of_shared_slots_joins_them(slots: dict[str, set[str]]) -> None:
    lanes = pooled({flow: (tuple(names), len(names)) for flow, names in slots.items()})
    for flow, names in slots.items():
        reached, edge = {flow}, set(names)
        while more := {other for other, theirs in slots.items() if theirs & edge} - reached:
            reached |= more
            edge |= set().union(*(slots[other] for other in more))
        assert {other for other in slots if lanes[other].pool == lanes[flow].pool} == reached
