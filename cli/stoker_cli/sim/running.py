"""`stoker sim run`."""

from pathlib import Path

from msgspec.structs import replace

from stoker_cli.console import CommandFailed, listed
from stoker_cli.sim.playing import play
from stoker_cli.sim.showing import check_target, show, write
from stoker_sim.compare import compared, jobs_of, settings_of
from stoker_sim.report.documents import as_json
from stoker_sim.report.tables import run_tables
from stoker_sim.scenario import Scenario
from stoker_sim.scenario_file import read_scenario
from stoker_sim.sources.units import Mebibytes
from stoker_sim.summary import lines_of


def run_once(file: str, *, policy: str | None, seed: int | None, json_file: str | None) -> None:
    """Play one simulation and show all of it. Raises StokerError with one sentence."""
    check_target(json_file)
    path = Path(file)
    scenario = _only_first(read_scenario(path), policy, seed)
    comparison = compared(scenario, play(scenario, path.parent, tuple(jobs_of(scenario)), 1))
    run = comparison.runs[0]
    title = ", ".join(part for part in (scenario.name, run.policy, run.setting.label, f"seed {run.seed}") if part)
    first, *others = run_tables(run)
    show([replace(first, title=title), *others], comparison.notes)
    if json_file is not None:
        write(json_file, as_json(comparison, lines_of(comparison)))


def _only_first(scenario: Scenario, policy: str | None, seed: int | None) -> Scenario:
    """The scenario cut down to one policy, setting and seed."""
    chosen = scenario.choices[0]
    if policy is not None:
        named = [choice for choice in scenario.choices if choice.label == policy]
        if not named:
            names = listed((choice.label for choice in scenario.choices), 20)
            raise CommandFailed(f"--policy: the scenario has no {policy!r}; it has {names}.")
        chosen = named[0]
    first = settings_of(scenario)[0]
    return replace(
        scenario,
        policies=(chosen,),
        loads=() if first.load is None else (first.load,),
        slo_factors=() if first.slo_factor is None else (first.slo_factor,),
        memories=() if first.memory_mib is None else (Mebibytes(first.memory_mib),),
        seeds=1,
        first_seed=scenario.first_seed if seed is None else seed,
    )
