"""The figures that the simulator takes from publications, and what its loaders and generators make of one seed."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from settings_of_tests import GOLDEN
from sim_workloads import MS, S, sim_function

from stoker_sim.assumptions import Assumptions
from stoker_sim.generate.exec_times import Exponential, Lognormal
from stoker_sim.generate.mmpp import Bursts, mmpp
from stoker_sim.generate.periodic import Period, periodic
from stoker_sim.generate.poisson import poisson
from stoker_sim.generate.zipf import zipf_rates
from stoker_sim.profiles import catalogue, small_gpu_catalogue
from stoker_sim.traces import azure_functions, azure_llm, disb, kaas, mooncake, philly, servegen
from stoker_sim.traces.llm_requests import Serving
from stoker_sim.traces.mapping import mapped
from stoker_sim.traces.spread import Spread
from stoker_sim.workload import Workload

pytestmark = pytest.mark.golden

FILES = Path(__file__).with_name("files")
THREE = [sim_function(name, exec_us) for name, exec_us in (("a", 5 * MS), ("b", 20 * MS), ("c", 80 * MS))]
BURSTS = Bursts.of_mean(10.0, 10.0, quiet_us=9 * S, burst_us=S)

WORKLOADS: dict[str, Callable[[], Workload]] = {
    "azure uniform": lambda: azure_functions.sample(begin_minute=480, end_minute=485),
    "azure clustered": lambda: azure_functions.sample(Spread.CLUSTERED, begin_minute=480, end_minute=485),
    "azure mapped": lambda: mapped(
        azure_functions.sample(begin_minute=480, end_minute=485), catalogue(), ("A100", "T4"), 7
    ),
    "azure llm code": lambda: azure_llm.sample(azure_llm.Service.CODE),
    "azure llm conversation": lambda: azure_llm.sample(azure_llm.Service.CONVERSATION, Serving(functions=3)),
    "mooncake": mooncake.load,
    "servegen": lambda: servegen.load("mm-image", Assumptions(seed=2)),
    "philly": philly.load,
    "disb": disb.load,
    "kaas": lambda: kaas.tenants("bert", 3),
    "poisson zipf": lambda: poisson(THREE, zipf_rates(3, 50.0), 20 * S, 1, Exponential()),
    "mmpp": lambda: mmpp(THREE, [BURSTS] * 3, 20 * S, 1, Lognormal(4.0)),
    "periodic": lambda: periodic(THREE, [Period(period_us=100 * MS, jitter=0.3)] * 3, 20 * S, 1),
}


def check(name: str, text: str) -> None:
    path = FILES / name
    if GOLDEN:
        path.write_text(text)
    assert text == path.read_text(), f"{name} is out of date: look at the difference, then make golden"


def described(work: Workload) -> str:
    columns = [work.time_us, work.function, work.exec_us, work.objectives_us(), work.number]
    digest = blake2b(b"".join(np.ascontiguousarray(column).tobytes() for column in columns), digest_size=8).hexdigest()
    sizes = f"{len(work)} requests, {len(work.functions)} functions, {len(work.closed)} closed loops"
    lines = [
        f"{work.source}: {sizes}, {work.horizon_us} us, columns {digest}",
        *(f"  note: {note}" for note in work.notes),
        *(
            f"  {function.key} {function.behaviour} objective {function.definition.spec.slo.latency_us}"
            for function in work.functions[:3]
        ),
    ]
    return "\n".join(lines) + "\n"


def test_profiles_are_as_published() -> None:
    lines = []
    for profile in (*catalogue(), *small_gpu_catalogue()):
        lines.append(f"{profile.name}: p99/p50 {profile.p99_over_p50:.3f}, interference as {profile.interference}")
        lines += [f"  {name} = {figure.value}  ({figure.source})" for name, figure in profile.figures().items()]
    check("sim-profiles.txt", "\n".join(lines) + "\n")


def test_workloads_of_a_seed_are_the_same_to_the_last_request() -> None:
    check("sim-workloads.txt", "\n".join(f"== {name}\n{described(make())}" for name, make in WORKLOADS.items()))
