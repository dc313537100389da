"""plan(): scaling, placement, what is broken, and what it says."""

from itertools import pairwise

import pytest
from planning_world import CPU, GPU, S, World, cores, gpus, make_function, revision_of, status_of

from stoker.control.plan import plan
from stoker.control.planning import Drain, Kill, Observed, PlanParams, Start, Stop
from stoker.model.function import ContainerSpec, CpuVariant, GpuOption, Sharing
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


def test_without_demand_nothing_starts_and_zero_is_healthy() -> None:
    world = World([make_function()], gpus())
    result = world.plan()
    assert result.actions == ()
    ready = result.statuses["default/f"].condition("Ready")
    assert (ready.status, ready.reason) == (True, Reason.SCALED_TO_ZERO)
    assert not result.statuses["default/f"].condition("Active").status


def test_fifty_requests_start_as_many_replicas_as_the_spec_allows_and_each_once() -> None:
    world = World([make_function(max_replicas=3)], gpus(8))
    world.want("f", 50)
    first = world.plan()
    assert [type(a) for a in first.actions] == [Start] * 3
    assert len({a.spec.devices for a in first.actions if isinstance(a, Start)}) == 3
    assert [a.spec.ordinal for a in first.actions if isinstance(a, Start)] == [0, 1, 2]
    assert world.plan().actions == ()
    world.run(10 * S)
    assert len(world.starts()) == 3


def test_concurrency_divides_the_number_of_replicas() -> None:
    world = World([make_function(concurrency=8)], gpus(8))
    world.want("f", 17)
    assert len(world.plan().actions) == 3


def test_minimum_replicas_start_without_demand_and_stay() -> None:
    world = World([make_function(min_replicas=2, keep_alive_ttl_us=S)], gpus(3))
    world.until(lambda: world.warm("f") == 2)
    world.run(5 * S)
    assert world.warm("f") == 2
    assert world.drains() == []


def test_a_wake_starts_one_replica_on_a_free_device_even_when_its_request_was_refused() -> None:
    world = World([make_function()], gpus(2))
    world.wake("f")
    assert len(world.plan().actions) == 1
    assert world.plan().actions == ()


def test_a_wake_takes_no_device_from_another_function() -> None:
    world = World([make_function("a"), make_function("b")], gpus(1))
    world.want("a", 1)
    world.until(lambda: world.warm("a") == 1)
    world.want("a", 0)
    world.run(3 * S)
    world.wake("b")
    world.run(3 * S)
    assert world.warm("a") == 1
    assert world.starts("b") == []


def test_a_replica_idle_for_its_keep_alive_is_drained_and_not_started_again() -> None:
    world = World([make_function(keep_alive_ttl_us=5 * S)], gpus())
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.want("f", 0)
    world.until(lambda: not world.replicas)
    assert [d.reason for d in world.drains()] == [Reason.IDLE]
    world.run(20 * S)
    assert len(world.starts()) == 1


def test_keep_alive_zero_still_serves_a_wake() -> None:
    world = World([make_function(keep_alive_ttl_us=0)], gpus())
    world.wake("f")
    world.plan()
    world.until(lambda: world.warm("f") == 1)
    world.until(lambda: not world.replicas)
    assert len(world.starts()) == 1


def test_next_due_is_the_end_of_the_keep_alive_when_that_is_sooner_than_the_resync() -> None:
    function = make_function(keep_alive_ttl_us=3 * S)
    idle = status_of(ready_us=1, idle_since_us=10 * S)
    observed = Observed(functions={function.key: function}, devices=tuple(gpus()), replicas=(idle,))
    assert plan(observed, int(12.5 * S), PlanParams()).next_due_us == 13 * S


def test_a_lowered_maximum_drains_the_surplus_the_idle_ones_first() -> None:
    world = World([make_function(max_replicas=3)], gpus(3))
    world.want("f", 3)
    world.until(lambda: world.warm("f") == 3)
    world.functions["default/f"] = make_function(max_replicas=1)
    world.plan()
    assert [d.reason for d in world.drains()] == [Reason.SCALED_DOWN] * 2
    world.until(lambda: world.warm("f") == 1)


def test_the_smallest_device_that_fits_is_taken_and_options_keep_their_order() -> None:
    devices = [*gpus(1, 81_920, "H100"), *gpus(1, 24_576, "L4", first=1)]
    world = World([make_function("small")], devices)
    world.want("small", 1)
    (start,) = world.plan().actions
    assert isinstance(start, Start)
    assert start.spec.devices == ("sim-1",)
    picky = (GpuOption(memory_mib=4096, products=("H100",)), GpuOption(memory_mib=4096, products=("L4",)))
    other = World([make_function("picky", gpu=picky)], devices)
    other.want("picky", 2)
    assert [a.spec.devices for a in other.plan().actions if isinstance(a, Start)] == [("sim-0",), ("sim-1",)]


def test_shared_functions_pack_onto_one_device_and_leave_the_other_whole() -> None:
    functions = [make_function(name, sharing=Sharing.SHARED, memory_mib=15_000) for name in "abc"]
    world = World([*functions, make_function("whole")], gpus(2))
    world.want("a", 1)
    world.want("b", 1)
    world.plan()
    assert {s.spec.devices for s in world.starts()} == {("sim-0",)}
    world.want("whole", 1)
    world.plan()
    assert world.starts("whole")[0].spec.devices == ("sim-1",)


def test_a_replica_on_two_devices_gets_both_or_waits() -> None:
    both = (GpuOption(memory_mib=4096, count=2),)
    world = World([make_function("pair", gpu=both), make_function("one", min_replicas=1)], gpus(3))
    world.plan()
    world.want("pair", 1)
    world.plan()
    assert set(world.starts("pair")[0].spec.devices) == {"sim-1", "sim-2"}
    small = World([make_function("pair", gpu=both), make_function("one", min_replicas=1)], gpus(2))
    small.plan()
    small.want("pair", 1)
    small.run(5 * S)
    assert small.starts("pair") == []


def test_cpu_replicas_hold_their_cores_and_memory() -> None:
    function = make_function(gpu=(), container=ContainerSpec(cpu_millis=900, memory_mib=1000))
    world = World([function], [*gpus(), cores(2000)])
    world.want("f", 5, CPU)
    world.plan()
    assert len(world.starts()) == 2
    reservation = world.starts()[0].reservations[0]
    assert (reservation.device_id, reservation.millicores, reservation.memory_mib) == ("cpu", 900, 1000)


def test_a_cpu_variant_scales_by_its_own_demand_beside_the_gpu_one() -> None:
    function = make_function(cpu_variant=CpuVariant(container=ContainerSpec(cpu_millis=500), max_replicas=1))
    world = World([function], [*gpus(), cores()])
    world.want("f", 1)
    world.want("f", 3, CPU)
    world.plan()
    assert sorted(s.spec.id for s in world.starts()) == [
        f"default/f-{revision_of(1)}-0",
        f"default/f-{revision_of(1)}-cpu-0",
    ]


def test_an_unhealthy_device_is_not_used_and_named() -> None:
    from msgspec.structs import replace

    sick = replace(gpus()[0], healthy=False, reason="Xid 79")
    world = World([make_function()], [sick])
    world.want("f", 1)
    result = world.plan()
    assert result.actions == ()
    ready = result.statuses["default/f"].condition("Ready")
    assert ready.reason is Reason.QUARANTINED
    assert "Xid 79" in ready.message


def test_a_function_that_fits_no_device_says_so_and_starts_nothing() -> None:
    world = World([make_function(memory_mib=100_000)], gpus())
    world.want("f", 1)
    result = world.plan()
    assert result.actions == ()
    status = result.statuses["default/f"]
    assert status.condition("Ready").reason is Reason.NO_FITTING_DEVICE
    assert "100000 MiB" in status.why_waiting
    assert status.condition("Stalled").status


def test_a_start_is_described_with_device_and_time() -> None:
    world = World([make_function()], gpus())
    world.want("f", 1)
    world.plan()
    world.step(1_100_000)
    assert world.last is not None
    assert world.last.statuses["default/f"].why_waiting == (
        "replica 0 is starting on A100-40GB/sim-0 (simulated) (1.1 s so far, usually 2 s)"
    )


def test_a_request_that_runs_past_timeout_and_grace_ends_its_replica() -> None:
    function = make_function(container=ContainerSpec(termination_grace_us=S))
    hung = status_of(ready_us=1, in_flight=1, overdue_us=S + 1)
    late = status_of(ordinal=1, devices=("sim-1",), ready_us=1, in_flight=1, overdue_us=S - 1)
    observed = Observed(functions={function.key: function}, devices=tuple(gpus(2)), replicas=(hung, late))
    result = plan(observed, 50 * S, PlanParams())
    assert [(type(a), a.replica_id, a.reason) for a in result.actions if isinstance(a, Kill)] == [
        (Kill, hung.spec.id, Reason.REPLICA_HUNG)
    ]
    assert result.next_due_us == 50 * S + 2


def test_a_draining_replica_that_hangs_is_killed_too_but_only_once() -> None:
    function = make_function(container=ContainerSpec(termination_grace_us=S))
    hung = status_of(state=ReplicaState.DRAINING, ready_us=1, in_flight=1, overdue_us=5 * S)
    base = Observed(
        functions={function.key: function},
        devices=tuple(gpus()),
        replicas=(hung,),
        leaving=frozenset({hung.spec.id}),
    )
    assert [type(a) for a in plan(base, 50 * S, PlanParams()).actions] == [Kill]
    from msgspec.structs import replace

    assert plan(replace(base, killed=base.leaving), 50 * S, PlanParams()).actions == ()


def test_a_drained_replica_that_nobody_stops_is_stopped() -> None:
    function = make_function()
    left = status_of(state=ReplicaState.DRAINING, ready_us=1)
    observed = Observed(functions={function.key: function}, devices=tuple(gpus()), replicas=(left,))
    assert plan(observed, 50 * S, PlanParams()).actions == (Stop(replica_id=left.spec.id),)


def test_a_deleted_function_is_drained_and_forgotten() -> None:
    world = World([make_function()], gpus())
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.functions.clear()
    world.step()
    assert [d.reason for d in world.drains()] == [Reason.DELETING]
    world.until(lambda: not world.replicas)
    assert world.memory.functions == {}


def test_a_variant_that_was_removed_from_the_function_is_drained() -> None:
    cpu_variant = CpuVariant(container=ContainerSpec(cpu_millis=500))
    world = World([make_function(cpu_variant=cpu_variant)], [*gpus(), cores()])
    world.want("f", 1, CPU)
    world.until(lambda: world.warm("f") == 1)
    world.functions["default/f"] = make_function(revision=2)
    world.step()
    assert [d.reason for d in world.drains()] == [Reason.REVISION_REPLACED]


def test_ids_that_are_still_ending_are_not_used_again() -> None:
    function = make_function(min_replicas=1)
    observed = Observed(
        functions={function.key: function},
        devices=tuple(gpus(2)),
        leaving=frozenset({f"default/f-{revision_of(1)}-0"}),
    )
    (start,) = plan(observed, 50 * S, PlanParams()).actions
    assert isinstance(start, Start)
    assert start.spec.ordinal == 1


def test_the_first_crash_of_a_warm_replica_is_mended_at_once_the_next_ones_with_back_off() -> None:
    world = World([make_function(min_replicas=1)], gpus())
    world.start_us = 250_000
    gaps = []
    for _ in range(4):
        world.until(lambda: world.warm("f") == 1)
        world.crash(world.ids("f")[0])
        crashed_us = world.now_us
        world.plan()
        world.until(lambda: bool(world.replicas), by_us=50_000)
        gaps.append(world.actions[-1][0] - crashed_us)
    assert gaps == [0, S, 2 * S, 4 * S]
    assert world.last is not None


def test_a_minute_of_health_wipes_the_record_of_failures() -> None:
    world = World([make_function(min_replicas=1)], gpus())
    for _ in range(3):
        world.until(lambda: world.warm("f") == 1)
        world.crash(world.ids("f")[0])
        world.plan()
    world.until(lambda: world.warm("f") == 1)
    world.run(61 * S, by_us=S)
    world.crash(world.ids("f")[0])
    assert [type(a) for a in world.plan().actions] == [Start]


def test_a_healthy_sibling_from_before_does_not_wipe_the_record_of_failures() -> None:
    world = World([make_function(min_replicas=2)], gpus(2))
    world.until(lambda: world.warm("f") == 2)
    world.run(61 * S, by_us=S)
    world.crashes.add(revision_of(1))
    world.crash(world.ids("f")[0])
    world.run(20 * S)
    assert len(world.starts()) <= 2 + 7


def test_a_function_that_never_starts_backs_off_doubling_and_shows_its_last_words() -> None:
    world = World([make_function(min_replicas=1)], gpus())
    world.crashes.add(revision_of(1))
    world.run(20 * S, by_us=100_000)
    times = [at for at, action in world.actions if isinstance(action, Start)]
    gaps = [(b - a) / S for a, b in pairwise(times)]
    assert gaps == pytest.approx([0.6, 1.1, 2.1, 4.1, 8.1], abs=0.11)
    assert world.last is not None
    status = world.last.statuses["default/f"]
    assert status.condition("Ready").reason is Reason.CRASH_LOOP
    assert "no such model" in status.why_waiting
    assert status.condition("Stalled").status


def test_a_replica_that_never_gets_ready_is_killed_at_startup_timeout_and_tried_again() -> None:
    world = World([make_function(min_replicas=1, container=ContainerSpec(startup_timeout_us=S))], gpus())
    world.never_ready.add(revision_of(1))
    world.run(8 * S)
    kills = [a for _, a in world.actions if isinstance(a, Kill)]
    assert len(kills) >= 2
    assert {k.reason for k in kills} == {Reason.START_TIMEOUT}
    assert world.last is not None
    assert "startupTimeout 1 s" in world.last.statuses["default/f"].why_waiting


def test_an_unchanged_world_plans_nothing_twice() -> None:
    world = World([make_function(name) for name in "abc"], gpus(2))
    for name in "abc":
        world.want(name, 2)
    for _ in range(100):
        world.step()
        assert world.plan().actions == ()


def test_a_lost_drain_is_ordered_again() -> None:
    function = make_function(keep_alive_ttl_us=S)
    idle = status_of(ready_us=1, idle_since_us=1)
    observed = Observed(functions={function.key: function}, devices=tuple(gpus()), replicas=(idle,))
    first = plan(observed, 50 * S, PlanParams())
    from msgspec.structs import replace

    second = plan(replace(observed, memory=first.memory), 51 * S, PlanParams())
    assert first.actions == second.actions == (Drain(replica_id=idle.spec.id, reason=Reason.IDLE),)


def test_the_status_says_where_replicas_are() -> None:
    world = World([make_function()], gpus())
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    result = world.plan()
    status = result.statuses["default/f"]
    assert status.replicas[GPU].warm == 1
    assert status.placements[0].device == "A100-40GB/sim-0 (simulated)"
    assert status.condition("Ready").reason is Reason.READY
    with pytest.raises(KeyError):
        status.condition("Nonsense")
