"""Allocation policies: whose idle replica gives way to whom, whose turn it is, and what plan() makes of it."""

from functools import partial
from typing import Any

import pytest
from planning_world import GPU, S, World, gpus, make_function

from stoker.control.planning import Level, PlanMemory, Shares
from stoker.model.replica import ReplicaState
from stoker.policies.allocation.interface import Resident, Wanting
from stoker.policies.allocation.registry import ALLOCATION, make_allocation_policy
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

NOW = 1_000 * S


def resident(flow: str = "a/f", **fields: Any) -> Resident:
    facts = {
        "memory_mib": 40_960, "reload_us": 5 * S, "exec_us": S, "latency_us": 10 * S, "loaded_us": 0,
        "idle_since_us": 900 * S, "uses": 10, "clock": 0.0,
    }  # fmt: skip
    return Resident(flow=flow, namespace=flow.partition("/")[0], **{**facts, **fields})


def wanting(flow: str = "b/g", *, entitled: bool = True, since_us: int = NOW, **fields: Any) -> Wanting:
    own = {name: fields.pop(name) for name in list(fields) if name in Resident.__struct_fields__}
    facts = {"turn_us": 10 * S, "tenant_holds": True}
    return Wanting(resident=resident(flow, **own), since_us=since_us, entitled=entitled, **{**facts, **fields})


def gives(name: str, one: Resident, to: Wanting) -> bool:
    policy = make_allocation_policy(name)
    return policy.value(one, NOW) < policy.limit(to, NOW) and policy.may_take(to, one)


@pytest.mark.parametrize("name", ["greedy-dual", "light-first", "lru", "slack-value"])
def test_by_value_anybody_without_a_replica_gets_the_least_and_scaling_out_only_what_is_worth_less(name: str) -> None:
    dear = resident(uses=99, idle_since_us=990 * S)
    assert gives(name, dear, wanting(uses=1, idle_since_us=0))
    assert not gives(name, dear, wanting(uses=1, idle_since_us=0, entitled=False))
    assert gives(name, resident(uses=1, idle_since_us=0), wanting(uses=99, idle_since_us=990 * S, entitled=False))


@pytest.mark.parametrize("name", sorted(ALLOCATION))
def test_no_policy_gives_a_busy_replica_to_whoever_has_not_been_patient_or_is_not_behind(name: str) -> None:
    assert not make_allocation_policy(name).may_turn(wanting(), resident())


def test_exclusive_takes_from_the_tenant_with_the_most_and_only_if_that_has_two_more() -> None:
    three, two = resident("a/f", tenant_devices=3), resident("c/f", tenant_devices=2)
    policy = make_allocation_policy("exclusive")
    assert policy.value(three, NOW) < policy.value(two, NOW)
    assert gives("exclusive", three, wanting(tenant_devices=1))
    assert not gives("exclusive", two, wanting(tenant_devices=1))
    assert not gives("exclusive", three, wanting(tenant_devices=2))
    assert gives("exclusive", resident("c/f", tenant_devices=1), wanting(tenant_devices=0))
    # What it holds would not do for this function, so for this function it has none.
    assert gives("exclusive", two, wanting(tenant_devices=5, tenant_holds=False))


def test_exclusive_prefers_of_equal_tenants_the_one_that_shrank_least_recently() -> None:
    never, long_ago, lately = (resident(tenant_devices=3, tenant_gave_way_us=at) for at in (0, S, 900 * S))
    policy = make_allocation_policy("exclusive")
    values = [policy.value(one, NOW) for one in (never, long_ago, lately)]
    assert values == sorted(set(values))
    assert values[-1] < policy.value(resident(tenant_devices=2), NOW)


def test_exclusive_turns_follow_the_same_rule() -> None:
    policy = make_allocation_policy("exclusive")
    patient = wanting(tenant_devices=1, patient=True)
    assert policy.may_turn(patient, resident(tenant_devices=3))
    assert not policy.may_turn(patient, resident(tenant_devices=2))
    assert policy.may_turn(patient, resident("b/other", tenant_devices=1)), "one of its own"
    assert policy.greed(resident(tenant_devices=3)) > policy.greed(resident(tenant_devices=2, usage_us=1e12))


def test_fair_takes_idle_replicas_from_namespaces_that_are_further_ahead() -> None:
    ahead, behind = resident("a/f", namespace_lead_us=9.0), resident("c/f", namespace_lead_us=1.0, lead_us=50.0)
    assert gives("fair", ahead, wanting(namespace_lead_us=5.0))
    assert not gives("fair", behind, wanting(namespace_lead_us=5.0))
    assert gives("fair", behind, wanting(namespace_lead_us=5.0, tenant_holds=False))
    # Within a namespace a function without a replica gets any; one that scales out, of those that are ahead of it.
    own = resident("b/f", namespace_lead_us=5.0)
    assert gives("fair", own, wanting(namespace_lead_us=5.0, lead_us=3.0))
    assert not gives("fair", own, wanting(namespace_lead_us=5.0, lead_us=3.0, entitled=False))
    assert gives(
        "fair", resident("b/f", namespace_lead_us=5.0, lead_us=9.0), wanting(namespace_lead_us=5.0, entitled=False)
    )


def test_fair_ranks_the_namespace_before_the_function_whatever_their_leads() -> None:
    policy = make_allocation_policy("fair")
    far = resident(namespace_lead_us=1e6, lead_us=0.0)
    near = resident(namespace_lead_us=1e6 - 1, lead_us=3.6e9)
    assert policy.greed(far) > policy.greed(near)
    assert policy.value(far, NOW) < policy.value(near, NOW)
    assert policy.urgency(wanting(namespace_lead_us=1.0)) < policy.urgency(wanting(namespace_lead_us=2.0))


def test_fair_trades_a_turn_when_the_giver_holds_more_and_is_ahead_by_a_turn() -> None:
    policy = make_allocation_policy("fair")

    def trades(lead_s: float, held: int = 5, **fields: Any) -> bool:
        giver = resident("a/f", namespace_lead_us=lead_s * S, namespace_weight=2, tenant_devices=held)
        return policy.may_turn(wanting(entitled=False, tenant_devices=2, **fields), giver)

    # A turn of 10 s moves the lead by 10 / 2 on one side and 10 / 1 on the other.
    assert not trades(15)
    assert trades(15.1)
    assert not trades(15.1, held=4), "4 / 2 is what the other has, with what is on its way: the lead grows no more"
    assert trades(0.1, patient=True)
    assert not trades(0.0, patient=True)
    assert not trades(0.1, held=4, patient=True)
    # What it holds would not do: its lead comes from devices that nobody here wants.
    assert trades(0.0, held=0, patient=True, tenant_holds=False)


def test_fair_makes_whoever_holds_nothing_wait_in_proportion_to_its_weight() -> None:
    policy = make_allocation_policy("fair")
    giver = resident("a/f", namespace_lead_us=5 * S, tenant_devices=1)
    for lead_s, gets in ((4.9, True), (5.1, False)):
        waits = wanting(namespace_lead_us=lead_s * S, patient=True, tenant_holds=False)
        assert policy.may_turn(waits, giver) is gets


def test_fair_compares_functions_within_a_namespace_only() -> None:
    policy = make_allocation_policy("fair")
    own = wanting("a/g", entitled=False, tenant_devices=9)
    giver = {"devices": 2, "tenant_devices": 9, "namespace_lead_us": 99 * S}
    assert not policy.may_turn(own, resident("a/f", lead_us=20 * S, **giver))
    assert policy.may_turn(own, resident("a/f", lead_us=20.1 * S, **giver))
    assert not policy.may_turn(wanting("a/g", devices=2), resident("a/f", lead_us=20.1 * S, **giver))


def test_slack_value_serves_first_whoever_runs_out_of_slack_first() -> None:
    policy = make_allocation_policy("slack-value")
    short = policy.urgency(wanting(latency_us=8 * S))
    long = policy.urgency(wanting(latency_us=60 * S))
    assert (short, long) == (NOW + 2 * S, NOW + 54 * S)
    assert policy.urgency(wanting(latency_us=S)) == NOW, "too late already: by arrival"


# What plan() makes of them.


def warm_and_idle(world: World, *names: str) -> None:
    for name in names:
        world.want(name, 1)
        world.until(partial(_has_warm, world, name))
        world.run(2 * S)
        world.want(name, 0)
        world.run(2 * S)


def _has_warm(world: World, name: str) -> bool:
    return world.warm(name) == 1


def world_of(allocation: str, names: str, devices: int, **fields: Any) -> World:
    functions = [
        make_function(name.partition("/")[2], namespace=name.partition("/")[0], **fields) for name in names.split()
    ]
    return World(functions, gpus(devices), allocation=allocation)


def test_a_tenant_pool_gives_its_own_idle_replica_before_it_asks_others() -> None:
    world = world_of("exclusive", "a/f a/g b/f b/g", 3)
    warm_and_idle(world, "a/f", "b/f", "b/g")
    world.want("a/g", 1)
    world.step()
    assert [drain.replica_id for drain in world.drains()] == world.ids("a/f", ReplicaState.DRAINING)


def test_a_tenant_without_a_replica_takes_one_from_the_largest_pool_and_then_no_more_than_evens_out() -> None:
    world = world_of("exclusive", "a/f a/g a/h b/f b/g", 3)
    warm_and_idle(world, "a/f", "a/g", "a/h")
    for name in ("b/f", "b/g"):
        world.want(name, 1)
    world.run(8 * S)
    # One from a; b/g then waits, since 1 + 1 is not less than 2, for b's own or for its patience.
    assert len(world.drains()) == 1
    assert (world.warm("b/f"), world.warm("b/g")) == (1, 0)
    world.want("b/f", 0)
    world.until(lambda: world.warm("b/g") == 1)
    assert all(drain.replica_id.startswith("b/f") for drain in world.drains()[1:])


def test_under_exclusive_pools_more_tenants_than_devices_take_turns() -> None:
    world = world_of("exclusive", "a/f b/f c/f", 2)
    for name in ("a/f", "b/f", "c/f"):
        world.want(name, 50)
    world.run(90 * S)
    assert all(len(world.starts(name)) >= 2 for name in ("a/f", "b/f", "c/f"))


@pytest.mark.parametrize("allocation", ["slack-value", "greedy-dual"])
def test_slack_value_keeps_the_function_whose_callers_cannot_wait_and_greedy_dual_the_one_that_starts_slowly(
    allocation: str,
) -> None:
    patient = make_function("patient", latency_us=600 * S)
    hurried = make_function("hurried", latency_us=1_500_000)
    world = World([patient, hurried, make_function("new")], gpus(2), allocation=allocation)
    world.exec_known_us = {"default/patient": S, "default/hurried": S}
    warm_and_idle(world, "hurried", "patient", "patient")
    world.want("new", 1)
    world.step()
    (drain,) = world.drains()
    assert drain.replica_id.startswith("default/patient" if allocation == "slack-value" else "default/hurried")


def test_a_clock_is_kept_only_for_a_policy_that_ages() -> None:
    for allocation, ages in (("greedy-dual", True), ("lru", False), ("slack-value", False)):
        world = World([make_function("a"), make_function("b")], gpus(1), allocation=allocation)
        warm_and_idle(world, "a")
        world.want("b", 1)
        world.until(lambda world=world: world.warm("b") == 1)  # type: ignore[misc]
        assert bool(world.memory.clocks) is ages


def test_leads_are_kept_only_while_somebody_lacks_a_device_or_is_ahead() -> None:
    world = world_of("fair", "a/f b/f", 1, max_replicas=1)
    world.want("a/f", 50)
    world.run(30 * S)
    assert world.memory.shares == {}
    world.want("b/f", 50)
    world.step()
    assert world.memory.shares[GPU].namespaces.lacking == {"b"}
    world.run(5 * S)
    assert world.memory.shares[GPU].namespaces.times_us["a"] == pytest.approx(5 * S)
    world.want("b/f", 0)
    world.wakes.clear()
    world.run(20 * S)
    assert world.memory.shares == {}


def test_another_policy_forgets_the_leads() -> None:
    world = world_of("greedy-dual", "a/f b/f", 1)
    world.memory = PlanMemory(shares={GPU: Shares(at_us=0, namespaces=Level(0.0, {"a": 1.0}, frozenset({"a"})))})
    assert world.plan().memory.shares == {}


def test_a_scale_out_trades_turns_under_fair_and_waits_for_ever_under_the_others() -> None:
    for allocation, held in (("fair", (2, 2)), ("greedy-dual", (3, 1))):
        world = world_of(allocation, "a/f b/f", 4)
        world.want("a/f", 50)
        world.until(lambda world=world: world.warm("a/f") == 4)  # type: ignore[misc]
        world.want("b/f", 50)
        world.run(60 * S)
        assert (world.warm("a/f"), world.warm("b/f")) == held
        assert {drain.reason for drain in world.drains()} == {Reason.QUANTUM_OVER}
