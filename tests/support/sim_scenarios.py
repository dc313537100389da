"""Small scenarios for tests of comparisons and reports, and their comparison."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import yaml

from stoker_sim.compare import Comparison, Job, Player, Result, compared, jobs_of
from stoker_sim.scenario import Scenario, check
from stoker_sim.sources.units import decode_unit

SMALL = """
name: small
workload:
  kind: poisson
  functions: 6
  tenants: 2
  perSecond: 24
  zipf: 1
  exec: [20ms, 40ms]
  p99OverP50: 2
  memory: 4Gi
  start: 200ms
  sloFactor: 6
  duration: 30s
devices:
  - {product: A100, memory: 16Gi}
policies: [fcfs, mqfq-sticky]
loads: [0.5, 1.1]
warmUp: 3s
seeds: 3
prices: {A100: 2.5}
"""


def scenario_of(**changes: object) -> Scenario:
    scenario = msgspec.convert({**yaml.load(SMALL, Loader=yaml.CSafeLoader), **changes}, Scenario, dec_hook=decode_unit)
    check(scenario)
    return scenario


def played(
    scenario: Scenario, folder: Path = Path(), order: Callable[[list[Job]], Iterable[Job]] = list
) -> list[Result]:
    player = Player(scenario, folder)
    return [player.play(job) for job in order(list(jobs_of(scenario)))]


def comparison_of(scenario: Scenario) -> Comparison:
    return compared(scenario, played(scenario))
