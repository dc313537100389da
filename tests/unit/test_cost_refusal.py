"""Requests for what a bound on cost does not pay for: diverted, held where it ends in time, else refused CostBound."""

import asyncio

import pytest
from gateway_fake_agent import Start, starting
from gateway_fake_agent import function as gateway_function
from msgspec.structs import replace
from sim_worlds import endings, sim_function, workload

from stoker.admission import (
    NEVER_RETRY_AFTER_US,
    Forecast,
    Hold,
    Refuse,
    Send,
    after_miss,
    barred,
    choose,
    retry_after_us,
)
from stoker.cost.costs import Bound
from stoker.cost.prices import prices_of
from stoker.cost.spending import Spending
from stoker.model.function import CostBounds, Function, OnMiss, Variant
from stoker.prediction import Estimate
from stoker.reasons import DeviceReason, Reason
from stoker.testing.builders import MS, S, make_cpu, make_function, make_gpu
from stoker_sim.engine.setup import Form, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import VARIANTS, Outcomes

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

GPU, CPU = Variant.GPU, Variant.CPU
COLD = Forecast(start_us=8 * S, exec_us=100 * MS)
WARM = Forecast(warm=1, wait_us=100, exec_us=100)
SPENT = Bound(detail="it has spent 1 of the 1 an hour of slo.maxCostPerHour", until_us=100 * S)
DEAR = Bound(detail="a thousand of its requests cost 9 on its gpu variant", until_us=None, warm_too=True)


def with_policy(*actions: OnMiss) -> Function:
    return gateway_function(cpu_variant=True, on_predicted_miss=actions)


def test_a_bound_acts_on_what_is_cold_and_on_what_is_warm_only_where_it_says_so() -> None:
    assert barred(SPENT, WARM, 0) is WARM
    assert barred(replace(SPENT, until_us=5), COLD, 5) is COLD
    assert barred(None, COLD, 0) is COLD
    assert barred(SPENT, None, 0).denied == SPENT.detail  # type: ignore[union-attr]
    dear = barred(DEAR, WARM, 0)
    assert dear is not None
    assert (dear.warm, dear.denied) == (0, DEAR.detail)


def test_what_may_not_be_had_is_refused_at_once_and_not_served_late_and_retry_after_is_the_end_of_the_bound() -> None:
    spent = barred(SPENT, COLD, 40 * S)
    assert spent is not None
    for actions in ((OnMiss.DIVERT, OnMiss.SERVE_LATE), (OnMiss.REFUSE,)):
        choice, _ = choose(with_policy(*actions), {GPU: spent}, 60 * S, wakes=True)
        assert choice == Refuse(Reason.COST_BOUND, detail=SPENT.detail)
    assert retry_after_us(spent) == 60 * S + COLD.start_us
    dear = barred(DEAR, WARM, 0)
    assert after_miss(with_policy(OnMiss.SERVE_LATE), {GPU: dear}, 60 * S, 0, wakes=True)[0] == Refuse(  # type: ignore[dict-item]
        Reason.COST_BOUND, detail=DEAR.detail
    )
    assert retry_after_us(dear) == NEVER_RETRY_AFTER_US


def test_it_is_diverted_where_that_is_permitted_and_held_where_the_bound_ends_in_time() -> None:
    spent = barred(SPENT, COLD, 40 * S)
    assert spent is not None
    both = {GPU: spent, CPU: WARM}
    assert choose(with_policy(OnMiss.DIVERT, OnMiss.REFUSE), both, 60 * S, wakes=True)[0] == Send(CPU)
    assert choose(with_policy(OnMiss.REFUSE), {GPU: spent}, 70 * S, wakes=True)[0] == Hold(GPU)
    # Nor is anybody diverted to a variant that may not be had.
    late = Forecast(warm=1, wait_us=90 * S)
    denied = barred(SPENT, COLD, 0)
    assert denied is not None
    policy = with_policy(OnMiss.DIVERT, OnMiss.REFUSE)
    assert after_miss(policy, {GPU: late, CPU: denied}, 60 * S, 0, wakes=True)[0].reason is Reason.PREDICTED_MISS  # type: ignore[union-attr]


async def test_a_cold_request_under_a_spent_bound_is_answered_at_once(start: Start) -> None:
    g = await start(warm=False)
    g.gateway.set_bounds({"ns/f": {GPU: replace(SPENT, until_us=None)}})
    answer = await g.call()
    assert (answer.status, answer.problem().reason, answer.problem().detail) == (429, "CostBound", SPENT.detail)
    assert answer.headers["retry-after"] == "60"
    # It woke the function all the same.
    assert g.gateway.demand()["ns/f"][GPU].last_wake_us is not None


async def test_what_is_warm_serves_under_a_spent_bound_and_not_where_each_request_is_too_dear(start: Start) -> None:
    g = await start()
    g.gateway.set_bounds({"ns/f": {GPU: SPENT}})
    assert (await g.call()).status == 200
    g.gateway.set_bounds({"ns/f": {GPU: DEAR}})
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "CostBound")
    g.gateway.set_bounds({})
    assert (await g.call()).status == 200


async def test_held_requests_are_answered_when_a_bound_begins_that_outlasts_them(start: Start) -> None:
    g = await start(gateway_function(cpu_variant=True), warm=False)
    held = asyncio.create_task(g.call())
    await g.until(lambda: bool(g.gateway.demand()["ns/f"][GPU].held if g.gateway.demand() else 0))
    g.gateway.set_bounds({"ns/f": {GPU: replace(SPENT, until_us=1)}})  # over already
    await asyncio.sleep(0.02)
    assert not held.done()
    g.gateway.set_bounds({"ns/f": {GPU: replace(SPENT, until_us=None)}})
    answer = await held
    assert (answer.status, answer.problem().reason) == (429, "CostBound")
    assert g.at_rest()


async def test_a_held_request_that_may_be_diverted_goes_to_the_other_variant_and_the_answer_says_why(
    start: Start,
) -> None:
    g = await start(gateway_function(cpu_variant=True, on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE)), warm=False)
    held = asyncio.create_task(g.call())
    await g.until(lambda: bool(g.gateway.demand()["ns/f"][GPU].held if g.gateway.demand() else 0))
    await g.warm("ns/f", CPU)
    g.gateway.set_bounds({"ns/f": {GPU: replace(SPENT, until_us=None)}})
    answer = await held
    assert (answer.status, g.agent.runs[-1].header("stoker-variant")) == (200, "cpu")
    assert answer.headers["stoker-device-reason"] == DeviceReason.COST_BOUND.value


def simulated(bounds: CostBounds, *actions: OnMiss, cpu: bool = False) -> Outcomes:
    """Two calls a second for two minutes; on a GPU that costs one unit each second."""
    one = make_function(
        cpu_variant=cpu, latency_us=S, timeout_us=20 * S, keep_alive_ttl_us=S, on_predicted_miss=actions
    )
    one = replace(one, spec=replace(one.spec, slo=replace(one.spec.slo, cost=bounds)))
    function = sim_function(one, exec_us={"any": 200 * MS, "cpu": 900 * MS}, cold_us=2 * S)
    rows = [(S + turn * 500 * MS, 0, 200 * MS) for turn in range(240)]
    devices = (make_gpu(), make_cpu()) if cpu else (make_gpu(),)
    setup = Setup(devices=devices, form=Form.REPLICAS, prices={"A100": 3600.0, "cpu": 1.0}, device_choice="speed-up")
    return simulate(workload([function], rows, horizon_us=130 * S), setup)


def test_a_simulated_function_that_has_spent_its_hour_is_refused_and_waits_for_nothing() -> None:
    result = simulated(CostBounds(per_hour=40.0), OnMiss.SERVE_LATE)
    said = endings(result)
    assert set(said) == {"served", "refused CostBound"}
    # From the first refusal on: nothing serves for the rest of this hour.
    first = said.index("refused CostBound")
    assert set(said[first:]) == {"refused CostBound"}
    assert result.charges is not None
    assert max(result.charges.dearest_hours.values()) <= 40_000_000


def test_a_simulated_function_goes_to_its_cpu_variant_once_its_gpu_is_spent() -> None:
    result = simulated(CostBounds(per_hour=40.0), OnMiss.DIVERT, OnMiss.REFUSE, cpu=True)
    on_cpu = result.variant == VARIANTS.index(CPU)
    assert on_cpu[-60:].all()
    assert result.on_time[-60:].all()
    assert on_cpu[:60].sum() <= 1, "but for the one by which the CPU variant is measured"


@pytest.mark.parametrize(("samples", "known"), [(1, False), (4, False), (5, True)])
def test_one_long_first_run_condemns_no_function_to_cost_too_much(samples: int, known: bool) -> None:
    class Measured:
        def exec_us(self, *_: object) -> Estimate:
            return Estimate(10 * S, samples)

    function = make_function()
    slo = replace(function.spec.slo, cost=CostBounds(per_thousand_requests=0.01))
    bounded = replace(function, spec=replace(function.spec, slo=slo))
    spending, devices = Spending(), [make_gpu()]
    spending.bound_by([bounded], {})
    costs = spending.costs(devices, prices_of(devices, {"A100": 3.6}), Measured(), 0)
    assert bool(costs.run_micro[bounded.key]) is known
    assert bool(costs.dear) is known


def test_what_runs_of_bounded_functions_take_is_told_and_which_variants_are_well_on_time() -> None:
    class Measured:
        def exec_us(self, _: Function, variant: Variant, product: str | None = None) -> Estimate:
            return Estimate({GPU: 900 * MS, CPU: 800 * MS}[variant], 1)

    one, free = make_function(cpu_variant=True, latency_us=S), make_function("free", cpu_variant=True, latency_us=S)
    one = replace(one, spec=replace(one.spec, slo=replace(one.spec.slo, cost=CostBounds(per_hour=1.0))))
    spending, devices = Spending(), [make_gpu(), make_cpu()]
    spending.bound_by([one, free], {})
    costs = spending.costs(devices, prices_of(devices, {"A100": 3.6}), Measured(), 0)
    assert costs.exec_us == {one.key: {GPU: 900 * MS, CPU: 800 * MS}}
    assert costs.on_time == {one.key: (CPU,)}
    spending.bound_by([one, free], {free.namespace: 2.0})
    costs = spending.costs(devices, prices_of(devices, {"A100": 3.6}), Measured(), 0)
    assert set(costs.exec_us) == {one.key, free.key}
