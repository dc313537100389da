"""Functions at rest: a plan passes over them, and what it does is the same."""

from random import Random

import pytest
from planning_world import S, World, gpus, make_function
from sim_worlds import image, sim_function, workload

from stoker.control import plan as planner
from stoker.control import resting
from stoker.control.draft import Draft
from stoker.control.wants import Want, shape
from stoker.model.function import Function, Variant
from stoker.testing import builders
from stoker_sim.engine.setup import Form, Setup
from stoker_sim.engine.simulate import simulate

pytestmark = pytest.mark.unit


def awake(monkeypatch: pytest.MonkeyPatch, world: World) -> list[str]:
    """Names of the functions that the next plan shapes."""
    seen: list[str] = []

    def noted(draft: Draft, function: Function, variant: Variant) -> list[Want]:
        seen.append(function.name)
        return shape(draft, function, variant)

    with monkeypatch.context() as patched:
        patched.setattr(planner, "shape", noted)
        world.plan()
    return seen


def test_a_plan_passes_over_who_wants_nothing_and_looks_again_once_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([make_function("a"), make_function("b", min_replicas=1), make_function("c")], gpus(3))
    assert awake(monkeypatch, world) == ["a", "b", "c"]
    assert awake(monkeypatch, world) == ["b"]
    world.want("c", 1)
    assert awake(monkeypatch, world) == ["b", "c"]


def test_with_and_without_a_look_at_functions_at_rest_plans_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Random(3)
    functions = [
        sim_function(builders.make_function(f"f{index}", keep_alive_ttl_us=S), cold_us=200_000) for index in range(12)
    ]
    arrivals = sorted((draws.randrange(10 * S), draws.randrange(12), draws.randrange(1, 400_000)) for _ in range(60))
    work = workload(functions, arrivals)
    setup = Setup(devices=tuple(builders.make_gpu(f"d{index}") for index in range(3)), form=Form.REPLICAS)
    passed_over = image(simulate(work, setup))
    monkeypatch.setattr(resting, "is_at_rest", lambda draft, function: False)
    assert image(simulate(work, setup)) == passed_over
