"""Fair allocation: two sides that lack devices throughout stay close in device time over weight, however they are cut.

The bound of stoker.control.shares and stoker.policies.allocation.fair. A lead grows only while its side holds more over
weight; beyond a turn T a trade is then due, and it acts once the giver's replicas have started (s), had their quantum
(Q), been asked at the next plan (P) and ended their work (e), and the plan after that started the other's. Meanwhile a
side of weight w gains at most D / w on D devices. So |lead| <= B = T (1/w + 1/w') + D (s + Q + e + 2 P) / min(w, w').
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import S, World, gpus, make_function

pytestmark = pytest.mark.property

STEP = 1_000_000


def held_us(world: World, prefix: str) -> int:
    """Device time that replicas whose ids begin so hold in one step."""
    return STEP * sum(len(parts) for identity, parts in world.reservations.items() if identity.startswith(prefix))


def play(world: World, sides: dict[str, int], for_us: int) -> list[dict[str, float]]:
    """Device time over weight of each side, from now on; `sides`: weights by the beginning of their ids."""
    so_far, found = dict.fromkeys(sides, 0.0), []
    for _ in range(for_us // STEP):
        world.step(STEP)
        for prefix, weight in sides.items():
            so_far[prefix] += held_us(world, prefix) / weight
        found.append(dict(so_far))
    return found


def bound_us(world: World, weights: tuple[int, int], devices: int) -> float:
    turn_us = max(world.params.quantum_us, 3 * world.start_us)
    waits_us = world.start_us + world.params.quantum_us + world.exec_us + 2 * STEP
    return turn_us * (1 / weights[0] + 1 / weights[1]) + devices * waits_us / min(weights)


def world_of(allocation: str, devices: int, functions: dict[str, int], start_s: float, exec_s: float) -> World:
    """`functions`: their fair shares by key. All want ten replicas' work, without end."""
    made = []
    for key, share in functions.items():
        namespace, _, name = key.partition("/")
        made.append(make_function(name, namespace=namespace, fair_share=share))
    world = World(made, gpus(devices), allocation=allocation)
    world.start_us, world.exec_us = int(start_s * S), int(exec_s * S)
    return world


@settings(max_examples=5, deadline=None)
@given(
    devices=st.integers(1, 4),
    parts=st.integers(1, 5),
    weights=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    start_s=st.sampled_from([0.5, 2, 5]),
    exec_s=st.sampled_from([0.5, 3]),
    late=st.booleans(),
)
def test_two_namespaces_that_lack_devices_stay_close_into_however_many_functions_one_is_split(  # noqa: PLR0917
    devices: int, parts: int, weights: tuple[int, int], start_s: float, exec_s: float, late: bool
) -> None:
    names = ["a/f", *(f"b/g{index}" for index in range(parts))]
    world = world_of("fair", devices, dict.fromkeys(names, 1), start_s, exec_s)
    world.weights = {"a": weights[0], "b": weights[1]}
    if late:
        # a has had everything for a while: nothing is owed for that.
        world.want("a/f", 50)
        world.run(30 * S, by_us=STEP)
    for name in names:
        world.want(name, 50)
    bound = bound_us(world, weights, devices)
    for both in play(world, {"a/": weights[0], "b/": weights[1]}, 100 * S):
        assert abs(both["a/"] - both["b/"]) <= bound


@settings(max_examples=4, deadline=None)
@given(
    devices=st.integers(1, 4),
    shares=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    start_s=st.sampled_from([0.5, 2]),
    others=st.integers(0, 2),
)
def test_two_functions_of_a_namespace_that_lack_devices_stay_close(
    devices: int, shares: tuple[int, int], start_s: float, others: int
) -> None:
    functions = {"a/f": shares[0], "a/g": shares[1], **{f"b/h{index}": 1 for index in range(others)}}
    world = world_of("fair", devices, functions, start_s, 1)
    for name in functions:
        world.want(name, 50)
    bound = bound_us(world, shares, devices)
    for both in play(world, {"a/f-": shares[0], "a/g-": shares[1]}, 100 * S):
        assert abs(both["a/f-"] - both["a/g-"]) <= bound


def test_without_shares_the_gap_grows_for_ever() -> None:
    world = world_of("greedy-dual", 4, {"a/f": 1, "b/g": 1}, 2, 1)
    world.want("a/f", 50)
    world.run(20 * S, by_us=STEP)
    world.want("b/g", 50)
    gaps = [both["a/"] - both["b/"] for both in play(world, {"a/": 1, "b/": 1}, 100 * S)]
    assert gaps[-1] > bound_us(world, (1, 1), 4)
    assert all(later > earlier for earlier, later in pairwise(gaps[::30]))


def test_a_namespace_gets_no_more_when_its_function_is_split_over_many() -> None:
    """Under fair; by value each of the parts is entitled to a device of its own."""
    held: dict[tuple[str, int], float] = {}
    for allocation in ("fair", "greedy-dual"):
        for parts in (1, 6):
            names = ["a/f", *(f"b/g{index}" for index in range(parts))]
            world = world_of(allocation, 4, dict.fromkeys(names, 1), 2, 1)
            for name in names:
                world.want(name, 50)
            held[allocation, parts] = play(world, {"b/": 1}, 100 * S)[-1]["b/"]
            if allocation == "fair":
                assert held[allocation, parts] <= 100 * S * 4 / 2 + bound_us(world, (1, 1), 4) / 2
    assert held["fair", 6] <= held["fair", 1] + bound_us(world, (1, 1), 4)
    assert held["greedy-dual", 6] > 100 * S * 4 * 0.7
