"""`stoker sim bound`."""

from msgspec.structs import replace

from stoker_cli.console import CommandFailed
from stoker_cli.sim.playing import play
from stoker_cli.sim.showing import check_target, show, write
from stoker_cli.sim.what import Wanted, scenario_of
from stoker_sim.compare import jobs_of
from stoker_sim.report.documents import bounds_as_json
from stoker_sim.report.tables import bound_table


def bound(wanted: Wanted, processes: int | None, json_file: str | None) -> None:
    """Compute, show and write the bound of every setting and seed. Raises StokerError with one sentence."""
    check_target(json_file)
    scenario, folder = scenario_of(wanted)
    if wanted.trace is not None and wanted.seeds is None:
        scenario = replace(scenario, seeds=1)
    scenario = replace(scenario, bound=True)
    jobs = tuple(replace(job, exact=True) for job in jobs_of(scenario) if job.policy is None)
    played = play(scenario, folder, jobs, processes)
    found = sorted(played, key=lambda result: jobs.index(result.job))
    if all(result.bound is None for result in found):
        raise CommandFailed("There is no bound: what clients in closed loops ask hangs on the policy.")
    show([bound_table(scenario.name, found)], found[0].notes)
    if json_file is not None:
        write(json_file, bounds_as_json(scenario, found, found[0].notes))
