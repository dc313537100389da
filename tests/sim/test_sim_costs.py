"""Bounds on cost over simulated hours: no rolling hour costs more than it may, and accounts add up exactly."""

from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from sim_worlds import image, sim_function, workload

from stoker.cost.prices import HOUR_US, MICRO, prices_of
from stoker.model.function import CostBounds, Function, Variant
from stoker.testing.builders import MS, S, make_cpu, make_function, make_gpu
from stoker_sim.engine.setup import Delays, Form, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import Workload

pytestmark = [pytest.mark.sim, pytest.mark.timeout(180)]

PRICES = {"A100": 3.0, "L4": 0.7, "cpu": 0.04}
DEVICES = (
    make_gpu("gpu-0"),
    make_gpu("gpu-1", product="L4-24GB", memory_mib=24_576),
    replace(make_cpu(), id="cpu-0"),
)
LENGTH_US = HOUR_US + 15 * 60 * S
DELAYS = Delays(load_plan_us=S)


def bounded(function: Function, bounds: CostBounds) -> Function:
    slo = replace(function.spec.slo, cost=bounds)
    return replace(function, spec=replace(function.spec, slo=slo))


def bursts(random: Random, function: int, busy_per_s: float) -> list[tuple[int, int, int]]:
    """Times of quiet and of many requests, of random lengths."""
    rows, at_us = [], 0
    while at_us < LENGTH_US:
        end_us = at_us + int(random.expovariate(1 / (600 * S)))
        rate = random.choice((0.0, 0.02, busy_per_s))
        while rate and (at_us := at_us + int(random.expovariate(rate) * S)) < min(end_us, LENGTH_US):
            rows.append((at_us, function, int(random.uniform(0.5, 1.5) * 400 * MS)))
        at_us = max(at_us, end_us)
    return rows


def history(seed: int, bounds: CostBounds) -> Workload:
    random = Random(seed)
    plain: dict[str, Any] = {"latency_us": 2 * S, "timeout_us": 30 * S, "keep_alive_ttl_us": 300 * S}
    definitions = [
        bounded(make_function("hourly", namespace="a", max_replicas=3, **plain), bounds),
        bounded(make_function("both", namespace="a", cpu_variant=True, **plain), bounds),
        make_function("free", namespace="b", **plain),
    ]
    functions = [
        sim_function(one, exec_us={"any": 400 * MS, "cpu": 1600 * MS}, cold_us=int(random.uniform(1, 20) * S))
        for one in definitions
    ]
    rows = sorted(row for number in range(3) for row in bursts(random, number, random.uniform(0.3, 1.0)))
    return workload(functions, rows, horizon_us=LENGTH_US)


@pytest.mark.parametrize("seed", range(3))
def test_no_rolling_hour_costs_more_than_its_bound_allows(seed: int) -> None:
    per_hour = (0.1, 0.6, 1.5)[seed]
    setup = Setup(
        devices=DEVICES, form=Form.REPLICAS, delays=DELAYS, prices=PRICES, namespace_caps={"a": 1.5 * per_hour}
    )
    result = simulate(history(seed, CostBounds(per_hour=per_hour)), setup)
    charges = result.charges
    assert charges is not None
    assert charges.caps == {
        "a/hourly": round(per_hour * MICRO),
        "a/both": round(per_hour * MICRO),
        "a": round(1.5 * per_hour * MICRO),
    }
    for name, dearest in charges.dearest_hours.items():
        assert dearest <= 1.02 * charges.caps[name], name
    assert max(charges.dearest_hours.values()) > 0.5 * per_hour * MICRO
    price = sum(prices_of(DEVICES, PRICES).values())
    assert charges.total == price * result.end_us // HOUR_US
    assert sum(one.total for one in charges.accounts.values()) + charges.unallocated == charges.total
    assert charges.unallocated >= 0
    assert charges.accounts["b/free", Variant.GPU].runs > 0


def test_prices_without_bounds_change_nothing_but_the_accounts() -> None:
    # One GPU: prices decide which of several a request goes to.
    devices, work = (DEVICES[0], DEVICES[2]), history(1, CostBounds())
    plain = simulate(work, Setup(devices=devices, form=Form.REPLICAS, delays=DELAYS))
    priced = simulate(work, Setup(devices=devices, form=Form.REPLICAS, delays=DELAYS, prices=PRICES))
    assert image(plain) == image(priced)
    assert plain.charges is None
    assert priced.charges is not None
    assert sum(one.runs for one in priced.charges.accounts.values()) == int((priced.dispatch_us >= 0).sum())


def test_a_tighter_bound_costs_less_and_serves_fewer() -> None:
    spent, on_time = [], []
    for per_hour in (0.1, 0.5):
        result = simulate(
            history(3, CostBounds(per_hour=per_hour)),
            Setup(devices=DEVICES, form=Form.REPLICAS, delays=DELAYS, prices=PRICES),
        )
        assert result.charges is not None
        accounts = result.charges.accounts
        spent.append(sum(accounts[key].total for key in accounts if key[0] == "a/hourly"))
        on_time.append(int((result.on_time & (result.function == 0)).sum()))
    assert spent == sorted(spent)
    assert on_time == sorted(on_time)
    assert on_time[0] > 0
