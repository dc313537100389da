"""Who gives way: idle replicas by value, claims that nobody steals, turns under constant backlog."""

from functools import partial

import pytest
from msgspec.structs import replace
from planning_world import GPU, S, World, gpus, make_function, revision_of

from stoker.control.allocation import grow_credit, grow_usage
from stoker.control.planning import Credit, Drain, Kill, Start, Usage
from stoker.errors import UnknownName
from stoker.model.function import GpuOption, Sharing
from stoker.model.replica import ReplicaState
from stoker.policies.allocation.greedy_dual import GreedyDual
from stoker.policies.allocation.interface import Resident
from stoker.policies.allocation.registry import make_allocation_policy
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


def has_warm(world: World, name: str) -> bool:
    return world.warm(name) == 1


def warm_and_idle(world: World, *names: str) -> None:
    for name in names:
        world.want(name, 1)
        world.until(partial(has_warm, world, name))
        world.run(2 * S)
        world.want(name, 0)
        world.run(2 * S)


def test_an_idle_replica_gives_way_to_a_function_that_waits_and_the_device_goes_to_it() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    warm_and_idle(world, "a")
    world.want("b", 1)
    world.step()
    assert world.drains()[-1].reason is Reason.GIVES_WAY
    assert world.drains()[-1].for_function == "default/b"
    assert [claim.function for claim in world.memory.claims] == ["default/b"]
    world.until(lambda: world.warm("b") == 1)
    assert not world.memory.claims


def test_a_freed_device_is_not_stolen_by_a_function_that_began_to_wait_later() -> None:
    world = World([make_function(name) for name in "abc"], gpus(1))
    warm_and_idle(world, "a")
    world.exec_us = 20 * S
    world.want("b", 1)
    world.plan()
    world.want("c", 5)
    world.want("a", 5)
    world.until(lambda: bool(world.starts("b")))
    assert len(world.starts("c")) == 0
    assert len(world.starts("a")) == 1


def test_a_function_that_gave_way_does_not_come_back_for_a_wake_that_was_answered() -> None:
    world = World([make_function(name) for name in "ab"], gpus(1))
    warm_and_idle(world, "a")
    world.want("b", 1)
    world.until(lambda: world.warm("b") == 1)
    world.devices += gpus(1, first=1)
    world.run(5 * S)
    assert len(world.starts("a")) == 1
    world.wake("a")
    world.step()
    assert len(world.starts("a")) == 2


def test_work_in_flight_is_never_killed_and_a_busy_function_does_not_give_way_within_its_quantum() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    world.want("a", 1)
    world.until(lambda: world.warm("a") == 1)
    world.want("b", 1)
    world.run(8 * S)
    assert world.drains() == []
    assert not any(isinstance(action, Kill) for _, action in world.actions)


def test_a_function_never_goes_below_its_minimum_for_another() -> None:
    world = World([make_function("a", min_replicas=1), make_function("b")], gpus(1))
    world.until(lambda: world.warm("a") == 1)
    world.want("b", 3)
    world.run(60 * S)
    assert world.drains() == []
    assert world.last is not None
    ready = world.last.statuses["default/b"].condition("Ready")
    assert ready.reason is Reason.WAITING_FOR_GPU
    assert ready.message == "waiting for a GPU: 1 of 1 holds replicas of a"


def test_the_least_valuable_idle_function_gives_way_first() -> None:
    world = World([make_function(name) for name in ("rare", "often", "new")], gpus(2))
    warm_and_idle(world, "rare")
    for _ in range(5):
        warm_and_idle(world, "often")
    world.want("new", 1)
    world.step()
    assert [drain.replica_id for drain in world.drains()] == world.ids("rare", ReplicaState.DRAINING)
    assert world.memory.clocks[GPU] > 0


def test_scaling_out_takes_a_device_only_from_a_function_that_is_worth_less() -> None:
    world = World([make_function("often"), make_function("rare")], gpus(2))
    warm_and_idle(world, "rare")
    for _ in range(6):
        warm_and_idle(world, "often")
    world.want("often", 5)
    world.until(lambda: world.warm("often") == 2)
    assert world.drains()[-1].reason is Reason.GIVES_WAY
    other = World([make_function("often"), make_function("rare")], gpus(2))
    for _ in range(6):
        warm_and_idle(other, "often")
    other.exec_us = 60 * S
    other.want("rare", 5)
    other.run(30 * S)
    assert other.warm("rare") == 1
    assert other.warm("often") == 1


def test_a_replica_that_its_own_functions_demand_needs_is_not_idle() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    world.want("a", 1)
    world.plan()
    world.now_us += 3 * S
    for status in list(world.replicas.values()):
        # Warm this instant; the held request has not reached it yet.
        world._change(status.spec.id, state=ReplicaState.WARM, ready_us=world.now_us, idle_since_us=world.now_us)
    world.want("b", 1)
    assert world.plan().actions == ()


def test_enough_small_residents_of_one_shared_device_give_way_and_no_more() -> None:
    small = [make_function(name, memory_mib=10_000, sharing=Sharing.SHARED) for name in "abcd"]
    big = make_function("big", memory_mib=18_000, sharing=Sharing.SHARED)
    world = World([*small, big], gpus(1))
    warm_and_idle(world, *"abcd")
    world.want("big", 1)
    world.step()
    assert len(world.drains()) == 2
    world.until(lambda: world.warm("big") == 1)
    assert len(world.replicas) == 3


def test_a_function_on_two_devices_frees_both_and_claims_both() -> None:
    pair = make_function("pair", gpu=(GpuOption(memory_mib=1000, count=2),))
    world = World([make_function("a"), make_function("b"), pair], gpus(2))
    warm_and_idle(world, "a", "b")
    world.want("pair", 1)
    world.step()
    assert len(world.drains()) == 2
    assert set(world.memory.claims[0].devices) == {"sim-0", "sim-1"}
    world.until(lambda: world.warm("pair") == 1)


def test_a_claim_lapses_when_its_function_no_longer_wants() -> None:
    world = World([make_function(name) for name in "ab"], gpus(1))
    warm_and_idle(world, "a")
    world.want("b", 1)
    world.plan()
    assert world.memory.claims
    world.want("b", 0)
    world.wakes.clear()
    world.step()
    assert not world.memory.claims
    assert world.starts("b") == []


def test_a_replica_that_is_leaving_anyway_is_waited_for_and_nobody_else_gives_way() -> None:
    world = World([make_function("old", keep_alive_ttl_us=S), make_function("idle"), make_function("new")], gpus(2))
    warm_and_idle(world, "idle")
    world.want("old", 1)
    world.until(lambda: world.warm("old") == 1)
    world.want("old", 0)
    world.until(lambda: bool(world.drains(Reason.IDLE)))
    world.want("new", 1)
    world.plan()
    assert world.drains(Reason.GIVES_WAY) == []
    world.until(lambda: world.warm("new") == 1)
    assert world.warm("idle") == 1


def test_a_start_that_nobody_waits_for_any_more_gives_way() -> None:
    world = World([make_function("stuck"), make_function("b")], gpus(1))
    world.never_ready.add(revision_of(1))
    world.functions["default/b"] = make_function("b", revision=2)
    world.want("stuck", 1)
    world.plan()
    world.want("stuck", 0)
    world.want("b", 1)
    world.until(lambda: world.warm("b") == 1)
    assert world.now_us < 150 * S


def test_under_constant_backlog_the_greediest_gives_way_after_the_quantum() -> None:
    world = World([make_function("a", max_replicas=2), make_function("b")], gpus(2))
    world.want("a", 50)
    world.until(lambda: world.warm("a") == 2)
    world.run(20 * S)
    since = world.now_us
    world.want("b", 50)
    world.step()
    assert world.last is not None
    assert "its turn comes within ~" in world.last.statuses["default/b"].why_waiting
    world.until(lambda: bool(world.drains(Reason.QUANTUM_OVER)))
    assert 9 * S <= world.now_us - since <= 11 * S
    world.until(lambda: world.warm("b") == 1)
    world.run(60 * S)
    assert (world.warm("a"), world.warm("b")) == (1, 1)


def test_a_long_start_up_lengthens_the_wait_for_a_turn_to_three_times_itself() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    world.want("a", 50)
    world.until(lambda: world.warm("a") == 1)
    world.start_us = 7 * S
    world.run(20 * S)
    since = world.now_us
    world.want("b", 50)
    world.until(lambda: bool(world.drains(Reason.QUANTUM_OVER)))
    assert 21 * S <= world.now_us - since <= 22 * S


def test_a_start_up_that_was_never_measured_does_not_lengthen_the_wait() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1), start_prior_us=600 * S)
    world.known_start = False
    world.want("a", 50)
    world.run(30 * S)
    since = world.now_us
    world.want("b", 50)
    world.until(lambda: bool(world.drains(Reason.QUANTUM_OVER)))
    assert world.now_us - since <= 11 * S


def test_a_larger_fair_share_keeps_its_device_against_a_smaller_one() -> None:
    world = World([make_function("heavy", fair_share=4), make_function("light"), make_function("late")], gpus(2))
    world.want("heavy", 50)
    world.functions["default/heavy"] = make_function("heavy", fair_share=4, max_replicas=1)
    world.want("light", 50)
    world.run(30 * S)
    world.want("late", 50)
    world.until(lambda: bool(world.drains(Reason.QUANTUM_OVER)))
    assert "light" in world.drains(Reason.QUANTUM_OVER)[0].replica_id


def test_a_device_that_falls_ill_loses_its_claim() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    warm_and_idle(world, "a")
    world.want("b", 1)
    world.plan()
    world.devices[0] = replace(world.devices[0], healthy=False, reason="Xid 48")
    world.step()
    assert not world.memory.claims
    world.run(5 * S)
    assert world.starts("b") == []


def test_greedy_dual_keeps_the_frequent_the_costly_and_the_small() -> None:
    policy = GreedyDual()

    def value(**fields: float) -> float:
        base = {"uses": 3, "reload_us": 5 * S, "memory_mib": 1000, "clock": 1.0}
        unread = {"exec_us": 1, "loaded_us": 0, "idle_since_us": 0}
        return policy.value(Resident(flow="f", **{**unread, **base, **fields}), 9 * S)  # type: ignore[arg-type]

    assert value() == 1.0 + 3 * 5 * S / 1000
    assert value(uses=4) > value()
    assert value(reload_us=6 * S) > value()
    assert value(memory_mib=2000) < value()
    assert value(clock=2.0) > value()
    assert value(memory_mib=0) > 0


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="greedy-dual"):
        make_allocation_policy("lottery")


def test_credit_counts_what_was_served_and_starts_again_without_replicas() -> None:
    from planning_world import status_of

    credit = grow_credit(Credit(), [status_of(served=3)], 5.0)
    assert (credit.frequency, credit.clock) == (3, 5.0)
    credit = grow_credit(credit, [status_of(served=3)], 9.0)
    assert (credit.frequency, credit.clock) == (3, 5.0)
    credit = grow_credit(credit, [status_of(served=4)], 9.0)
    assert (credit.frequency, credit.clock) == (4, 9.0)
    # The id came back with another process: its count starts again, and is not subtracted.
    credit = grow_credit(credit, [status_of(served=1, started_us=7)], 9.0)
    assert credit.frequency == 5
    assert grow_credit(credit, [], 11.0) == Credit(frequency=0, clock=11.0)


def test_usage_decays_and_approaches_what_is_held() -> None:
    usage = grow_usage(Usage(), 2, S, 10 * S)
    for second in range(2, 200):
        usage = grow_usage(usage, 2, second * S, 10 * S)
    assert usage.value_us == pytest.approx(2 * 10 * S, rel=0.01)
    later = grow_usage(grow_usage(usage, 0, 200 * S, 10 * S), 0, 210 * S, 10 * S)
    assert later.value_us == pytest.approx(2 * 10 * S / 2.718, rel=0.02)


def test_every_start_holds_exactly_the_devices_of_its_option() -> None:
    world = World([make_function("pair", gpu=(GpuOption(memory_mib=1000, count=2),))], gpus(2))
    world.want("pair", 1)
    (start,) = world.plan().actions
    assert isinstance(start, Start)
    assert [r.device_id for r in start.reservations] == list(start.spec.devices)
    assert not any(isinstance(a, Drain) for a in world.plan().actions)
