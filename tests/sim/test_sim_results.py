"""Published results in a small form: the shapes that their pages state, and equal bytes for equal seeds."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stoker_sim.pools.buffers import Reserve
from stoker_sim.pools.simulate import PoolKind
from stoker_sim.results import greedy_dual, kaas_pools, mqfq_sticky, torpor_density
from stoker_sim.results.kaas_cliff import falls_at, first_too_many, spare_mib
from stoker_sim.results.kaas_study import Case, Rates
from stoker_sim.results.pages import as_csv, as_json
from stoker_sim.results.result import Result, Row, Verdict

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

SECONDS = (10, 30)


@pytest.fixture(scope="module")
def kaas() -> Result:
    return kaas_pools.make(small=True)


@pytest.fixture(scope="module")
def mqfq() -> Result:
    return mqfq_sticky.make(small=True)


def rows_of(result: Result, **wanted: object) -> Iterator[Row]:
    return (row for row in result.rows if all(row.get(name) == value for name, value in wanted.items()))


def value(result: Result, name: str, **wanted: object) -> float:
    (row,) = rows_of(result, **wanted)
    found = row[name]
    assert isinstance(found, float | int)
    return float(found)


# -- KaaS


@pytest.mark.parametrize(("reserve", "less_mib"), [(Reserve.WHOLE, 0), (Reserve.WHOLE, 100), (Reserve.MISSING, 0)])
def test_the_cliff_is_where_arithmetic_puts_it(reserve: Reserve, less_mib: int) -> None:
    """Nothing of the simulation is in first_too_many(): it divides memory by footprints."""
    predicted = first_too_many(reserve, less_mib=less_mib)
    assert 25 <= predicted <= 33
    rates = Rates(SECONDS)
    served = {
        n: rates.of(Case(workload="cGEMM", tenants=n, kind=PoolKind.AFFINITY, reserve=reserve, less_mib=less_mib))
        for n in range(predicted - 3, predicted + 3)
    }
    found = falls_at(served)
    assert found is not None
    assert abs(found - predicted) <= 1


@pytest.mark.parametrize("reserve", Reserve)
def test_what_is_said_to_be_spare_is_what_moves_the_cliff(reserve: Reserve) -> None:
    spare = spare_mib(reserve)
    assert first_too_many(reserve, less_mib=int(spare)) == first_too_many(reserve)
    assert first_too_many(reserve, less_mib=int(spare) + 1) < first_too_many(reserve)


def test_shared_executors_keep_their_throughput_where_exclusive_workers_lose_theirs(kaas: Result) -> None:
    def rate(tenants: int, pool: PoolKind) -> float:
        return value(kaas, "value", part="throughput", tenants=tenants, pool=pool.value)

    assert rate(4, PoolKind.EXCLUSIVE) >= 0.98 * rate(4, PoolKind.AFFINITY)
    assert rate(5, PoolKind.EXCLUSIVE) < 0.05 * rate(4, PoolKind.EXCLUSIVE)
    assert rate(8, PoolKind.AFFINITY) > 0.98 * rate(4, PoolKind.AFFINITY)
    assert rate(8, PoolKind.BALANCE) < rate(8, PoolKind.AFFINITY)


def test_the_ratio_grows_with_the_start_up_of_a_worker(kaas: Result) -> None:
    ratios = [row["value"] for row in rows_of(kaas, part="start-up")]
    assert len(ratios) == 3
    assert ratios == sorted(ratios, key=float)  # type: ignore[arg-type]
    assert min(ratios) > 10  # type: ignore[operator,type-var]


def test_verdicts_on_the_pools_come_from_the_run(kaas: Result) -> None:
    verdicts = {claim.what: claim.verdict for claim in kaas.claims}
    assert verdicts["shared executors serve many times more once tenants outnumber GPUs"] is Verdict.REPRODUCED
    cliffs = [verdict for what, verdict in verdicts.items() if what.startswith("cGEMM falls")]
    assert len(cliffs) == 2


@pytest.mark.parametrize("name", ["kaas", "mqfq"])
def test_the_same_result_made_by_another_process_is_the_same_bytes(name: str, request: pytest.FixtureRequest) -> None:
    """Another one, since what goes by the order of a set differs from one process to the next."""
    result: Result = request.getfixturevalue(name)
    code = (
        "import sys; from stoker_sim.results.pages import as_csv, as_json; "
        "from stoker_sim.results.registry import RESULTS; "
        f"made = RESULTS[{result.name!r}](small=True); sys.stdout.write(as_json(made) + as_csv(made.rows))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == as_json(result) + as_csv(result.rows)


# -- MQFQ-Sticky


def test_staying_with_a_flow_saves_starts_and_time(mqfq: Result) -> None:
    for load in (0.1, 0.2):
        its, base = (
            next(rows_of(mqfq, policy=policy, load=load, objectives="60 s")) for policy in ("mqfq-sticky", "fcfs")
        )
        assert its["start_ratio"] < base["start_ratio"]  # type: ignore[operator]
        assert its["mean_latency_s"] < base["mean_latency_s"]  # type: ignore[operator]


def test_beyond_what_fits_it_is_fairer_than_what_it_is_compared_with(mqfq: Result) -> None:
    def jain(policy: str) -> float:
        return value(mqfq, "jain_functions_60s", policy=policy, load=0.2, objectives="60 s")

    assert jain("mqfq-sticky") > max(jain("fcfs"), jain("sjf"))


# -- Torpor


def test_more_functions_comply_with_swapping_than_with_memory_of_their_own() -> None:
    result = torpor_density.make(small=True)
    swapped, native, kept = (
        value(result, "compliant", way=way, functions=160) for way in ("torpor", "native", "keep-alive")
    )
    assert swapped > 2 * native > 0
    assert native > kept


# -- greedy-dual


def test_greedy_dual_is_below_a_fixed_time_on_faascaches_own_arrivals() -> None:
    result = greedy_dual.make(small=True)
    for size in (8192, 16384):
        greedy, fixed = (
            value(result, "overhead", load="even", policy=policy, memory_mib=size)
            for policy in ("greedy-dual", "ttl 10 min")
        )
        assert greedy < fixed
