"""A million requests fit in a few hundred MiB while they are read, drawn or mapped: checked at a quarter of that."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sim_workloads import S, sim_function

from stoker_sim.generate.exec_times import Lognormal
from stoker_sim.generate.poisson import poisson
from stoker_sim.profiles import catalogue
from stoker_sim.traces import plain_csv
from stoker_sim.traces.mapping import mapped
from stoker_sim.workload import Workload

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

REQUESTS = 250_000
MOST_BYTES = 75 * 2**20


def peak_bytes(make: Callable[[], Workload]) -> tuple[Workload, int]:
    tracemalloc.start()
    try:
        work = make()
        return work, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_lines_are_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    with path.open("w") as file:
        file.write("arrival_s,function,tenant,exec_ms,slo_ms\n")
        file.writelines(f"{at / 1000:.3f},f{at % 500},t{at % 20},{1 + at % 97},\n" for at in range(REQUESTS))
    work, peak = peak_bytes(lambda: plain_csv.load(path))
    assert len(work) == REQUESTS
    assert peak < MOST_BYTES


def test_requests_are_drawn_and_mapped_in_little_memory() -> None:
    functions = [sim_function(f"f{at}", 1000 + at) for at in range(1000)]
    work, peak = peak_bytes(lambda: poisson(functions, np.full(1000, 2.5), 100 * S, 1, Lognormal(3.0)))
    assert len(work) == pytest.approx(REQUESTS, rel=0.01)
    assert peak < MOST_BYTES
    _, peak = peak_bytes(lambda: mapped(work, catalogue(), ("A100", "T4"), 1))
    assert peak < MOST_BYTES
