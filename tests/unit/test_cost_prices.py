"""Prices of devices, the shares that replicas hold of them, and minReplicas that cost more than they may."""

import pytest
from msgspec.structs import replace

from stoker.cost.minimum import over_bound
from stoker.cost.money import money
from stoker.cost.prices import bad_label, micro, price_of, prices_of, unpriced
from stoker.cost.shares import ONE, Part, part_of
from stoker.model.function import CostBounds, Function, GpuOption, Sharing
from stoker.model.policy import NamespaceRule, default_policy
from stoker.testing.builders import make_cpu, make_function, make_gpu

pytestmark = pytest.mark.unit

A100, L4, CPU = make_gpu("a"), make_gpu("l", product="L4-24GB", memory_mib=24_576), make_cpu(millicores=3500)


def bounded(per_hour: float, **fields: object) -> Function:
    function = make_function(**fields)  # type: ignore[arg-type]
    slo = replace(function.spec.slo, cost=CostBounds(per_hour=per_hour))
    return replace(function, spec=replace(function.spec, slo=slo))


def test_a_product_without_a_price_has_that_of_its_family_and_its_own_goes_before_that() -> None:
    assert price_of(A100, {"A100": 3.0}) == 3_000_000
    assert price_of(A100, {"A100": 3.0, "A100-40GB": 2.5}) == 2_500_000
    assert price_of(A100, {"A100-80GB": 4.0}) is None


def test_the_cpu_device_costs_its_cores() -> None:
    assert price_of(CPU, {"cpu": 0.04}) == 140_000


def test_a_label_of_the_node_goes_before_the_table_and_a_bad_one_is_told() -> None:
    node = {"stoker.dev/price-per-hour": "1.25", "stoker.dev/cpu-price-per-hour": "cheap"}
    assert price_of(A100, {"A100": 3.0}, node) == 1_250_000
    assert price_of(CPU, {"cpu": 0.04}, node) == 140_000
    assert bad_label(node) == "stoker.dev/cpu-price-per-hour"
    for text in ("nan", "-1", "inf", "1e9", ""):
        assert bad_label({"stoker.dev/price-per-hour": text}) == "stoker.dev/price-per-hour"
    assert bad_label({"stoker.dev/price-per-hour": "0"}) is None


def test_what_has_no_price_is_named() -> None:
    prices = prices_of([A100, L4, CPU], {"A100": 3.0, "cpu": 0.0})
    assert prices == {"a": 3_000_000, "cpu": 0}
    assert unpriced([A100, L4, CPU], prices) == ("L4-24GB",)


@pytest.mark.parametrize(
    ("sharing", "memory_mib", "idle", "one", "two"),
    [
        (Sharing.EXCLUSIVE, 1, ONE, ONE, ONE),
        (Sharing.SHARED, 10_240, ONE // 4, ONE // 2, ONE),
        (Sharing.SHARED, 30_720, 3 * ONE // 4, 3 * ONE // 4, ONE),
    ],
)
def test_the_held_share_is_the_larger_of_memory_and_slots(
    sharing: Sharing, memory_mib: int, idle: int, one: int, two: int
) -> None:
    part = part_of(make_gpu(slots=2), memory_mib, 0, sharing)
    assert (part.held(0), part.held(1), part.held(2)) == (idle, one, two)


def test_a_cpu_replica_holds_its_cores_whatever_it_runs() -> None:
    assert part_of(CPU, 0, 700, Sharing.SHARED) == Part(device_id="cpu", standing=ONE // 5)


def test_min_replicas_over_a_bound_are_refused_with_what_they_cost_at_least() -> None:
    policy = replace(default_policy(), prices={"A100": 3.0, "L4": 0.7})
    assert over_bound(bounded(2.0, min_replicas=2), [A100, L4], policy) is None
    said = over_bound(bounded(2.0, min_replicas=3), [A100, L4], policy)
    assert said is not None
    assert said.startswith("3 replicas cost at least 2.1 an hour, more than the 2 of spec.slo.maxCostPerHour")
    shared = (GpuOption(memory_mib=4096, sharing=Sharing.SHARED),)
    assert over_bound(bounded(0.31, min_replicas=1, gpu=shared), [A100], policy) is None


def test_the_bound_of_a_namespace_refuses_min_replicas_too() -> None:
    policy = replace(default_policy(), prices={"A100": 3.0}, others=NamespaceRule(max_cost_per_hour=1.0))
    said = over_bound(make_function(min_replicas=1), [A100], policy)
    assert said is not None
    assert "1 replica costs at least 3 an hour, more than the 1 of maxCostPerHour of its namespace" in said


def test_without_prices_or_a_device_nothing_is_refused_for_what_it_costs() -> None:
    assert over_bound(bounded(0.000001, min_replicas=3), [A100], default_policy()) is None
    policy = replace(default_policy(), prices={"cpu": 3.0})
    assert over_bound(bounded(0.000001, min_replicas=3), [CPU], policy) is None


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1, "0.000001"), (250_000, "0.25"), (10**12, "1000000"), (-1500, "-0.0015")]
)
def test_money_is_written_without_an_exponent(amount: int, text: str) -> None:
    assert money(amount) == text


def test_an_amount_is_rounded_to_the_nearest_micro_unit() -> None:
    assert micro(0.1 + 0.2) == 300_000
