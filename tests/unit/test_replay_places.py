"""Places that an event log holds are given and redeemed again as they were, file by file."""

import random

import pytest
from event_logs import Files, changed, recording, replayed

from stoker.replay.replayer import replay
from stoker.slots.places import Place, Places

pytestmark = pytest.mark.unit


def play(places: Places, steps: int, seed: int) -> int:
    """Ask a ledger for this and that; how many places it gave."""
    chance, now_us = random.Random(seed), 0
    given_out: list[Place] = []
    for _ in range(steps):
        now_us += chance.randint(0, 40_000)
        flow = chance.choice(("ns/a", "ns/b"))
        asked = {
            "exec_us": chance.randint(1, 99_000),
            "servers": chance.choice((1, 2)),
            "earliest_us": now_us + chance.randint(0, 100_000),
            "now_us": now_us,
            "objective_us": 100_000,
        }
        apart_us, level = chance.choice((0, 0, 120_000)), chance.choice((0, 1))
        place = places.offer(flow, {"ns/a", "ns/b"}, **asked, apart_us=apart_us, level=level)
        if place is None:
            step_us = asked.pop("exec_us") // asked.pop("servers")
            places.come_back_us(flow, step_us=step_us, **asked)
            continue
        given_out.append(place)
        other = chance.choice(given_out)
        if chance.random() < 0.5:
            places.redeem(other.id, other.flow, max(now_us, other.at_us))
        elif chance.random() < 0.3:
            places.give_back(other.id)
    return len(given_out)


def test_every_place_of_every_file_is_given_again() -> None:
    files = Files()
    assert play(recording(files, part_bytes=20_000).make_places("here-"), 600, 1) > 100
    assert len(files.files) > 3
    compared = [replayed(lines).compared for lines in files.files]
    assert {kind for kinds in compared for kind in kinds} == {"offer", "redeem", "call-back"}
    assert sum(sum(kinds.values()) for kinds in compared) > 700


def test_a_recorded_ledger_answers_as_a_plain_one() -> None:
    recorded, plain = recording(Files()).make_places("x-"), Places("x-")
    assert play(recorded, 200, 2) == play(plain, 200, 2)
    assert recorded._open == plain._open


@pytest.mark.parametrize(("kind", "field", "value"), [("offer", "exec_us", 99_999), ("redeem", "came_of_it", "early")])
def test_a_place_that_would_be_given_otherwise_is_a_difference(kind: str, field: str, value: object) -> None:
    files = Files()
    play(recording(files).make_places(), 60, 3)
    lines = files.lines
    wanted = [f'"event":"{kind}"'.encode(), *([b'"place"'] if kind == "offer" else [])]
    number = next(number for number, line in enumerate(lines) if all(part in line for part in wanted))
    lines[number] = changed(lines[number], **{field: value})
    difference = replay(lines).difference
    assert difference is not None
    assert difference.kind == kind
