"""The commands `stoker sim ...`: options and nothing else. What a command needs is imported in it."""
# ruff: noqa: PLC0415, PLR0917  click hands options over by name

from collections.abc import Callable
from typing import Any

import click

from stoker_cli.sim import log_commands

_SCENARIO = click.argument("scenario", metavar="[SCENARIO.yaml]", required=False)
_PROCESSES = click.option(
    "--processes", type=click.IntRange(1, 1024), metavar="N", help="Simulations at a time.  [default: one each core]"
)


def _of_trace(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that stand for a scenario."""
    for option in reversed(
        (
            click.option(
                "--trace", metavar="FILE.csv", help="Instead of a scenario: arrival_s,function,tenant,exec_ms,..."
            ),
            click.option("--gpus", type=click.IntRange(1, 10_000), metavar="N", help="With --trace: how many GPUs."),
            click.option("--gpu-memory", metavar="MEMORY", help="With --trace: of each.  [default: 40Gi]"),
            click.option("--start", metavar="DURATION", help="With --trace: every start-up.  [default: 5s]"),
            click.option("--loads", metavar="A,B", help="Offered GPU time over capacity, as in 0.5,0.9,1.2."),
            click.option(
                "--seeds", type=click.IntRange(1, 10_000), metavar="N", help="Replications.  [default: the scenario's]"
            ),
        )
    ):
        command = option(command)
    return command


@click.group(name="sim", short_help="Simulate functions, policies and devices.")
def sim() -> None:
    """Simulate with the very policies that serve: on traces, on generated requests, against the optimum."""


@sim.command(name="run", short_help="Play one simulation and show all of its figures.")
@click.argument("scenario", metavar="SCENARIO.yaml")
@click.option("--policy", metavar="NAME", help="One of the scenario's.  [default: the first]")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="[default: the scenario's first]")
@click.option("--json", "json_file", metavar="FILE", help="Write the figures there.")
def run_command(scenario: str, policy: str | None, seed: int | None, json_file: str | None) -> None:
    """Play the first setting of SCENARIO.yaml once, and show all figures, each tenant and each function."""
    from stoker_cli.sim.running import run_once

    run_once(scenario, policy=policy, seed=seed, json_file=json_file)


@sim.command(name="compare", short_help="Compare policies over seeds and loads.")
@_SCENARIO
@_of_trace
@click.option("--policies", metavar="A,B", help="Queueing policies.  [default: the scenario's]")
@click.option("--json", "json_file", metavar="FILE", help="Write everything there as JSON.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write a row for each simulation there.")
@click.option("--html", "html_file", metavar="FILE", help="Write a page with plots there.")
@_PROCESSES
def compare_command(
    scenario: str | None,
    trace: str | None,
    gpus: int | None,
    gpu_memory: str | None,
    start: str | None,
    loads: str | None,
    seeds: int | None,
    policies: str | None,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    processes: int | None,
) -> None:
    """Play every policy on the same requests, seed by seed, and show how they differ.

    What is simulated stands in SCENARIO.yaml, or is a trace of your own (--trace and --gpus).
    """
    from stoker_cli.sim.comparing import Files, compare
    from stoker_cli.sim.what import Wanted

    compare(
        Wanted(
            scenario=scenario,
            trace=trace,
            gpus=gpus,
            gpu_memory=gpu_memory,
            start=start,
            policies=policies,
            loads=loads,
            seeds=seeds,
        ),
        Files(json=json_file, csv=csv_file, html=html_file),
        processes,
    )


@sim.command(name="bound", short_help="Say how many requests could be on time at best.")
@_SCENARIO
@_of_trace
@click.option("--json", "json_file", metavar="FILE", help="Write the bounds there as JSON.")
@_PROCESSES
def bound_command(
    scenario: str | None,
    trace: str | None,
    gpus: int | None,
    gpu_memory: str | None,
    start: str | None,
    loads: str | None,
    seeds: int | None,
    json_file: str | None,
    processes: int | None,
) -> None:
    """Say how many requests could be on time at best, all of them being known beforehand.

    The optimum of up to 60 requests on up to 3 devices, else an upper bound by linear programming.
    """
    from stoker_cli.sim.bounding import bound
    from stoker_cli.sim.what import Wanted

    bound(
        Wanted(
            scenario=scenario,
            trace=trace,
            gpus=gpus,
            gpu_memory=gpu_memory,
            start=start,
            loads=loads,
            seeds=seeds,
        ),
        processes,
        json_file,
    )


log_commands.register(sim)
