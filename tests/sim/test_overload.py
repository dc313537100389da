"""Goodput under overload, simulated: it stays where it is, each function keeps its share, and promises are kept."""

import pytest
from overload_world import CALM_LOAD, GPUS, NAMES, TENANT_LATENCY_US, pair, play, tenants

from stoker.max_min import max_min
from stoker.slots.forecast import Rule

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

LOADS = (0.5, 0.8, 1.0, 1.2, 2.0, 5.0, 10.0)
EXPECTED = {2.0: 0.95, 5.0: 0.90, 10.0: 0.85}
MILLION = 1_000_000


def fair(load: float, mix: tuple[float, ...]) -> list[float]:
    """The max-min share of each function, in GPU seconds a second."""
    asked = {name: round(load * GPUS * part / sum(mix) * MILLION) for name, part in zip(NAMES, mix, strict=True)}
    shares = max_min(asked, {}, GPUS * MILLION)
    return [shares[name] / MILLION for name in NAMES]


@pytest.mark.parametrize("mix", [(1, 1, 1), (4, 1, 1), (1, 1, 4)])
def test_useful_work_shares_and_promises_are_kept_up_to_ten_times_the_load(mix: tuple[float, ...]) -> None:
    curves = {load: play(load, mix=mix, seed=3) for load in LOADS}
    peak = max(curve.useful for curve in curves.values())
    for load, least in EXPECTED.items():
        curve = curves[load]
        assert curve.useful >= least * peak, (load, curve.useful, peak)
        for name, got, share in zip(NAMES, curve.shares, fair(load, mix), strict=True):
            assert got >= 0.8 * share, (load, name, got, share)
    for load, curve in curves.items():
        assert min(curve.kept) >= 0.99, (load, curve.kept)
        assert curve.late <= 0.01, (load, curve.late)


def test_without_admission_by_arrival_whoever_can_wait_longest_has_all() -> None:
    # Late requests run behind all that can be on time, so slots do useful work still: for one function alone.
    without = play(5, queueing="fcfs", rule=Rule.NONE)
    assert max(without.shares[:-1]) <= 0.01 * without.useful
    admitted = play(5, queueing="fcfs")
    assert admitted.useful >= without.useful
    for name, got, share in zip(NAMES, admitted.shares, fair(5, (1, 1, 1)), strict=True):
        assert got >= 0.8 * share, name


def test_without_admission_useful_work_collapses_by_arrival_alone() -> None:
    # Not even late ones behind all that can be on time: the order of arrival and nothing else.
    before = play(0.8, queueing="fcfs", rule=Rule.NONE, serve_late=False)
    after = play(5, queueing="fcfs", rule=Rule.NONE, serve_late=False)
    assert after.useful < 0.5 * before.useful
    assert play(5, queueing="fcfs").useful > 0.9 * before.useful


def test_nine_tenants_notice_little_of_a_tenth_that_asks_for_ten_times_as_much() -> None:
    alone, beside = tenants(greedy=0), tenants(greedy=10)
    assert alone.success >= 0.995
    assert beside.success >= 0.995
    assert alone.p99_us <= beside.p99_us <= min(2 * alone.p99_us, TENANT_LATENCY_US)
    assert beside.greedy_useful >= 0.8 * (GPUS - CALM_LOAD), "and it gets most of what they leave"


def test_two_functions_that_ask_for_too_much_leave_the_one_slot_idle_at_no_time() -> None:
    # Neither may have more than half of it: what the one does not come for in time is the other's.
    curve = pair()
    assert curve.useful >= 0.95
    assert min(curve.shares) >= 0.8 * curve.useful / 2
    assert min(curve.kept) >= 0.99
