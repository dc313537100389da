"""The commands of `stoker sim` that read event logs; the group takes them by `register`."""
# Imports stand in the commands so that a command loads only what it runs.
# ruff: noqa: PLC0415, PLR0917

import os
from pathlib import Path

import click


def register(group: click.Group) -> None:
    """Add them."""
    group.add_command(replay_command)
    group.add_command(whatif_command)


@click.command(name="replay", short_help="Make every decision of an event log again, and compare.")
@click.argument("logs", metavar="LOG...", nargs=-1, type=click.Path(path_type=Path), required=True)
def replay_command(logs: tuple[Path, ...]) -> int:
    """Ask the core again all that it was asked by `stoker serve --event-log LOG`, and compare the decisions.

    Each file replays alone. Exit code 1 if a decision differs; the first one is shown in full.
    """
    from stoker_cli.sim.replay_log import replay_logs

    return replay_logs(logs)


@click.command(name="whatif", short_help="Simulate the load of an event log with something changed.")
@click.argument("log", metavar="LOG", type=click.Path(path_type=Path))
@click.option("--policy", metavar="NAME", help="Queueing policy.  [default: the log's]")
@click.option("--gpus", metavar="N", type=click.IntRange(1, 1000), help="Number of GPUs.  [default: the log's]")
@click.option("--replace", "replaced", metavar="OLD=NEW", multiple=True, help="Another product, as in T4=L4-24GB.")
@click.option(
    "--replications", metavar="N", type=click.IntRange(2, 1000), default=20, show_default=True, help="For the ranges."
)
@click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(path_type=Path), help="Write the answer there too."
)
def whatif_command(
    log: Path,
    policy: str | None,
    gpus: int | None,
    replaced: tuple[str, ...],
    replications: int,
    json_path: Path | None,
) -> None:
    """Simulate the requests of LOG with another policy, number or product of GPUs: figures with ranges.

    First the log is simulated as it was and held against what was measured. Where the answer goes beyond what the log
    has seen it says so.
    """
    from stoker_cli.sim.what_if import replacement, what_if
    from stoker_sim.whatif.change import Change

    change = Change(policy=policy, gpus=gpus, products=dict(map(replacement, replaced)))
    what_if(log, change, replications=replications, json_path=json_path, environ=os.environ)
