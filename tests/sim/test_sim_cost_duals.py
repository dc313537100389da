"""The bound on what can be on time for a cost, against the optimum, and the page of both duals in a small form."""

from random import Random

import pytest
from sim_worlds import sim_function, workload

from stoker.model.device import DeviceKind
from stoker.testing.builders import MS, S, make_function
from stoker_sim.bound.exact import least_cost, most_weight
from stoker_sim.bound.instance import Instance, InstanceDevice, InstanceFunction, InstanceRequest
from stoker_sim.results import cost_duals
from stoker_sim.results.cost_bound import CostBound
from stoker_sim.results.result import Result
from stoker_sim.workload import Workload

pytestmark = [pytest.mark.sim, pytest.mark.timeout(900)]

MICRO_PER_S = {"A100": 900, "L4": 200}
FACTOR = {"A100": 1, "L4": 2}
PER_HOUR = {product: 3600 * price / 1e6 for product, price in MICRO_PER_S.items()}
COUNTS = dict.fromkeys(FACTOR, 2)
START_US, SLO_US = S, 1500 * MS


def drawn(seed: int) -> tuple[Workload, Instance]:
    """Six requests of two functions, as the simulator and as the exact solver take them."""
    random = Random(seed)
    rows = sorted(
        (random.randrange(0, 100) * 100 * MS, random.randrange(2), random.randrange(2, 8) * 100 * MS) for _ in range(6)
    )
    functions = [
        sim_function(
            make_function(name, latency_us=SLO_US),
            exec_us={product: factor * 100 * MS for product, factor in FACTOR.items()},
            cold_us=START_US,
        )
        for name in "fg"
    ]
    work = workload(functions, rows, horizon_us=10 * S)
    instance = Instance(
        devices=tuple(
            InstanceDevice(
                id=f"{product}-{number}",
                kind=DeviceKind.GPU,
                product=product,
                memory_mib=1,
                slots=1,
                price_per_s_micro=price,
            )
            for product, price in MICRO_PER_S.items()
            for number in range(2)
        ),
        functions=tuple(
            InstanceFunction(
                key=name, memory_mib=1, exclusive=True, start_us=dict.fromkeys(FACTOR, START_US), cold_us=START_US
            )
            for name in "fg"
        ),
        requests=tuple(
            InstanceRequest(
                id=str(number),
                function=function,
                arrival_us=at_us,
                deadline_us=at_us + SLO_US,
                exec_us={product: factor * exec_us for product, factor in FACTOR.items()},
            )
            for number, (at_us, function, exec_us) in enumerate(rows)
        ),
    )
    return work, instance


@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_costs_less_than_the_bound_says_or_has_more_on_time_for_a_cost(seed: int) -> None:
    work, instance = drawn(seed)
    limit = CostBound(work, PER_HOUR, COUNTS, foreseen=True)
    best = most_weight(instance)
    assert best.proven
    assert best.value is not None
    assert limit.most({}) >= best.value.weight
    for weight in range(1, best.value.weight + 1):
        cheapest = least_cost(instance, weight=weight)
        assert cheapest.proven
        assert cheapest.value is not None
        cost = cheapest.value.cost / 1e12
        assert limit.least_cost(weight) <= cost
        # All of it lies in one hour. Each function has its own bound here, the schedule one for both.
        assert limit.most(dict.fromkeys(work.keys, cost)) >= weight
    # It is worth something: a third of the least cost of all is not far above what it says.
    assert limit.least_cost(best.value.weight) >= cost / 3


def test_what_may_cost_nothing_serves_nobody() -> None:
    work, _ = drawn(0)
    limit = CostBound(work, PER_HOUR, COUNTS)
    assert limit.most(dict.fromkeys(work.keys, 0.0)) == pytest.approx(0.0, abs=1e-6)
    assert limit.most({}) > 1


def test_the_first_request_of_a_function_is_not_foreseen_and_the_others_are() -> None:
    function = sim_function(make_function("f", latency_us=SLO_US), exec_us=dict.fromkeys(FACTOR, S), cold_us=START_US)
    work = workload([function], [(S * at, 0, S) for at in (2, 40, 80)], horizon_us=90 * S)
    assert CostBound(work, PER_HOUR, COUNTS, foreseen=True).most({}) == pytest.approx(3, abs=1e-3)
    assert CostBound(work, PER_HOUR, COUNTS).most({}) == pytest.approx(2, abs=1e-3)


def test_no_more_is_on_time_than_there_are_devices_for() -> None:
    function = sim_function(make_function("f", latency_us=SLO_US), exec_us=dict.fromkeys(FACTOR, S), cold_us=START_US)
    work = workload([function], [(20 * S, 0, S)] * 9, horizon_us=30 * S)
    # In 1.5 s a device ends one run of a second and the half of another.
    for count in (1, 2):
        counts = dict.fromkeys(FACTOR, count)
        assert CostBound(work, PER_HOUR, counts, foreseen=True).most({}) == pytest.approx(3 * count, abs=1e-3)


@pytest.fixture(scope="module")
def small() -> Result:
    return cost_duals.make(small=True)


def test_bounds_hold_over_rolling_hours_and_no_run_beats_what_could_be(small: Result) -> None:
    capped = [row for row in small.rows if row["share"] is not None]
    assert len(capped) == 2
    for row in capped:
        assert isinstance(row["dearest_hour_over_bound"], float)
        assert row["dearest_hour_over_bound"] <= cost_duals.MOST_OVER
    for row in small.rows:
        assert isinstance(row["on_time"], int)
        assert isinstance(row["bound"], float)
        assert 0 < row["on_time"] <= row["bound"] * (1 + 1e-6)
        assert isinstance(row["cheapest"], float)
        assert isinstance(row["least"], float)
        assert 0 < row["least"] <= row["cheapest"]
