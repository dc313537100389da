"""Keep-alive in plan(): each policy of scaling.keepAlive and of the GpuPolicy, and the administrator's bound."""

import pytest
from planning_world import S, World, gpus, make_function

from stoker.control.planning import PlanMemory
from stoker.model.function import KeepAlivePolicy, Sharing
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


def idle_us(world: World, limit_us: int = 1_000 * S) -> int | None:
    """How long the replica of `f` stays idle after one call; None: longer than the limit."""
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.run(2 * S)
    world.want("f", 0)
    world.until(lambda: any(r.idle_since_us is not None for r in world.replicas.values()))
    since_us = next(r.idle_since_us for r in world.replicas.values())
    assert since_us is not None
    while world.now_us < since_us + limit_us:
        world.step(S)
        if world.drains(Reason.IDLE):
            return world.actions[-1][0] - since_us
    return None


def stays(policy: KeepAlivePolicy | None, **fields: object) -> World:
    return World([make_function(keep_alive=policy, keep_alive_ttl_us=20 * S, **fields)], gpus(1))  # type: ignore[arg-type]


def test_ski_rental_keeps_a_replica_for_what_its_start_is_worth() -> None:
    # A start takes 2 s, and a second of it is worth a minute.
    found = idle_us(stays(KeepAlivePolicy.SKI_RENTAL))
    assert found is not None
    assert 119 * S <= found <= 122 * S


def test_what_shares_its_device_may_be_idle_for_longer() -> None:
    found = idle_us(stays(KeepAlivePolicy.SKI_RENTAL, sharing=Sharing.SHARED, memory_mib=20_480))
    assert found is not None
    assert 239 * S <= found <= 242 * S


def test_a_drawn_stay_is_not_changed_by_planning_again_and_differs_between_calls() -> None:
    world = stays(KeepAlivePolicy.SKI_RENTAL_RANDOM)
    found = []
    for _ in range(4):
        found.append(idle_us(world))
        world.actions.clear()
        world.run(3 * S)
    assert all(stay is not None and stay <= 122 * S for stay in found)
    assert len(set(found)) > 1
    other = World([make_function(keep_alive=KeepAlivePolicy.SKI_RENTAL_RANDOM)], gpus(1), seed=7)
    assert idle_us(other) != found[0]


def test_a_wake_does_not_bring_back_what_was_drawn_to_leave() -> None:
    world = stays(KeepAlivePolicy.SKI_RENTAL_RANDOM)
    idle_us(world)
    world.run(130 * S, by_us=S)
    assert len(world.starts("f")) == 1


@pytest.mark.parametrize("policy", [KeepAlivePolicy.GREEDY_DUAL, KeepAlivePolicy.LIGHT_FIRST, KeepAlivePolicy.LRU])
def test_some_keep_until_the_device_is_needed(policy: KeepAlivePolicy) -> None:
    world = stays(policy)
    world.functions["default/g"] = make_function("g")
    assert idle_us(world, 400 * S) is None
    world.want("g", 1)
    world.step()
    assert [drain.reason for drain in world.drains()] == [Reason.GIVES_WAY]
    world.until(lambda: world.warm("g") == 1)
    world.want("g", 0)
    # It gave way: nothing brings it back to the free device before its next call.
    world.devices += gpus(1, first=1)
    world.run(10 * S)
    assert world.warm("f") == 0


def test_the_policy_of_the_platform_acts_where_the_function_names_none() -> None:
    world = World([make_function(keep_alive_ttl_us=5 * S)], gpus(1), keep_alive=KeepAlivePolicy.LRU)
    assert idle_us(world, 60 * S) is None
    named = make_function(keep_alive=KeepAlivePolicy.FIXED_TTL, keep_alive_ttl_us=5 * S)
    found = idle_us(World([named], gpus(1), keep_alive=KeepAlivePolicy.LRU))
    assert found is not None
    assert found <= 7 * S


@pytest.mark.parametrize("policy", sorted(KeepAlivePolicy))
def test_no_policy_keeps_longer_than_the_administrator_lets_it(policy: KeepAlivePolicy) -> None:
    world = World([make_function(keep_alive=policy, keep_alive_ttl_us=900 * S)], gpus(1), keep_alive_max_us=10 * S)
    found = idle_us(world, 20 * S)
    assert found is not None
    assert found <= 12 * S


def test_the_histogram_of_the_platform_learns_from_calls() -> None:
    world = World([make_function()], gpus(1), keep_alive=KeepAlivePolicy.HYBRID_HISTOGRAM)
    world.want("f", 1)
    world.run(2 * S)
    assert world.memory.functions["default/f"].arrivals.last_us is not None


def test_credit_counts_from_the_first_start_since_there_was_no_replica() -> None:
    world = World([make_function(keep_alive_ttl_us=3 * S)], gpus(1))
    assert world.memory == PlanMemory()
    idle_us(world)
    (credit,) = world.memory.functions["default/f"].credit.values()
    (start,) = [at for at, action in world.actions if action in world.starts()]
    assert credit.since_us == start
    assert credit.frequency >= 1
