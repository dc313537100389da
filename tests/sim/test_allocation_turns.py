"""The quantum rule: under constant backlog everybody gets turns, whatever the mix."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import S, World, gpus, make_function
from settings_of_tests import examples

from stoker.control.planning import Drain, Kill, Start
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]


@settings(max_examples=examples(25), deadline=None)
@given(
    count=st.integers(3, 6),
    devices=st.integers(1, 2),
    start_s=st.sampled_from([0.5, 2, 5]),
    exec_s=st.sampled_from([0.5, 3]),
    most=st.integers(1, 3),
    shares=st.lists(st.integers(1, 3), min_size=6, max_size=6),
)
def test_functions_under_constant_backlog_take_turns_and_none_starves(  # noqa: PLR0917  hypothesis fills them
    count: int, devices: int, start_s: float, exec_s: float, most: int, shares: list[int]
) -> None:
    names = [f"f{i}" for i in range(count)]
    functions = [make_function(n, max_replicas=most, fair_share=s) for n, s in zip(names, shares, strict=False)]
    world = World(functions, gpus(devices))
    world.start_us, world.exec_us = int(start_s * S), int(exec_s * S)
    for name in names:
        world.want(name, 10)
    # One turn of a device: the wait for the quantum (3 start-ups if longer), the last work, the start.
    turn_us = max(10 * S, 3 * world.start_us) + 10 * S + world.exec_us + world.start_us
    longest = dict.fromkeys(names, 0)
    absent = dict.fromkeys(names, 0)
    step_us = 500_000
    for _ in range(int(4 * turn_us * count / devices) // step_us):
        world.step(step_us)
        for name in names:
            absent[name] = 0 if world.warm(name) else absent[name] + step_us
            longest[name] = max(longest[name], absent[name])
        live = [r for r in world.replicas.values() if r.state is not ReplicaState.DRAINING]
        assert len(live) <= devices
    assert all(world.starts(name) for name in names)
    assert max(longest.values()) <= turn_us * (count / devices + 2), longest
    assert not any(isinstance(action, Kill) for _, action in world.actions)
    for at_us, action in world.actions:
        if isinstance(action, Drain) and action.reason is Reason.QUANTUM_OVER:
            assert at_us - started(world, action.replica_id, at_us) >= 10 * S


def started(world: World, replica_id: str, before_us: int) -> int:
    """When the life of the replica that was drained at `before_us` began."""
    return max(
        at
        for at, action in world.actions
        if isinstance(action, Start) and action.spec.id == replica_id and at <= before_us
    )


def test_five_exclusive_functions_on_two_devices_get_about_equal_turns() -> None:
    names = list("abcde")
    world = World([make_function(name) for name in names], gpus(2))
    for name in names:
        world.want(name, 10)
    warm_us = dict.fromkeys(names, 0)
    step_us = 500_000
    for _ in range(600 * S // step_us):
        world.step(step_us)
        for name in names:
            warm_us[name] += step_us * world.warm(name)
    assert min(warm_us.values()) > 0.6 * max(warm_us.values()), warm_us
    assert len(world.drains(Reason.QUANTUM_OVER)) >= 20
