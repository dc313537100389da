"""Trace functions as GPU functions: the rank stays, the rest is drawn by (seed, function)."""

import numpy as np
import pytest
from sim_workloads import sim_function, workload_of

from stoker_sim.arrangement import arranged
from stoker_sim.assumptions import Assumptions
from stoker_sim.profiles import catalogue
from stoker_sim.traces.mapping import Variation, assigned, mapped
from stoker_sim.workload import CPU, BadWorkload, Workload

pytestmark = pytest.mark.unit

PRODUCTS = ("A100", "T4")


def trace(functions: int = 40, each: int = 50) -> Workload:
    """Functions of 1 ms, 2 ms and so on, whose requests take from half to one and a half of that."""
    index = np.tile(np.arange(functions, dtype=np.int32), each)
    ratio = np.repeat(np.linspace(0.5, 1.5, each), functions)
    return arranged(
        [sim_function(f"f{at}", 1000 * (1 + at)) for at in range(functions)],
        np.arange(functions * each) * 1000,
        index,
        np.rint(1000 * (1 + index) * ratio).astype(np.int64),
        arrival_notes=("said of the arrivals",),
        function_notes=("said of the functions",),
    )


def test_slower_quarters_of_the_functions_get_slower_quarters_of_the_profiles() -> None:
    profiles = catalogue()
    order = {profile.name: rank for rank, profile in enumerate(profiles)}
    ranks = [order[profile.name] for profile in assigned(trace(), profiles, "A100", 1)]
    for quarter in range(4):
        low, high = len(profiles) * quarter // 4, len(profiles) * (quarter + 1) // 4
        assert all(low <= rank < high for rank in ranks[10 * quarter : 10 * (quarter + 1)])


def test_the_reference_product_sets_the_rank() -> None:
    profiles = catalogue()
    on_t4 = sorted(profiles, key=lambda profile: (profile.exec_us["T4"].value, profile.name))
    fastest = assigned(trace(), profiles, "T4", 1)[:10]
    assert {profile.name for profile in fastest} <= {profile.name for profile in on_t4[: len(on_t4) // 4 + 1]}


def test_another_seed_maps_otherwise_and_a_removed_function_changes_no_other() -> None:
    one, two = (mapped(trace(), catalogue(), PRODUCTS, seed) for seed in (1, 2))
    profile_of = {f.key: f.definition.labels["profile"] for f in one.functions}
    assert profile_of != {f.key: f.definition.labels["profile"] for f in two.functions}
    fewer = mapped(trace().only(trace().keys[:-1]), catalogue(), PRODUCTS, 1)
    changed = [f.key for f in fewer.functions if profile_of[f.key] != f.definition.labels["profile"]]
    # Only functions at the border of two quarters, whose rank is another one now, may have changed.
    assert set(changed) <= {"default/f9", "default/f19", "default/f29", "default/f10", "default/f20", "default/f30"}


def test_arrivals_stay_and_functions_behave_as_their_profiles() -> None:
    work = mapped(trace(), catalogue(), PRODUCTS, 1, Assumptions(slo_factor=3))
    assert work.time_us.tolist() == trace().time_us.tolist()
    by_name = {profile.name: profile for profile in catalogue()}
    for function in work.functions:
        profile = by_name[function.definition.labels["profile"]]
        assert function.behaviour == profile.behaviour(PRODUCTS)
        assert function.definition.spec.slo.latency_us == 3 * profile.exec_us["A100"].value
        assert function.definition.spec.gpu[0].memory_mib == profile.memory_mib.value
    assert "said of the arrivals" in work.notes
    assert "said of the functions" not in work.notes
    assert any("this is no GPU trace" in note for note in work.notes)
    assert any(note.startswith("assumed, not measured") for note in work.notes)


def test_requests_differ_as_the_profile_or_as_the_trace() -> None:
    quiet = mapped(trace(), catalogue(), PRODUCTS, 1)
    traced = mapped(trace(), catalogue(), PRODUCTS, 1, variation=Variation.TRACE)
    for index, function in enumerate(quiet.functions):
        median = function.behaviour.median_us
        mine = quiet.exec_us[quiet.function == index]
        assert np.median(mine) == pytest.approx(median, rel=0.3)
        ratios = traced.exec_us[traced.function == index] / median
        assert (ratios.min(), ratios.max()) == pytest.approx((0.5, 1.5), rel=0.01)


def test_a_cpu_variant_takes_as_much_longer_as_is_assumed() -> None:
    work = mapped(trace(), catalogue(), PRODUCTS, 1, Assumptions(cpu_factor=8))
    for function in work.functions:
        assert function.behaviour.exec_us[CPU] == 8 * function.behaviour.median_us
        assert function.definition.spec.cpu_variant is not None


def test_more_strata_than_profiles_are_refused() -> None:
    with pytest.raises(BadWorkload, match=r"23 profiles make no 30 strata; give from 1 to 23"):
        mapped(workload_of([(0, 0, 1)]), catalogue(), PRODUCTS, 1, strata=30)
