"""Invariants of sizing: the model is monotone, no arrival is lost or made up, and a steady count does not flap."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.sizing import steady
from stoker.sizing.arrival_rate import GROUP, begin, learn, peak_per_s, recent
from stoker.sizing.queueing_model import delay_probability, replicas_needed
from stoker.sizing.service_time import ServiceTime

pytestmark = pytest.mark.property

S = 1_000_000
SERVICES = st.builds(
    ServiceTime,
    mean_us=st.integers(1_000, 2 * S),
    deviation_us=st.integers(0, 4 * S),
    samples=st.just(64),
)
RATES = st.floats(0.01, 200)
PERCENTILES = st.floats(1e-6, 100, exclude_max=True)


@settings(max_examples=50)
@given(RATES, st.floats(1, 3), SERVICES, st.integers(1_000, 20 * S), st.tuples(PERCENTILES, st.integers(1, 8)))
def test_more_arrivals_never_need_fewer_replicas(
    per_s: float, factor: float, service: ServiceTime, objective_us: int, how: tuple[float, int]
) -> None:
    percentile, concurrency = how
    few = replicas_needed(per_s, service, objective_us, percentile, concurrency, 60)
    many = replicas_needed(per_s * factor, service, objective_us, percentile, concurrency, 60)
    assert 1 <= few <= many <= 60
    # Less than the load itself is never enough, unless the bound says so.
    assert few == 60 or few * concurrency > per_s * service.mean_us / S


@settings(max_examples=50)
@given(RATES, SERVICES, st.floats(1.2, 20), st.floats(50, 99.9), st.floats(50, 99.9))
def test_a_higher_percentile_never_needs_fewer_replicas(
    per_s: float, service: ServiceTime, room: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    # An objective that executions alone keep at both percentiles.
    objective_us = round(room * service.at_share(high / 100)) + 1
    assert replicas_needed(per_s, service, objective_us, low, 1, 60) <= replicas_needed(
        per_s, service, objective_us, high, 1, 60
    )


@settings(max_examples=50)
@given(st.integers(1, 300), st.floats(0, 400))
def test_the_probability_of_a_wait_is_one_and_falls_with_each_server(servers: int, offered: float) -> None:
    assert 0 <= delay_probability(servers + 1, offered) <= delay_probability(servers, offered) <= 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9 * S)), max_size=30))
def test_every_arrival_is_counted_once(steps: list[tuple[int, int]]) -> None:
    rates, now_us, told = begin(0, 0, 0), 0, 0
    for came, passed_us in steps:
        now_us += passed_us
        told += came
        rates = learn(rates, told, came, now_us)
        if rates.began_us == 0 and len(rates.groups) < GROUP:
            of_this_group = rates.recent[len(rates.recent) - rates.phase :]
            assert sum(rates.groups) + sum(of_this_group) + rates.current == told
        assert rates.bucket_us <= now_us < rates.bucket_us + S
    if rates.groups:
        assert min(rates.groups) <= peak_per_s(rates) * 10 <= max(rates.groups)
    assert recent(rates, GROUP)[0] <= told


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_a_noisy_need_changes_the_count_a_bounded_number_of_times(seed: int, base: int) -> None:
    draws = Random(seed)
    held, changes, downs, seconds = None, 0, 0, 200
    for second in range(seconds):
        before, need = held, base + draws.randrange(4)
        held = steady.settle(held, need, need, second * S)
        assert held.count >= need
        if before is not None and held.count != before.count:
            changes += 1
            downs += held.count < before.count
    window = steady.DOWN_US // S
    assert downs <= seconds // window
    assert changes <= downs + 3 * (downs + 1)
