"""The yardstick on instances whose optimum is known by thought, and in small numbers of random ones."""

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from bound_instances import random_instance
from grid_search import frontier
from list_scheduler import served_by
from msgspec.structs import replace

from stoker.errors import StokerError
from stoker.model.device import DeviceKind
from stoker.policies.queueing.registry import make_queueing
from stoker_sim.bound.brute import most_weight_by_force
from stoker_sim.bound.demand import demand_of, grouped
from stoker_sim.bound.instance import Instance, InstanceDevice, InstanceFunction, InstanceRequest
from stoker_sim.bound.prices import Prices, bound_of
from stoker_sim.bound.relaxation import Grain, ceiling, edges_of
from stoker_sim.bound.schedule import value_of

if TYPE_CHECKING:
    from stoker_sim.bound.exact import Optimum

pytestmark = pytest.mark.unit

GPU = InstanceDevice(id="gpu", kind=DeviceKind.GPU, product="A100", memory_mib=10, slots=1, price_per_s_micro=10)
CPU = InstanceDevice(id="cpu", kind=DeviceKind.CPU, product="cpu", millicores=1000, slots=1, price_per_s_micro=1)


def most_weight(instance: Instance, **more: Any) -> "Optimum":
    from stoker_sim.bound import exact  # OR-Tools brings pandas: not for every process of the suite

    return exact.most_weight(instance, **more)


def least_cost(instance: Instance, *, weight: int) -> "Optimum":
    from stoker_sim.bound import exact

    return exact.least_cost(instance, weight=weight)


def make_instance(
    *requests: tuple[int, int, int, int],
    start_us: int = 0,
    cold_us: int = 0,
    devices: tuple[InstanceDevice, ...] = (GPU,),
    memory_mib: int = 10,
    concurrency: int = 1,
) -> Instance:
    """Requests as (function, arrival, deadline, execution time); on the CPU they take four times as long."""
    functions = tuple(
        InstanceFunction(
            key=f"default/f{f}",
            memory_mib=memory_mib,
            start_us={"A100": start_us, "cpu": 0},
            cold_us=cold_us,
            cpu=True,
            concurrency=concurrency,
        )
        for f in range(1 + max(function for function, *_ in requests))
    )
    return Instance(
        devices=devices,
        functions=functions,
        requests=tuple(
            InstanceRequest(
                id=f"r{index}", function=f, arrival_us=arrival, deadline_us=due, exec_us={"A100": us, "cpu": 4 * us}
            )
            for index, (f, arrival, due, us) in enumerate(requests)
        ),
    )


KNOWN = {
    "one of two that want the same time": (make_instance((0, 0, 10, 10), (0, 0, 10, 10)), 1),
    "both when the second can wait": (make_instance((0, 0, 10, 10), (0, 0, 20, 10)), 2),
    "the short ones when not all fit": (make_instance((0, 0, 12, 10), (0, 0, 12, 4), (0, 0, 12, 4)), 2),
    "to idle for a request that comes": (make_instance((0, 0, 30, 20), (0, 5, 15, 10)), 1),
    "a start-up before the request comes": (make_instance((0, 7, 17, 10), start_us=7), 1),
    "no time for the start-up": (make_instance((0, 6, 16, 10), start_us=7), 0),
    "one start-up for each change": (make_instance((0, 0, 17, 10), (1, 0, 33, 10), start_us=7), 1),
    "a change with its start-up": (make_instance((0, 0, 17, 10), (1, 0, 34, 10), start_us=7), 2),
    "two that fit beside each other start at once": (
        make_instance((0, 0, 17, 10), (1, 0, 27, 10), start_us=7, memory_mib=5),
        2,
    ),
    "the CPU takes what has time": (make_instance((0, 0, 10, 10), (1, 0, 40, 10), devices=(GPU, CPU)), 2),
    "the GPU does both where the CPU is too slow": (
        make_instance((0, 0, 10, 10), (1, 0, 39, 10), devices=(GPU, CPU)),
        2,
    ),
    "nobody has time for the second": (make_instance((0, 0, 10, 10), (1, 0, 19, 10), devices=(GPU, CPU)), 1),
    "a replica that takes two at once": (
        make_instance((0, 0, 10, 10), (0, 0, 10, 10), devices=(replace(GPU, slots=2),), concurrency=2),
        2,
    ),
    "slots without concurrency": (
        make_instance((0, 0, 10, 10), (0, 0, 10, 10), devices=(replace(GPU, slots=2),)),
        1,
    ),
    "the first start is a cold one": (make_instance((0, 0, 18, 10), start_us=2, cold_us=9), 0),
    "what was started cold is swapped from then on": (
        make_instance((0, 0, 19, 10), (1, 0, 31, 10), start_us=2, cold_us=9),
        2,
    ),
    "nothing that any device could do": (make_instance((0, 0, 9, 10)), 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_optimum_is_what_thought_says(name: str) -> None:
    instance, want = KNOWN[name]
    optimum = most_weight(instance)
    assert optimum.schedule is not None
    assert optimum.value == value_of(instance, optimum.schedule)
    assert (most_weight_by_force(instance), optimum.value.weight, optimum.bound) == (want, want, want)
    assert optimum.proven
    assert max(frontier(instance)) == want
    assert ceiling(demand_of(instance)).weight >= want


def test_requests_in_pieces_bound_what_whole_ones_can_do() -> None:
    # Three of 10 us in 25 us: two and a half in pieces.
    demand = demand_of(make_instance((0, 0, 25, 10), (0, 0, 25, 10), (0, 0, 25, 10)))
    assert ceiling(demand).weight == 2
    # No request runs in two slots at once: both slots cannot help the one with 10 us of time.
    wide = (replace(GPU, slots=2),)
    hurried = demand_of(make_instance((0, 0, 10, 10), (0, 10, 19, 10), devices=wide, memory_mib=1))
    assert ceiling(hurried).weight == 1
    # Residences of 6 of 10 MiB: one at a time, whatever the slots.
    assert ceiling(demand_of(make_instance(*[(0, 0, 20, 10)] * 4, devices=wide, memory_mib=6))).weight == 3
    assert ceiling(demand_of(make_instance(*[(0, 0, 20, 10)] * 5, devices=wide, memory_mib=5))).weight == 4


@pytest.mark.parametrize("seed", range(20))
def test_policy_brute_force_exact_and_bound_stand_in_their_order(seed: int) -> None:
    instance = random_instance(seed, most_requests=5)
    best = most_weight_by_force(instance)
    optimum = most_weight(instance)
    assert optimum.proven
    assert optimum.bound == best
    assert value_of(instance, served_by(instance, make_queueing("least-slack"))).weight <= best
    demand = demand_of(instance)
    for grain in (
        Grain(),
        Grain(bucket_us=1),
        Grain(bucket_us=3, exec_ratio=3.0),
        Grain(bucket_us=50),
        Grain(rounds=5),
    ):
        assert ceiling(demand, grain=grain).weight >= best
    assert ceiling(demand, grain=Grain(bucket_us=1, piece=10)).weight >= best


def test_any_prices_give_a_bound() -> None:
    for seed in range(20):
        instance = random_instance(seed, most_requests=5)
        demand = demand_of(instance)
        groups = grouped(demand, edges_of(demand, Grain(bucket_us=2)), 1.5)
        draw = np.random.default_rng(seed)
        shape = (len(demand.pools), len(groups.edges_us) - 1)
        prices = Prices(slot=draw.exponential(0.3, shape), memory=draw.exponential(0.02, shape))
        assert bound_of(demand, groups, prices) >= most_weight_by_force(instance)


@pytest.mark.parametrize("seed", range(8))
def test_the_least_cost_of_each_weight_and_the_most_weight_under_each_cost(seed: int) -> None:
    instance = random_instance(100 + seed, most_requests=2, most_devices=2)
    costs = frontier(instance)
    for weight in costs:
        least = min(cost for other, cost in costs.items() if other >= weight)
        cheapest = least_cost(instance, weight=weight)
        assert cheapest.value is not None
        assert (cheapest.value.cost, cheapest.bound, cheapest.proven) == (least, least, True)
    cap = Random(seed).choice(sorted(costs.values()))
    want = max(weight for weight, cost in costs.items() if cost <= cap)
    capped = most_weight(instance, cost_cap=cap)
    assert capped.value is not None
    assert capped.value.cost <= cap
    assert (capped.value.weight, capped.bound, capped.proven) == (want, want, True)
    assert ceiling(demand_of(instance), cost_cap=cap).weight >= want
    beyond = least_cost(instance, weight=max(costs) + 1)
    assert (beyond.schedule, beyond.proven) == (None, True)


def test_a_cost_cap_binds_the_bound_too() -> None:
    # Each takes 10 us of a whole GPU at 10 micro a second: 100 each.
    demand = demand_of(make_instance(*[(0, 0, 40, 10)] * 4))
    assert [ceiling(demand, cost_cap=cap).weight for cap in (0, 99, 100, 250, 400, 1000)] == [0, 0, 1, 2, 4, 4]


def test_a_bound_that_is_known_ends_the_search() -> None:
    instance, want = KNOWN["the short ones when not all fit"]
    optimum = most_weight(instance, ceiling=ceiling(demand_of(instance)).weight)
    assert (optimum.bound, optimum.proven) == (want, True)


def test_the_same_instance_gives_the_same_answer() -> None:
    instance = random_instance(7, most_requests=12)
    first, second = (most_weight(instance) for _ in range(2))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    bounds = [ceiling(demand_of(instance), grain=Grain(bucket_us=3)) for _ in range(2)]
    assert bounds[0] == bounds[1]


def test_no_requests_are_worth_nothing() -> None:
    empty = replace(make_instance((0, 0, 10, 10)), requests=())
    assert (most_weight(empty).bound, most_weight(empty).proven) == (0, True)
    assert most_weight_by_force(empty) == 0
    assert ceiling(demand_of(empty)).weight == 0
    assert ceiling(demand_of(empty), grain=Grain(rounds=3)).weight == 0


def test_trying_everything_is_for_a_handful_of_requests() -> None:
    with pytest.raises(StokerError, match="ends at 8 requests"):
        most_weight_by_force(make_instance(*[(0, 0, 10, 10)] * 9))
