"""Revisions: surge, replacement where no device fits both, giving up, coming back."""

import pytest
from msgspec.structs import replace
from planning_world import CPU, S, World, cores, gpus, make_function, revision_of

from stoker.control.planning import Drain, FunctionMemory, Kill, PlanParams, Start
from stoker.control.rollout import observe, wanted
from stoker.model.function import ContainerSpec, CpuVariant
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


def serving(count: int = 1, devices: int = 2, requests: int | None = None, **fields: object) -> World:
    world = World([make_function(max_replicas=count, **fields)], gpus(devices))  # type: ignore[arg-type]
    world.want("f", count if requests is None else requests)
    world.until(lambda: world.warm("f") == count)
    return world


def apply(world: World, revision: int, **fields: object) -> None:
    world.functions["default/f"] = make_function(revision=revision, **{"max_replicas": 1, **fields})  # type: ignore[arg-type]


def test_a_new_revision_surges_where_a_device_fits_both_and_the_old_serves_until_it_is_ready() -> None:
    world = serving()
    apply(world, 2)
    world.step()
    assert len(world.ids("f", revision=1)) == 1
    assert len(world.ids("f", revision=2)) == 1
    while not world.warm("f", 2):
        assert world.warm("f", 1) == 1
        world.step()
    world.until(lambda: world.ids("f", revision=1) == [])
    assert [d.reason for d in world.drains()] == [Reason.REVISION_REPLACED]
    assert world.memory.functions["default/f"].last_ready is not None
    assert world.last is not None
    assert world.last.statuses["default/f"].revision == revision_of(2)


def test_while_it_rolls_out_the_status_names_both_revisions() -> None:
    world = serving()
    apply(world, 2)
    world.step()
    assert world.last is not None
    status = world.last.statuses["default/f"]
    assert (status.revision, status.updating) == (revision_of(1), revision_of(2))
    assert status.condition("Reconciling").reason is Reason.ROLLING_OUT
    assert status.condition("Ready").status


def test_without_a_second_device_the_old_one_is_drained_first_and_work_in_flight_ends() -> None:
    world = serving(devices=1)
    world.exec_us = 4 * S
    world.run(5 * S)
    apply(world, 2)
    world.step()
    assert [d.reason for d in world.drains()] == [Reason.REVISION_REPLACED]
    world.until(lambda: world.warm("f", 2) == 1)
    assert not any(isinstance(action, Kill) for _, action in world.actions)


def test_an_idle_replica_of_another_function_makes_room_before_the_old_revision_is_drained() -> None:
    world = World([make_function("f", max_replicas=1), make_function("idle")], gpus(2))
    world.want("idle", 1)
    world.until(lambda: world.warm("idle") == 1)
    world.want("idle", 0)
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    apply(world, 2)
    world.step()
    assert [(d.reason, "idle" in d.replica_id) for d in world.drains()] == [(Reason.GIVES_WAY, True)]
    world.until(lambda: world.warm("f", 2) == 1 and not world.ids("f", revision=1))


@pytest.mark.parametrize("devices", [2, 3])
def test_several_replicas_are_replaced_one_after_the_other(devices: int) -> None:
    world = serving(count=2, devices=devices)
    apply(world, 2, max_replicas=2)
    least = 2
    while world.ids("f", revision=1) or world.warm("f", 2) < 2:
        world.step()
        least = min(least, world.warm("f"))
        assert len(world.replicas) <= 3
        assert world.now_us < 200 * S
    assert least >= 1


def test_an_old_replica_in_its_keep_alive_is_replaced_without_demand() -> None:
    world = serving()
    world.want("f", 0)
    world.run(2 * S)
    apply(world, 2)
    world.until(lambda: world.warm("f", 2) == 1 and not world.ids("f", revision=1))
    single = serving(devices=1)
    single.want("f", 0)
    single.run(2 * S)
    apply(single, 2)
    single.until(lambda: single.warm("f", 2) == 1)


def test_at_zero_a_new_revision_is_adopted_lazily() -> None:
    world = serving(keep_alive_ttl_us=S)
    world.want("f", 0)
    world.until(lambda: not world.replicas)
    apply(world, 2, keep_alive_ttl_us=S)
    world.run(10 * S)
    assert not world.replicas
    world.want("f", 1)
    world.until(lambda: world.warm("f", 2) == 1)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_revision_that_is_not_ready_in_its_deadline_is_given_up_and_the_old_one_comes_back(devices: int) -> None:
    world = serving(devices=devices)
    world.never_ready.add(revision_of(2))
    apply(world, 2, progress_deadline_us=5 * S)
    world.until(lambda: any(isinstance(action, Kill) for _, action in world.actions))
    assert world.last is not None
    stalled = world.last.statuses["default/f"].condition("Stalled")
    assert (stalled.status, stalled.reason) == (True, Reason.ROLLOUT_FAILED)
    assert "progressDeadline 5 s" in stalled.message
    world.until(lambda: world.warm("f", 1) == 1)
    starts = len(world.starts())
    world.run(30 * S)
    assert len(world.starts()) == starts
    assert world.ids("f", revision=2) == []
    if devices == 2:
        assert world.drains() == []


@pytest.mark.parametrize("devices", [1, 2])
def test_a_revision_that_crashes_three_times_is_given_up_with_its_last_words(devices: int) -> None:
    world = serving(devices=devices)
    world.crashes.add(revision_of(2))
    apply(world, 2)
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    tried = [s for s in world.starts() if s.spec.revision == revision_of(2)]
    assert len(tried) == 3
    world.until(lambda: world.warm("f", 1) == 1)
    assert world.last is not None
    assert "no such model" in world.last.statuses["default/f"].condition("Stalled").message


def test_startup_timeout_of_an_update_gives_it_up_at_once() -> None:
    world = serving(devices=2)
    world.never_ready.add(revision_of(2))
    apply(world, 2, container=ContainerSpec(startup_timeout_us=3 * S))
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    assert len([s for s in world.starts() if s.spec.revision == revision_of(2)]) == 1


def test_a_given_up_revision_is_not_tried_again_but_the_next_one_is() -> None:
    world = serving(devices=2)
    world.crashes.add(revision_of(2))
    apply(world, 2)
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    apply(world, 3)
    world.until(lambda: world.warm("f", 3) == 1 and not world.ids("f", revision=1))
    assert world.last is not None
    assert not world.last.statuses["default/f"].condition("Stalled").status


def test_going_back_to_the_old_revision_while_the_new_one_starts_drops_the_new_one() -> None:
    world = serving(devices=2)
    world.never_ready.add(revision_of(2))
    apply(world, 2)
    world.step()
    apply(world, 1)
    world.run(2 * S)
    assert world.ids("f", revision=2) == []
    assert world.warm("f", 1) == 1
    assert len(world.drains()) == 1


def test_a_revision_superseded_before_it_was_ready_is_dropped() -> None:
    world = serving(devices=3)
    world.never_ready.add(revision_of(2))
    apply(world, 2)
    world.step()
    apply(world, 3)
    world.until(lambda: world.warm("f", 3) == 1)
    assert world.ids("f", revision=2) == []


def test_an_update_that_no_device_can_hold_is_given_up_with_the_old_one_serving() -> None:
    world = serving()
    apply(world, 2, memory_mib=90_000)
    world.step()
    assert world.drains() == []
    assert world.last is not None
    assert "90000 MiB" in world.last.statuses["default/f"].condition("Stalled").message
    assert world.warm("f", 1) == 1


def test_waiting_for_a_gpu_does_not_count_against_the_progress_deadline() -> None:
    world = World([make_function("f", max_replicas=1), make_function("busy", min_replicas=1)], gpus(2))
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1 and world.warm("busy") == 1)
    world.want("f", 0)
    world.functions["default/f"] = make_function(keep_alive_ttl_us=S)
    world.until(lambda: not world.ids("f"))
    world.functions["default/busy"] = make_function("busy", min_replicas=2)
    world.until(lambda: world.warm("busy") == 2)
    apply(world, 2, progress_deadline_us=2 * S)
    world.want("f", 1)
    world.run(10 * S)
    assert world.memory.functions["default/f"].failed is None


def test_live_fields_act_on_the_revision_that_came_back() -> None:
    world = serving(devices=2)
    world.crashes.add(revision_of(2))
    apply(world, 2, container=ContainerSpec(command=("new",)), concurrency=7)
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    function = wanted(world.memory.functions["default/f"], world.functions["default/f"])
    assert function.revision == revision_of(1)
    assert function.spec.container.command == ()
    assert function.spec.scaling.concurrency == 7


def test_the_cpu_variant_is_replaced_with_its_function() -> None:
    def made(revision: int) -> object:
        variant = CpuVariant(container=ContainerSpec(cpu_millis=500, command=(str(revision),)))
        return make_function(revision=revision, cpu_variant=variant)

    world = World([made(1)], [*gpus(2), cores()])  # type: ignore[list-item]
    world.want("f", 1)
    world.want("f", 1, CPU)
    world.until(lambda: world.warm("f", 1) == 2)
    world.functions["default/f"] = made(2)  # type: ignore[assignment]
    world.until(lambda: world.warm("f", 2) == 2 and not world.ids("f", revision=1))
    world.crashes.add(revision_of(3))
    world.functions["default/f"] = made(3)  # type: ignore[assignment]
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    world.until(lambda: world.warm("f", 2) == 2)
    back = wanted(world.memory.functions["default/f"], world.functions["default/f"])
    assert back.container_of(CPU).command == ("2",)


def test_failures_of_a_revision_that_is_not_wanted_change_nothing() -> None:
    world = serving(devices=2)
    apply(world, 2)
    world.until(lambda: world.warm("f", 2) == 1)
    old = world.ids("f", ReplicaState.DRAINING, 1) or world.ids("f", revision=1)
    if old:
        world.crash(old[0])
    world.plan()
    assert world.memory.functions["default/f"].back_off == {}
    assert all(isinstance(action, Start | Drain) for _, action in world.actions)


def test_a_function_that_is_made_anew_under_its_name_has_no_past() -> None:
    world = serving(count=2, devices=4, min_replicas=1)
    apply(world, 2, container=ContainerSpec(startup_timeout_us=S))
    world.start_us = 1000 * S
    world.until(lambda: world.memory.functions["default/f"].failed is not None)
    # Deleted and made again between two plans, as it was.
    again = replace(world.functions["default/f"], uid="another", generation=1)
    world.functions["default/f"] = again
    world.step()
    memory = world.memory.functions["default/f"]
    assert (memory.uid, memory.failed, memory.last_ready) == ("another", None, None)
    assert wanted(memory, again) is again


def test_a_memory_that_says_no_uid_is_of_the_function_that_is_there() -> None:
    function = make_function()
    memory = observe(FunctionMemory(last_ready=function), function, (), S, PlanParams())
    assert (memory.uid, memory.last_ready) == (function.uid, function)
