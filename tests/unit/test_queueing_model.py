"""The model of queueing against known values of Erlang's formulas and the closed form of M/M/n."""

from math import exp

import pytest

from stoker.sizing.queueing_model import HOPELESS_ROOM, delay_probability, replicas_needed
from stoker.sizing.service_time import ServiceTime, of_sums, pooled

pytestmark = pytest.mark.unit

MS, S = 1_000, 1_000_000


def times(mean_us: int = 100 * MS, variability: float = 1.0) -> ServiceTime:
    return ServiceTime(mean_us=mean_us, deviation_us=round(mean_us * variability**0.5), samples=64)


def needed(per_s: float, objective_us: int = 500 * MS, percentile: float = 99.0, **how: object) -> int:
    service = how.get("service", times())
    assert isinstance(service, ServiceTime)
    concurrency, most = how.get("concurrency", 1), how.get("most", 1000)
    assert isinstance(concurrency, int)
    assert isinstance(most, int)
    return replicas_needed(per_s, service, objective_us, percentile, concurrency, most)


@pytest.mark.parametrize(
    ("servers", "offered", "known"),
    # C(1, a) = a and C(2, a) = a^2 / (2 + a) by hand; the last two stand in every table of Erlang's C.
    [(1, 0.3, 0.3), (2, 1.0, 1 / 3), (2, 1.5, 2.25 / 3.5), (5, 4.0, 0.5541), (10, 8.0, 0.4092), (3, 3.0, 1.0)],
)
def test_the_probability_of_a_wait_is_erlangs(servers: int, offered: float, known: float) -> None:
    assert delay_probability(servers, offered) == pytest.approx(known, abs=1e-4)


def test_the_recursion_is_stable_for_thousands_of_servers() -> None:
    # Halfin and Whitt, 1981: with load n - sqrt(n) it tends to 1 / (1 + sqrt(2 pi) cdf(1) exp(1/2)) = 0.223.
    assert delay_probability(10_000, 10_000 - 100) == pytest.approx(0.223, abs=0.01)


def mm_n_late(servers: int, offered: float, mean_s: float, objective_s: float) -> float:
    """P(wait + execution > objective) in M/M/n: any textbook, e.g. Gross and Harris, 2.3."""
    delayed, rate = delay_probability(servers, offered), 1 / mean_s
    drain = rate * (servers - offered)
    alone, waited = exp(-rate * objective_s), exp(-drain * objective_s)
    after_wait = (
        (drain * alone - rate * waited) / (drain - rate)
        if abs(drain - rate) > 1e-9
        else alone * (1 + rate * objective_s)
    )
    return (1 - delayed) * alone + delayed * after_wait


@pytest.mark.parametrize("offered", [0.5, 2.3, 7.1, 20.4, 61.0])
def test_it_agrees_with_the_theory_of_exponential_times(offered: float) -> None:
    # The shape is another one (log-normal, same mean and spread): the count may differ by one.
    mean_s, objective_s = 0.1, 0.7
    exact = next(n for n in range(1, 200) if n > offered and mm_n_late(n, offered, mean_s, objective_s) <= 0.05)
    assert abs(needed(offered / mean_s, 700 * MS, 95.0) - exact) <= 1


def test_nothing_is_needed_without_arrivals_and_never_more_than_the_most() -> None:
    assert needed(0.0) == 0
    assert needed(10_000.0, most=7) == 7
    assert needed(1.0, most=0) == 0


def test_one_replica_of_many_executions_serves_what_needs_many_of_one() -> None:
    singles, eights = needed(200.0), needed(200.0, concurrency=8)
    assert eights == -(-singles // 8)


def test_steadier_executions_need_fewer_replicas() -> None:
    counts = [needed(50.0, 2 * S, service=times(variability=squared)) for squared in (0.0, 1.0, 9.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_an_objective_that_executions_alone_miss_is_not_paid_for_with_replicas() -> None:
    # 100 ms of execution under an objective of 50 ms: sized for waits of about an execution, not for none.
    hopeless = needed(50.0, 50 * MS, service=times(variability=0.0))
    assert hopeless == needed(50.0, round(HOPELESS_ROOM * 100 * MS), service=times(variability=0.0))
    assert 6 <= hopeless <= 9


def test_an_objective_that_executions_nearly_miss_alone_does_not_want_replicas_without_end() -> None:
    service = times(variability=0.25)
    just_met = round(service.at_share(0.99)) + 1
    assert needed(50.0, just_met, service=service) < 3 * needed(50.0, 10 * just_met, service=service)


def test_two_moments_give_the_tail_of_a_log_normal() -> None:
    service = times(variability=1.0)
    assert service.share_over(service.at_share(0.95)) == pytest.approx(0.05)
    assert service.share_over(0) == 1.0
    constant = times(variability=0.0)
    assert (constant.share_over(99_999), constant.share_over(100_000)) == (1.0, 0.0)


def test_runs_on_two_products_are_pooled_by_their_number() -> None:
    def measured(times_us: list[int]) -> ServiceTime:
        found = of_sums(len(times_us), sum(times_us), sum(us * us for us in times_us))
        assert found is not None
        return found

    fast, slow = [10_000] * 30, [40_000] * 10
    assert pooled([measured(fast), measured(slow)]) == measured(fast + slow)
    assert of_sums(0, 0, 0) is None
