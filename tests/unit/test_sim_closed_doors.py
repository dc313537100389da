"""A simulated gateway does not ask an agent that has said that it would refuse, as the live one does not."""

import numpy as np
import pytest

from stoker.reasons import Reason
from stoker.testing.builders import make_function
from stoker.wire.agent import CLOSED_MAX_US, WANT_PLACE, Refusal, VariantLoad, refuse
from stoker_sim.arrangement import arranged
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.closed_doors import ClosedDoor
from stoker_sim.engine.returns import Returning, Returns
from stoker_sim.workload import Behaviour, SimFunction

pytestmark = pytest.mark.unit

MS = 1_000


class Agent:
    """It refuses while it is full, and says for how long it will."""

    name = "n0"

    def __init__(self) -> None:
        self.refused: Refusal | None = None
        self.full = True
        self.asked: list[int] = []

    def load(self, key: str) -> VariantLoad:
        return VariantLoad(warm=2, exec_ms=4.0)

    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None:
        self.asked.append(index)
        if not self.full or late_ok:
            return None
        self.refused = refuse(Reason.OVER_SHARE, "full", retry_after_us=30_000 * MS)
        self.refused.closed_us, self.refused.room_us = 9 * MS, 80 * MS
        return Reason.OVER_SHARE


class World:
    """Requests that come a millisecond apart, each with an objective of 100 ms."""

    def __init__(self) -> None:
        function = SimFunction(definition=make_function("f"), behaviour=Behaviour(exec_us={"any": MS}, cold_us=MS))
        count = 40
        times = np.arange(count, dtype=np.int64) * MS
        workload = arranged([function], times, np.zeros(count, np.int32), np.full(count, MS, np.int64))
        self.agenda = Agenda()
        self.agent = Agent()
        self.book = Book(workload)
        self.returns = Returns(Returning())
        self.door = ClosedDoor(self.agent, self.agenda, self.book, self.returns)

    def come(self, index: int, *, late_ok: bool = False, said: str = "") -> Reason | None:
        self.agenda.now_us = self.book.arrival_us[index]
        due_us = self.agenda.now_us + 100 * MS
        return self.door.admit(index, "default/f", due_us, 10_000 * MS, cold=False, late_ok=late_ok, said=said)


def test_a_word_refuses_what_comes_within_its_time() -> None:
    world = World()
    assert [world.come(index) for index in range(9)] == [Reason.OVER_SHARE] * 9
    assert (world.agent.asked, world.door.closed) == ([0], 8)
    world.agent.full = False
    assert world.come(9) is None


def test_who_is_taken_late_too_is_asked_about_and_reopens() -> None:
    world = World()
    world.come(0)
    assert world.come(1, late_ok=True) is None
    world.come(2)
    assert world.agent.asked == [0, 1, 2]
    assert CLOSED_MAX_US > 2 * MS


def test_who_is_refused_so_is_told_one_after_the_other_when_there_is_room_and_who_has_a_place_is_asked_about() -> None:
    world = World()
    for index in range(4):
        world.come(index, said=WANT_PLACE)
    told = [world.returns.told[index].at_us for index in (1, 2, 3)]
    assert told == [world.book.arrival_us[0] + 80 * MS + 2 * MS * step for step in range(3)]
    world.come(4, said="n0-7")
    assert world.agent.asked == [0, 4]
