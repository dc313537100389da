"""What parts, mixtures and counts of a workload keep, whatever is in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sim_workloads import S, sim_function, workload_of

from stoker_sim.arrangement import merged
from stoker_sim.generate.exec_times import Exponential
from stoker_sim.generate.poisson import poisson
from stoker_sim.profiles import catalogue
from stoker_sim.traces.mapping import mapped
from stoker_sim.workload import Workload, numbered

pytestmark = pytest.mark.property

REQUESTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3), st.integers(1, 100)), min_size=1, max_size=60)


def rows(work: Workload) -> list[tuple[int, str, int, int]]:
    keys = [work.keys[index] for index in work.function]
    return list(zip(work.time_us.tolist(), keys, work.number.tolist(), work.exec_us.tolist(), strict=True))


@settings(max_examples=30)
@given(requests=REQUESTS, cut=st.integers(1, 1000))
def test_two_slices_make_the_whole(requests: list[tuple[int, int, int]], cut: int) -> None:
    work = workload_of(requests, 4, horizon_us=1001)
    before, after = work.slice(0, cut), work.slice(cut, 1001)
    moved = [(time + cut, *rest) for time, *rest in rows(after)]
    assert [*rows(before), *moved] == rows(work)
    assert before.horizon_us + after.horizon_us == 1001


@settings(max_examples=30)
@given(requests=REQUESTS, chosen=st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_some_functions_and_the_others_make_the_whole(requests: list[tuple[int, int, int]], chosen: set[int]) -> None:
    work = workload_of(requests, 4, horizon_us=1001)
    some = {f"default/f{index}" for index in chosen}
    parts = work.only(some), work.only(set(work.keys) - some)
    assert sorted(rows(merged(*parts))) == sorted(rows(work))


@settings(max_examples=30)
@given(function=st.lists(st.integers(0, 4), max_size=50))
def test_numbers_count_each_function_from_0(function: list[int]) -> None:
    counted = numbered(np.array(function, np.int32), 5).tolist()
    seen = dict.fromkeys(range(5), 0)
    for index, number in zip(function, counted, strict=True):
        assert number == seen[index]
        seen[index] += 1


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), extra=st.lists(st.floats(0, 50), max_size=3), rate=st.floats(0.5, 50))
def test_generated_requests_of_a_function_do_not_hang_on_the_others(seed: int, extra: list[float], rate: float) -> None:
    mine = sim_function("mine")
    others = [sim_function(f"other{index}") for index in range(len(extra))]
    together = poisson([*others, mine], [*extra, rate], 5 * S, seed, Exponential())
    alone = poisson([mine], [rate], 5 * S, seed, Exponential())
    assert rows(together.only({"default/mine"})) == rows(alone)


@settings(max_examples=25)
@given(requests=REQUESTS, seed=st.integers(0, 100), share=st.floats(0.1, 1.0))
def test_a_request_takes_the_same_time_in_a_mapped_part_as_in_the_mapped_whole(
    requests: list[tuple[int, int, int]], seed: int, share: float
) -> None:
    work = workload_of(requests, 4, horizon_us=1001)
    whole = set(rows(mapped(work, catalogue(), ("A100",), seed)))
    part = mapped(work.thinned(share, seed), catalogue(), ("A100",), seed)
    assert set(rows(part)) <= whole


@settings(max_examples=20)
@given(requests=REQUESTS, factor=st.floats(0.01, 100))
def test_scaling_keeps_order_and_work(requests: list[tuple[int, int, int]], factor: float) -> None:
    work = workload_of(requests, 4, horizon_us=1001)
    scaled = work.scaled(factor)
    assert (scaled.exec_us == work.exec_us).all()
    assert (scaled.number == work.number).all()
    assert scaled.horizon_us >= 1001 / factor
    assert replace(scaled).time_us.tolist() == scaled.time_us.tolist()
