"""The yardstick: bound >= exact >= every policy, on ten thousand small instances and a hundred of up to 60 requests."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from bound_instances import random_instance
from grid_search import frontier
from list_scheduler import served_by
from msgspec.structs import replace

from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker_sim.bound.brute import most_weight_by_force
from stoker_sim.bound.demand import Demand, demand_of
from stoker_sim.bound.exact import Effort, least_cost, most_weight
from stoker_sim.bound.instance import Instance
from stoker_sim.bound.relaxation import Grain, ceiling
from stoker_sim.bound.schedule import value_of

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

SMALL = 10_000
CHUNK = 250
LARGE = 100


def weights_of_policies(instance: Instance) -> dict[str, int]:
    """What every policy gets on time, as it is and as it runs live."""
    policies = [(name, make()) for name, make in POLICIES.items()]
    policies += [(f"late {name}", make_queueing(name)) for name in POLICIES]
    return {name: value_of(instance, served_by(instance, policy)).weight for name, policy in policies}


@pytest.mark.parametrize("chunk", range(SMALL // CHUNK))
def test_bound_exact_brute_force_and_policies_stand_in_their_order_on_small_instances(chunk: int) -> None:
    exercised: Counter[str] = Counter()
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        instance = random_instance(seed, most_requests=6)
        best = most_weight_by_force(instance)
        optimum = most_weight(instance)
        assert optimum.value is not None
        assert (optimum.value.weight, optimum.bound, optimum.proven) == (best, best, True), f"seed {seed}"
        demand = demand_of(instance)
        bound = ceiling(demand).weight
        assert best <= bound <= demand.total_weight, f"seed {seed}"
        assert best <= ceiling(demand, grain=Grain(bucket_us=1 + seed % 7, exec_ratio=1.5)).weight, f"seed {seed}"
        reached = weights_of_policies(instance)
        assert max(reached.values()) <= best, f"seed {seed}: {reached}"
        exercised["bound is the optimum"] += bound == best
        exercised["bound is above the optimum"] += bound > best
        exercised["all can be on time"] += best == demand.total_weight
        exercised["some policy is optimal"] += max(reached.values()) == best
        exercised["some policy is not"] += min(reached.values()) < best
    assert min(exercised.values()) > CHUNK // 100, exercised


@pytest.mark.parametrize("chunk", range(LARGE // 10))
def test_bound_exact_and_policies_stand_in_their_order_on_instances_of_up_to_60_requests(chunk: int) -> None:
    proven = 0
    for seed in range(chunk * 10, (chunk + 1) * 10):
        instance = random_instance(seed, most_requests=60)
        demand = demand_of(instance)
        bound = ceiling(demand).weight
        # The search knows nothing of the bound here, so that they check each other.
        optimum = most_weight(instance, effort=Effort(deterministic_limit=0.2))
        assert optimum.value is not None
        assert optimum.value.weight <= bound, f"seed {seed}"
        reached = weights_of_policies(instance)
        best = max(reached.values())
        assert best <= min(bound, optimum.bound), f"seed {seed}: {reached}"
        assert optimum.value.weight <= optimum.bound
        if optimum.proven:
            assert best <= optimum.value.weight, f"seed {seed}: {reached}"
        proven += optimum.proven
        for grain in (Grain(bucket_us=5), Grain(bucket_us=40, exec_ratio=2.0), Grain(bucket_us=2, piece=200)):
            assert max(best, optimum.value.weight) <= ceiling(demand, grain=grain).weight, f"seed {seed}"
    assert proven >= 4


@pytest.mark.parametrize("chunk", range(4))
def test_cost_and_weight_are_optimal_against_every_placement_on_the_grid(chunk: int) -> None:
    for seed in range(chunk * 50, (chunk + 1) * 50):
        instance = random_instance(seed, most_requests=3, most_devices=2)
        costs = frontier(instance)
        assert max(costs) == most_weight_by_force(instance), f"seed {seed}"
        for weight in costs:
            least = min(cost for other, cost in costs.items() if other >= weight)
            cheapest = least_cost(instance, weight=weight)
            assert cheapest.value is not None
            assert (cheapest.value.cost, cheapest.bound) == (least, least), f"seed {seed}"
            for cap in (least, least - 1):
                want = max((other for other, cost in costs.items() if cost <= cap), default=0)
                if cap >= 0:
                    capped = most_weight(instance, cost_cap=cap)
                    assert (capped.bound, capped.proven) == (want, True), f"seed {seed}"
                    assert want <= ceiling(demand_of(instance), cost_cap=cap).weight, f"seed {seed}"


def bursty(requests: int, seed: int = 0) -> Demand:
    """Two pools of four slots each, 40 functions by Zipf, bursts of minutes, 1.5 times the load that fits."""
    draw = np.random.default_rng(seed)
    usual_us = np.exp(draw.uniform(np.log(20e3), np.log(800e3), 40))
    share = 1 / np.arange(1, 41) ** 1.8
    function = draw.choice(40, requests, p=share / share.sum())
    exec_us = np.maximum(1, usual_us[function] * np.exp(draw.normal(0, 0.2, requests))).astype(np.int64)
    rate = np.exp(draw.normal(0, 0.8, 60))
    span_us = exec_us.sum() / (6.35 * 1.5)
    steps = np.append(0, np.cumsum(rate) / rate.sum())
    arrival_us = np.sort(np.interp(draw.uniform(0, 1, requests), steps, np.linspace(0, span_us, 61))).astype(np.int64)
    patience = draw.choice((2, 5, 10), 40)[function]
    return Demand(
        pools=("fast", "slow"),
        slots=np.array([4, 4]),
        capacity=np.array([40, 40]),
        ready_us=np.zeros((40, 2), np.int64),
        share=np.ones((40, 2)),
        rate=np.zeros((40, 2)),
        function=function,
        arrival_us=arrival_us,
        deadline_us=arrival_us + (patience * usual_us[function]).astype(np.int64),
        weight=np.ones(requests, np.int64),
        exec_us=np.column_stack((exec_us, (1.7 * exec_us).astype(np.int64))),
    )


def test_a_long_trace_priced_piece_by_piece_loses_little_and_prices_without_a_program_are_weaker() -> None:
    demand = bursty(3000)
    whole = ceiling(demand, grain=Grain(piece=10**9))
    pieces = ceiling(demand, grain=Grain(piece=1000))
    ascended = ceiling(demand, grain=Grain(rounds=60))
    assert (whole.programs, ascended.programs) == (1, 0)
    assert pieces.programs > 10
    assert whole.weight <= pieces.weight <= 1.01 * whole.weight
    assert whole.weight <= ascended.weight < 0.98 * demand.total_weight
    assert whole.weight < 0.9 * demand.total_weight


def test_finer_buckets_are_tighter() -> None:
    demand = bursty(2000)
    weights = [ceiling(demand, grain=Grain(bucket_us=us)).weight for us in (100_000, 1_000_000, 10_000_000, 10**9)]
    assert weights == sorted(weights)
    assert weights[0] < weights[2] < weights[3]


def test_requests_that_nobody_could_serve_in_time_are_in_no_bound() -> None:
    demand = bursty(500)
    hopeless = replace(demand, deadline_us=demand.arrival_us + demand.exec_us[:, 0] - 1)
    assert ceiling(hopeless).weight == 0


SCRIPT = """
import sys
from msgspec import json
from bound_instances import random_instance
from stoker_sim.bound.demand import demand_of
from stoker_sim.bound.exact import Effort, most_weight
from stoker_sim.bound.relaxation import Grain, ceiling
for seed in (7, 36, 37):
    instance = random_instance(seed, most_requests=60)
    optimum = most_weight(instance, effort=Effort(deterministic_limit=0.1))
    sys.stdout.buffer.write(json.encode([optimum, ceiling(demand_of(instance), grain=Grain(piece=500))]))
"""


def test_other_processes_give_the_same_bytes_and_the_solvers_print_nothing() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            timeout=300,
        )
        for seed in ("1", "2")
    ]
    assert outputs[0].stdout == outputs[1].stdout
    assert outputs[0].stdout.startswith(b"[{")
    assert b"HiGHS" not in outputs[0].stdout
    assert outputs[0].stderr == b""
