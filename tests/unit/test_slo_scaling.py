"""Scaling by objective inside plan(): what rates, backlogs and missing knowledge make of the number of replicas."""

from math import ceil
from typing import Any

import pytest
from msgspec.structs import replace
from planning_world import GPU, S, World, gpus, make_function

from stoker.control.planning import PlanMemory
from stoker.model.policy import ScalingPolicy
from stoker.sizing.arrival_rate import LOOK_BACK_US
from stoker.sizing.service_time import ServiceTime
from stoker.sizing.steady import DOWN_US

pytestmark = pytest.mark.unit

MS = 1_000
KEY = "default/f"
PAIR = (KEY, GPU)
EXEC_US = 100 * MS
STEP_US = 500 * MS


class Fluid(World):
    """One function whose requests come as a steady stream and leave as fast as warm replicas can serve them."""

    def __init__(self, *, known: bool = True, scaling: ScalingPolicy = ScalingPolicy.SLO, **how: Any) -> None:
        function = make_function("f", **{"latency_us": S, "max_replicas": 20, "keep_alive_ttl_us": 5 * S, **how})
        super().__init__([function], gpus(24), scaling=scaling)
        self.exec_us = EXEC_US
        self.backlog = 0.0
        self.came = 0.0
        if known:
            self.service = {KEY: {GPU: ServiceTime(mean_us=EXEC_US, deviation_us=EXEC_US // 2, samples=64)}}

    def stream(self, per_s: float, seconds: float) -> list[int]:
        """How many replicas there are after each step."""
        counts = []
        for _ in range(round(seconds * S / STEP_US)):
            self.came += per_s * STEP_US / S
            served = self.warm("f") * STEP_US / EXEC_US
            self.backlog = max(0.0, self.backlog + per_s * STEP_US / S - served)
            running = min(self.warm("f"), ceil(per_s * EXEC_US / S))
            self.arrivals[PAIR] = int(self.came)
            self.load[PAIR] = ceil(self.backlog) + running
            if per_s:
                self.wake("f")
            self.step(STEP_US)
            counts.append(len(self.replicas))
        return counts

    @property
    def count(self) -> int:
        """What the rate needs, as the plan remembers it."""
        held = self.memory.functions[KEY].sizing[GPU].steady
        assert held is not None
        return held.count


def test_a_first_request_at_zero_wants_one_at_once() -> None:
    fluid = Fluid()
    fluid.arrivals[PAIR] = 1
    fluid.want("f", 1)
    fluid.plan()
    assert len(fluid.replicas) == 1


def test_a_burst_at_zero_wants_what_ends_it_within_the_objective() -> None:
    fluid = Fluid()
    fluid.arrivals[PAIR] = 20
    fluid.want("f", 20)
    fluid.plan()
    # 20 x 100 ms within 1 s.
    assert len(fluid.replicas) == 2


def test_what_was_never_measured_is_scaled_by_its_concurrency() -> None:
    fluid = Fluid(known=False, concurrency=4)
    fluid.arrivals[PAIR] = 17
    fluid.want("f", 17)
    fluid.plan()
    assert len(fluid.replicas) == 5


def test_a_few_samples_are_not_enough() -> None:
    fluid = Fluid()
    fluid.service[KEY][GPU] = replace(fluid.service[KEY][GPU], samples=3)
    fluid.want("f", 7)
    fluid.plan()
    assert len(fluid.replicas) == 7


def test_the_concurrency_policy_knows_no_rates() -> None:
    fluid = Fluid(scaling=ScalingPolicy.CONCURRENCY)
    fluid.stream(50, 10)
    assert fluid.memory.functions[KEY].sizing == {}


@pytest.mark.parametrize("start_us", [S // 2, 30 * S])
def test_after_a_step_there_is_at_most_one_more_than_the_steady_count(start_us: int) -> None:
    fluid = Fluid()
    fluid.start_us = start_us
    fluid.stream(10, 30)
    before = len(fluid.replicas)
    counts = fluid.stream(50, 3 * start_us / S + 90)
    steady = counts[-1]
    assert before < steady
    assert max(counts) <= steady + 1
    assert steady >= 6
    # The backlog of a slow start was worked off.
    assert fluid.backlog < 5


def test_a_step_is_answered_within_two_seconds() -> None:
    fluid = Fluid()
    fluid.stream(10, 60)
    before = len(fluid.replicas)
    counts = fluid.stream(50, 2)
    assert counts[-1] >= before + 3


def test_a_lull_takes_no_replica_away() -> None:
    fluid = Fluid()
    fluid.stream(50, 60)
    # Longer than the keep-alive, shorter than the look-back; 50/s need 6.
    assert min(fluid.stream(2, LOOK_BACK_US / S - 20)) == 6


def test_demand_that_stays_low_takes_them_away_down_to_what_it_needs() -> None:
    fluid = Fluid()
    fluid.stream(50, 60)
    fluid.stream(2, (LOOK_BACK_US + DOWN_US) / S + 20)
    assert len(fluid.replicas) == 1


def test_a_function_that_nobody_calls_goes_to_zero_after_its_keep_alive() -> None:
    fluid = Fluid()
    fluid.stream(50, 60)
    fluid.stream(0, 8)
    assert fluid.replicas == {}
    fluid.step()
    assert fluid.memory.functions[KEY].sizing == {}


def test_a_new_leader_takes_nothing_away_before_it_knows_the_rate() -> None:
    fluid = Fluid()
    fluid.stream(50, 60)
    before = len(fluid.replicas)
    fluid.memory = PlanMemory()
    assert set(fluid.stream(50, DOWN_US / S - 5)) == {before}


def test_a_counter_that_is_heard_first_is_no_burst() -> None:
    fluid = Fluid()
    fluid.came = 1_000_000
    fluid.stream(10, 20)
    assert fluid.count <= 4


def test_a_gateway_that_begins_anew_is_neither_a_burst_nor_a_lull() -> None:
    fluid = Fluid()
    fluid.stream(50, 60)
    before = fluid.count
    fluid.came = 0
    fluid.stream(50, 40)
    assert fluid.count == before


def test_the_bounds_of_the_function_hold() -> None:
    fluid = Fluid(max_replicas=3, min_replicas=2)
    fluid.step()
    assert len(fluid.replicas) == 2
    assert max(fluid.stream(200, 20)) == 3


def test_a_shorter_objective_wants_more_replicas() -> None:
    tight, loose = Fluid(latency_us=400 * MS), Fluid(latency_us=5 * S)
    for fluid in (tight, loose):
        fluid.stream(50, 20)
    assert tight.count > loose.count


def test_replicas_for_what_may_come_take_no_device_of_another_function() -> None:
    fluid = Fluid(latency_us=400 * MS)
    other = make_function("g", keep_alive_ttl_us=1000 * S)
    fluid.functions[other.key] = other
    fluid.devices = fluid.devices[:3]
    fluid.stream(15, 30)
    assert (fluid.count, len(fluid.ids("f"))) == (3, 3)
    fluid.want("g", 1)
    fluid.stream(15, 10)
    fluid.want("g", 0)
    # g got the device that f does without; f, which would like it back, leaves g's idle replica alone.
    fluid.stream(15, 20)
    assert (fluid.count, len(fluid.ids("f")), len(fluid.ids("g"))) == (3, 2, 1)
