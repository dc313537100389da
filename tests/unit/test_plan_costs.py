"""Bounds on cost in plan(): who gets no replica, who loses one, which device is taken, and what gateways are told."""

from typing import Any

import pytest
from msgspec.structs import replace
from planning_world import GPU, S, World, cores, gpus, make_function

from stoker.control.planning import Drain, Observed
from stoker.cost.cap import amount
from stoker.cost.meter import Meter
from stoker.cost.prices import HOUR_US, MICRO, prices_of
from stoker.cost.shares import parts_of
from stoker.cost.spending import Spending
from stoker.model.device import Device
from stoker.model.function import ContainerSpec, CostBounds, CpuVariant, Function, GpuOption, Variant
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

A100 = {"A100": 3.6}
"""One micro-unit each millisecond."""
KEY = "default/f"


def bounded(function: Function, **bounds: float) -> Function:
    slo = replace(function.spec.slo, cost=CostBounds(**bounds))
    return replace(function, spec=replace(function.spec, slo=slo))


class PricedWorld(World):
    """The model world with a meter; what it says is what plan() is shown."""

    def __init__(
        self,
        functions: list[Function],
        devices: list[Device],
        table: dict[str, float] = A100,
        caps: dict[str, float] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(functions, devices, **params)
        self.meter = Meter()
        self.prices = prices_of(devices, table)
        self.meter.set_prices(self.prices, self.now_us)
        self.spending = Spending()
        self.spending.bound_by(functions, caps or {})

    def observed(self) -> Observed:
        by_id = {device.id: device for device in self.devices}
        for identity, parts in self.reservations.items():
            spec = self.replicas[identity].spec
            if self.meter.charge(identity) is None:
                self.meter.hold(identity, spec.function, spec.variant, parts_of(parts, by_id), self.now_us)
        for status in self.replicas.values():
            charge = self.meter.charge(status.spec.id)
            assert charge is not None
            if status.state is ReplicaState.WARM:
                charge.warm(self.now_us)
        self.spending.see(self.meter.accounts(self.now_us), self.now_us)
        costs = self.spending.costs(self.devices, self.prices, None, self.now_us)
        return replace(super().observed(), costs=costs)

    def _gone(self, identity: str) -> None:
        self.meter.release(identity, self.now_us)
        super()._gone(identity)

    def reason(self, name: str = KEY) -> Reason:
        assert self.last is not None
        return self.last.statuses[name].condition("Ready").reason


def test_without_a_price_a_bound_does_nothing() -> None:
    world = PricedWorld([bounded(make_function(), per_hour=0.000001)], gpus(), table={})
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    assert world.last is not None
    assert world.last.bounds == {}


def test_a_function_whose_bound_pays_for_no_start_gets_no_replica_and_the_condition_says_so() -> None:
    world = PricedWorld([bounded(make_function(), per_hour=0.001)], gpus())
    world.want("f", 1)
    world.run(5 * S)
    assert not world.starts("f")
    assert world.reason() is Reason.COST_BOUND
    assert world.last is not None
    bound = world.last.bounds[KEY][GPU]
    assert bound.until_us is None
    assert "its cheapest device costs 3.6 an hour" in bound.detail


def test_a_device_that_costs_ten_times_the_bound_is_held_for_a_tenth_of_the_hour() -> None:
    world = PricedWorld([bounded(make_function(), per_hour=0.36)], gpus())
    world.exec_known_us[KEY] = S
    world.want("f", 1)
    world.until(lambda: bool(world.drains(Reason.COST_BOUND)), limit_us=500 * S, by_us=S)
    spent, _ = world.spending.last_hour(KEY, world.now_us)
    assert 0.9 * 0.36 * MICRO <= spent <= 0.36 * MICRO
    world.run(10 * S)
    assert world.reason() is Reason.COST_BOUND
    assert world.last is not None
    bound = world.last.bounds[KEY][GPU]
    assert bound.until_us is not None
    assert bound.until_us - world.now_us > 3000 * S
    assert bound.detail.startswith("it has spent 0.3")


@pytest.mark.parametrize("known", [True, False])
def test_what_a_run_takes_is_known_while_there_is_no_replica_so_that_none_is_started_to_be_drained(known: bool) -> None:
    # Two starts and a run of a minute with its end cost more than the hundred seconds that are paid for.
    world = PricedWorld([bounded(make_function(), per_hour=0.1)], gpus())
    plain = world.observed
    told = {KEY: {GPU: 60 * S}} if known else {}
    world.observed = lambda: replace(plain(), costs=replace(plain().costs, exec_us=told))  # type: ignore[method-assign]
    world.want("f", 1)
    world.run(5 * S)
    assert bool(world.starts("f")) is not known


def test_min_replicas_that_the_bound_does_not_pay_for_all_the_hour_are_not_made() -> None:
    world = PricedWorld([bounded(make_function(min_replicas=3), per_hour=8.0)], gpus(4))
    world.run(30 * S, by_us=S)
    assert world.warm("f") == 2
    assert world.last is not None
    status = world.last.statuses[KEY]
    assert status.condition("Ready").status
    assert not world.drains()
    assert not world.last.bounds


def test_min_replicas_over_the_bound_still_serve_who_asks() -> None:
    world = PricedWorld([bounded(make_function(min_replicas=1), per_hour=0.36)], gpus())
    world.exec_known_us[KEY] = S
    world.run(5 * S)
    assert not world.starts("f")
    assert world.reason() is Reason.COST_BOUND
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.want("f", 0)
    world.until(lambda: world.warm("f") == 0, limit_us=360 * S, by_us=S)
    assert world.drains()[0].reason is Reason.COST_BOUND
    spent, _ = world.spending.last_hour(KEY, world.now_us)
    assert spent < 0.36 * MICRO, "something is left for who asks next"


def test_where_the_bound_is_short_an_idle_replica_stays_for_a_part_of_what_is_left_of_it() -> None:
    function = make_function(keep_alive_ttl_us=300 * S)
    for bound, stays in ((0.01, False), (0.36, True), (4.0, True)):
        world = PricedWorld([bounded(function, per_hour=bound)], gpus())
        world.exec_known_us[KEY] = 100_000
        world.call("f")
        world.run(20 * S)
        assert (world.warm("f") == 1) is stays, bound
        assert len(world.starts("f")) == 1


def test_idling_leaves_some_of_the_bound_for_those_who_come_later() -> None:
    world = PricedWorld([bounded(make_function(keep_alive_ttl_us=3000 * S), per_hour=0.36)], gpus())
    world.call("f")
    world.until(lambda: world.warm("f") == 0, limit_us=360 * S, by_us=S)
    spent, _ = world.spending.last_hour(KEY, world.now_us)
    assert 0.25 * 0.36 * MICRO < spent < 0.75 * 0.36 * MICRO
    world.call("f")
    assert len(world.starts("f")) == 2


def test_a_function_called_by_the_clock_goes_between_two_calls_and_is_back_before_the_next_one() -> None:
    # A thousand of each 3600 s are paid for: not for staying from call to call.
    world = PricedWorld([bounded(make_function(latency_us=50_000), per_hour=1.0)], gpus())
    warm_at_call, dearest = [], 0
    for _ in range(32):
        warm_at_call.append(world.warm("f") == 1)
        world.call("f")
        world.run(240 * S, by_us=3 * S)
        dearest = max(dearest, world.spending.last_hour(KEY, world.now_us)[0])
    assert sum(warm_at_call[16:]) >= 13, warm_at_call
    assert len(world.starts("f")) > 13
    assert dearest <= MICRO


def test_a_gpu_that_the_bound_does_not_pay_for_all_the_hour_is_spared_where_the_cpu_variant_is_on_time() -> None:
    for on_time, spared in (((Variant.CPU,), True), ((), False)):
        world = PricedWorld(
            [bounded(make_function(cpu_variant=CpuVariant(container=ContainerSpec(cpu_millis=500))), per_hour=0.36)],
            [*gpus(), cores()],
            table={"A100": 3.6, "cpu": 0.01},
        )
        plain = world.observed

        def observed(plain: Any = plain, on_time: tuple[Variant, ...] = on_time) -> Observed:
            seen: Observed = plain()
            return replace(seen, costs=replace(seen.costs, on_time={KEY: on_time}))

        world.observed = observed  # type: ignore[method-assign]
        world.want("f", 1)
        world.run(5 * S)
        assert bool(world.starts("f")) is not spared
        assert world.last is not None
        if spared:
            assert world.last.bounds[KEY][GPU].detail.startswith("its cpu variant is on time for ")
            assert Variant.CPU not in world.last.bounds[KEY]
            assert world.reason() is Reason.SCALED_TO_ZERO, "it is healthy: the other variant serves"


def test_a_gpu_is_not_spared_while_no_device_is_free_for_the_cpu_variant() -> None:
    cpu_variant = CpuVariant(container=ContainerSpec(cpu_millis=4000))
    functions = [
        make_function("g", cpu_variant=cpu_variant),
        bounded(make_function(cpu_variant=cpu_variant), per_hour=0.36),
    ]
    world = PricedWorld(functions, [*gpus(), cores(4000)], table={"A100": 3.6, "cpu": 0.01})
    plain = world.observed
    world.observed = lambda: replace(plain(), costs=replace(plain().costs, on_time={KEY: (Variant.CPU,)}))  # type: ignore[method-assign]
    world.want("g", 1, Variant.CPU)
    world.run(5 * S)
    world.want("f", 1, Variant.CPU)
    world.want("f", 1)
    world.run(5 * S)
    assert [start.spec.variant for start in world.starts("f")] == [GPU]


def test_the_cheapest_device_is_taken_first_and_the_dearer_one_next() -> None:
    devices = [*gpus(1, product="H100"), *gpus(1, product="T4", first=1)]
    world = PricedWorld([bounded(make_function(), per_hour=100.0)], devices, table={"H100": 9.0, "T4": 0.5})
    world.want("f", 2)
    world.until(lambda: world.warm("f") == 2)
    assert [start.spec.devices for start in world.starts("f")] == [("sim-1",), ("sim-0",)]


def test_without_a_bound_the_order_of_devices_is_as_ever() -> None:
    devices = [*gpus(1, product="H100"), *gpus(1, product="T4", first=1)]
    world = PricedWorld([make_function()], devices, table={"H100": 9.0, "T4": 0.5})
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    assert world.starts("f")[0].spec.devices == ("sim-0",)


def test_a_namespace_bound_stops_its_functions_and_no_others() -> None:
    functions = [make_function(name, namespace=space) for name, space in (("f", "poor"), ("g", "poor"), ("h", "rich"))]
    world = PricedWorld(functions, gpus(3), caps={"poor": 0.36})
    for key in ("poor/f", "poor/g", "rich/h"):
        world.exec_known_us[key] = S
        world.want(key, 1)
    world.run(400 * S, by_us=S)
    assert {drain.replica_id.split("-")[0] for drain in world.drains(Reason.COST_BOUND)} == {"poor/f", "poor/g"}
    assert world.warm("rich/h") == 1
    assert world.reason("poor/f") is Reason.COST_BOUND
    assert world.last is not None
    assert set(world.last.bounds) == {"poor/f", "poor/g"}
    assert "namespace poor has spent" in world.last.bounds["poor/f"][GPU].detail


def test_a_variant_whose_requests_cost_too_much_is_not_had_and_the_other_one_is() -> None:
    function = make_function(gpu=(GpuOption(memory_mib=4096),))
    world = PricedWorld([bounded(function, per_thousand_requests=0.5)], [*gpus(), cores()])
    observed = world.observed()
    costs = replace(observed.costs, run_micro={KEY: {GPU: 1000}}, dear={KEY: ("A100-40GB",)})
    world.observed = lambda: replace(observed, costs=costs, demand=World.observed(world).demand)  # type: ignore[method-assign]
    world.want("f", 1)
    world.plan()
    assert not world.starts("f")
    assert world.last is not None
    bound = world.last.bounds[KEY][Variant.GPU]
    assert bound.warm_too
    assert "a thousand of its requests cost 1 on its gpu variant" in bound.detail


def test_idle_replicas_stay_for_what_requests_left_over_of_their_bound_on_a_thousand() -> None:
    # Each request may cost 10,000 micro-units; 50 of them left 370,000, at one a millisecond.
    for runs, warm in ((50, 1), (2, 0)):
        world = PricedWorld([bounded(make_function(), per_thousand_requests=10.0)], gpus())
        world.call("f")
        plain = world.observed

        def observed(runs: int = runs, plain: Any = plain) -> Observed:
            seen: Observed = plain()
            return replace(seen, costs=replace(seen.costs, runs={KEY: runs}))

        world.observed = observed  # type: ignore[method-assign]
        world.run(60 * S, by_us=S)
        assert world.warm("f") == warm
        assert len(world.starts("f")) == 1


def test_what_is_warm_of_a_variant_that_became_too_dear_goes_at_once() -> None:
    world = PricedWorld([bounded(make_function(), per_thousand_requests=100.0)], gpus())
    world.call("f")
    assert world.warm("f") == 1
    plain = world.observed

    def observed() -> Observed:
        seen = plain()
        return replace(seen, costs=replace(seen.costs, run_micro={KEY: {GPU: 10**6}}, dear={KEY: ("A100-40GB",)}))

    world.observed = observed  # type: ignore[method-assign]
    world.run(3 * S)
    assert world.warm("f") == 0
    assert world.drains()[0].reason is Reason.COST_BOUND


def test_a_scope_that_is_refused_holds_no_claim_on_a_device_that_others_want() -> None:
    functions = [bounded(make_function("f"), per_hour=0.001), make_function("g")]
    world = PricedWorld(functions, gpus())
    world.want("f", 1)
    world.want("g", 1)
    world.until(lambda: world.warm("g") == 1)
    world.run(30 * S)
    assert world.warm("g") == 1
    assert not any(isinstance(action, Drain) for _, action in world.actions)


def test_amounts_are_rounded_up() -> None:
    assert amount(1, 1) == 1
    assert amount(3_600_000, 1000) == 1
    assert amount(0, HOUR_US) == 0


def test_a_pod_under_a_bound_is_kept_from_nodes_that_cost_more_than_the_device_that_was_meant() -> None:
    cheap, dear, poor = (
        replace(one, node=node, id=f"{node}/gpu", memory_mib=memory_mib)
        for one, node, memory_mib in zip(gpus(3), ("cheap", "dear", "small"), (40_960, 40_960, 1_024), strict=True)
    )
    world = PricedWorld([bounded(make_function(), per_hour=4.0), make_function("free")], [dear, cheap, poor])
    world.prices = {cheap.id: 3_600_000, dear.id: 36_000_000, poor.id: 36_000_000}
    world.want("f", 1)
    world.want("free", 1)
    world.run(S)
    (start,) = world.starts("f")
    assert start.spec.devices == (cheap.id,)
    assert start.avoid_nodes == ("dear",), "where it could not go anyway nothing is to be said"
    (start,) = world.starts("free")
    assert start.avoid_nodes == ()
