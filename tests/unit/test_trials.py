"""When a flow of which nothing is admitted may try one request to learn how long it takes."""

import pytest

from stoker.model.function import Variant
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import EXPLORE_EVERY, Lookout
from stoker.slots.table import FlowState, Replica, ReplicaTable, Run
from stoker.testing.builders import make_function, make_gpu, make_request

pytestmark = pytest.mark.unit

EXEC_US = 1_000


class World:
    """One flow, whose requests take as long as its objective at least."""

    def __init__(self) -> None:
        table: ReplicaTable[Replica[Run]] = ReplicaTable((make_gpu("g0"),))
        self.flow: FlowState[Replica[Run]] = table.flow("default/f", "default/f", Variant.GPU)
        self._lookout = Lookout(Predictions())
        self._policy = make_queueing("least-slack")
        self.now_us = 7

    def may(self) -> bool:
        request = make_request("r", arrival_us=self.now_us, predicted_exec_us=EXEC_US)
        sight = self._lookout.sight(
            request, self.flow, make_function("f"), policy=self._policy, takes_late=False, now_us=self.now_us
        )
        assert sight is not None
        return sight.explores

    def try_one(self, *, on_time: bool) -> None:
        self.flow.explored_us = self.now_us
        request = make_request("r", arrival_us=self.now_us, objective_us=self.now_us + 5)
        self.flow.ran(request, request.objective_us + (not on_time))

    def wait(self) -> int:
        """Until the next one may be, in executions."""
        began_us = self.now_us
        while not self.may():
            self.now_us += EXEC_US
        return (self.now_us - began_us) // EXEC_US


def test_the_first_may_at_once_and_the_next_after_a_while() -> None:
    world = World()
    assert world.may()
    world.try_one(on_time=False)
    assert world.wait() == EXPLORE_EVERY


def test_trials_that_are_on_time_come_ever_sooner_until_one_is_late() -> None:
    world, waits = World(), []
    for _ in range(6):
        world.try_one(on_time=True)
        waits.append(world.wait())
    assert waits == [10, 5, 2, 1, 0, 0]
    world.try_one(on_time=False)
    assert world.wait() == EXPLORE_EVERY


def test_the_end_of_another_request_says_nothing_of_a_trial() -> None:
    world = World()
    world.flow.explored_us = world.now_us
    world.flow.ran(make_request("other", arrival_us=world.now_us - 1), world.now_us)
    assert world.wait() == EXPLORE_EVERY
