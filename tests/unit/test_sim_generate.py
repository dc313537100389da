"""Generated workloads follow their law, and hang on (seed, function) alone."""

import numpy as np
import pytest
from sim_workloads import MS, S, sim_function

from stoker_sim.generate.closed_loop import BLOCK, Client, clients_of, closed_loop
from stoker_sim.generate.exec_times import Exponential, Fixed, Lognormal, exec_times
from stoker_sim.generate.mmpp import Bursts, mmpp, phases
from stoker_sim.generate.periodic import Period, periodic
from stoker_sim.generate.poisson import poisson, stepped, unit_arrivals
from stoker_sim.generate.zipf import zipf_rates
from stoker_sim.workload import BadWorkload, ClosedLoop

pytestmark = pytest.mark.unit

F, G = sim_function("f"), sim_function("g", 30 * MS)


def test_poisson_gaps_are_exponential_at_the_rate() -> None:
    work = poisson([F], [50.0], 400 * S, 1)
    gaps = np.diff(work.time_us) / S
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert np.percentile(gaps, 90) == pytest.approx(np.log(10) / 50, rel=0.05)
    assert (work.exec_us == 10 * MS).all()
    assert work.horizon_us == 400 * S


def test_a_higher_rate_brings_the_same_requests_closer_together() -> None:
    slow, fast = (poisson([F], [rate], 100 * S, 1, Exponential()) for rate in (5.0, 10.0))
    count = len(slow)
    assert fast.exec_us[:count].tolist() == slow.exec_us.tolist()
    assert fast.time_us[:count] == pytest.approx(slow.time_us / 2, abs=1)


def test_a_function_more_changes_nobody_elses_requests() -> None:
    law = Lognormal(3.0)
    alone, both = poisson([F], [20.0], 10 * S, 3, law), poisson([G, F], [7.0, 20.0], 10 * S, 3, law)
    mine = both.only({"default/f"})
    assert mine.time_us.tolist() == alone.time_us.tolist()
    assert mine.exec_us.tolist() == alone.exec_us.tolist()
    assert poisson([F], [20.0], 10 * S, 4).time_us.tolist() != alone.time_us.tolist()


def test_nothing_comes_where_the_rate_is_0() -> None:
    times = stepped("f", [0, 10 * S, 20 * S, 30 * S], [100.0, 0.0, 200.0], 1)
    per_step = np.bincount(times // (10 * S), minlength=3)
    assert per_step[1] == 0
    assert per_step[[0, 2]] == pytest.approx([1000, 2000], rel=0.1)
    assert len(stepped("f", [0, S], [0.0], 1)) == 0
    assert len(poisson([F], [0.0], S)) == 0


def test_the_unit_process_goes_on_until_its_end_however_long() -> None:
    short, long = unit_arrivals(5, 10.0), unit_arrivals(5, 10_000.0)
    assert long[: len(short)].tolist() == short.tolist()
    assert len(long) == pytest.approx(10_000, rel=0.05)
    assert len(unit_arrivals(5, 0.0)) == 0


def test_execution_times_keep_the_median_or_the_mean() -> None:
    number = np.arange(40_000)
    assert np.median(exec_times(F, number, Lognormal(5.0), 1)) == pytest.approx(10 * MS, rel=0.03)
    assert np.percentile(exec_times(F, number, Lognormal(5.0), 1), 99) == pytest.approx(50 * MS, rel=0.06)
    assert exec_times(F, number, Exponential(), 1).mean() == pytest.approx(10 * MS, rel=0.03)
    assert exec_times(F, number, Exponential(), 1).min() >= 1
    assert set(exec_times(F, number[:5], Fixed(), 1).tolist()) == {10 * MS}


def test_bursts_have_the_mean_rate_and_are_burstier_than_poisson() -> None:
    its = Bursts.of_mean(20.0, 10.0, quiet_us=9 * S, burst_us=S)
    assert its.mean_per_second == pytest.approx(20.0)
    assert its.burst_per_second == pytest.approx(10 * its.quiet_per_second)
    work = mmpp([F], [its], 5_000 * S, 2)
    assert len(work) == pytest.approx(100_000, rel=0.1)
    per_second = np.bincount(work.time_us // S, minlength=5_000)
    assert per_second.var() / per_second.mean() > 5


def test_states_last_as_long_as_they_should() -> None:
    its = Bursts(quiet_per_second=1, burst_per_second=9, quiet_us=3 * S, burst_us=S)
    edges, rates = phases("f", its, 4_000 * S, 1)
    lasts = np.diff(edges)
    bursting = np.array(rates) == 9
    assert lasts[bursting].sum() / edges[-1] == pytest.approx(0.25, abs=0.04)
    assert lasts[~bursting].mean() == pytest.approx(3 * S, rel=0.1)
    assert edges[-1] == 4_000 * S
    assert (bursting[1:] != bursting[:-1]).all()


def test_zipf_rates_fall_by_rank_and_add_up() -> None:
    rates = zipf_rates(100, 50.0)
    assert rates.sum() == pytest.approx(50)
    assert rates[0] / rates[1] == pytest.approx(2**1.8)
    capped = zipf_rates(100, 50.0, most_over_least=20)
    assert capped[0] / capped[-1] == pytest.approx(20)
    assert capped.sum() == pytest.approx(50)
    with pytest.raises(BadWorkload, match="Zipf"):
        zipf_rates(0, 1.0)


def test_periodic_requests_come_once_a_period_and_a_little_late() -> None:
    work = periodic([F], [Period(period_us=100 * MS, jitter=0.2)], 60 * S, 1)
    phase = (work.time_us - np.arange(len(work)) * 100 * MS) / (100 * MS)
    assert len(work) == pytest.approx(600, abs=1)
    assert phase.max() - phase.min() < 0.2
    assert phase.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.1)
    still = periodic([F, G], [Period(period_us=100 * MS)] * 2, 60 * S, 1)
    assert set(np.diff(still.only({"default/f"}).time_us).tolist()) == {100 * MS}
    assert still.time_us[0] != still.only({"default/g"}).time_us[0] or still.function[0] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: poisson([F], [1.0, 2.0], S),
        lambda: poisson([F], [-1.0], S),
        lambda: poisson([F], [float("inf")], S),
        lambda: mmpp([F], [], S),
        lambda: mmpp([F], [Bursts(quiet_per_second=1, burst_per_second=2, quiet_us=0, burst_us=1)], S),
        lambda: periodic([F], [Period(period_us=0)], S),
        lambda: periodic([F], [Period(period_us=S, jitter=1.5)], S),
        lambda: periodic([F], [], S),
    ],
)
def test_laws_that_are_none_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(BadWorkload):
        wrong()


def test_a_closed_loop_client_repeats_itself_and_differs_from_its_neighbour() -> None:
    loop = ClosedLoop(function=0, clients=2, think_us=50 * MS, p99_over_p50=2.0, seed=3)
    first, again, other = Client(loop, F, 0), Client(loop, F, 0), Client(loop, F, 1)
    asked = [first.next() for _ in range(BLOCK + 10)]
    assert [again.next() for _ in range(BLOCK + 10)] == asked
    assert [other.next() for _ in range(10)] != asked[:10]
    assert len({request.exec_us for request in asked}) > BLOCK
    assert np.mean([request.think_us for request in asked]) == pytest.approx(50 * MS, rel=0.25)
    assert np.median([request.exec_us for request in asked]) == pytest.approx(10 * MS, rel=0.1)


def test_a_client_that_does_not_think_asks_at_once_for_the_median() -> None:
    client = Client(ClosedLoop(function=0, clients=1), F, 0)
    assert {(client.next().think_us, client.next().exec_us) for _ in range(20)} == {(0, 10 * MS)}


def test_a_workload_of_closed_loops_names_each_client() -> None:
    work = closed_loop([F, G], [ClosedLoop(function=1, clients=3), ClosedLoop(function=0, clients=1)], S)
    assert [function for function, _ in clients_of(work)] == [1, 1, 1, 0]
    assert "4 clients" in work.notes[0]
