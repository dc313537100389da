"""Parts of the engine by themselves: the agenda, frames of an agent, the book."""

import pytest
from sim_worlds import sim_function, workload

from stoker.reasons import Outcome, Reason
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.frames import Frames

pytestmark = pytest.mark.unit


def test_events_of_one_instant_come_in_the_order_of_their_making_and_before_an_arrival() -> None:
    agenda = Agenda()
    seen: list[object] = []
    kind = agenda.kind(seen.append)
    for at, name in ((5, "b"), (3, "a"), (5, "c"), (9, "late")):
        agenda.at(at, kind, name)
    agenda.play([5], lambda index: seen.append(("arrival", index)), lambda time_us: time_us < 9)
    assert seen == ["a", "b", "c", ("arrival", 0)]
    assert agenda.now_us == 5


def test_nothing_is_put_down_in_the_past() -> None:
    agenda = Agenda()
    kind = agenda.kind(lambda _: None)
    agenda.now_us = 10
    with pytest.raises(AssertionError, match="put down at 10 us"):
        agenda.at(9, kind, None)


def test_changes_are_told_together_and_those_of_replicas_at_once() -> None:
    agenda = Agenda()
    told: list[tuple[int, tuple[str, ...], bool]] = []
    frames = Frames(agenda, 100, lambda keys, at_once: told.append((agenda.now_us, keys, at_once)), lambda: False)
    touch, state = agenda.kind(frames.touch), agenda.kind(frames.state)
    for at, kind, key in ((0, touch, "a"), (10, touch, "b"), (20, touch, "a"), (30, state, "c"), (40, touch, "d")):
        agenda.at(at, kind, key)
    agenda.play([], lambda index: None, lambda time_us: True)
    assert told == [(0, ("a",), False), (30, ("b", "a", "c"), True), (130, ("d",), False)]


def test_a_request_has_one_answer() -> None:
    book = Book(workload(sim_function(), [(0, 0, 10)]))
    book.end(0, Outcome.REFUSED, Reason.QUEUE_FULL, 0)
    assert book.open == 0
    with pytest.raises(AssertionError, match="answered twice"):
        book.serve(0, 5)
