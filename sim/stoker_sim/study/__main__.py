"""`python -m stoker_sim.study`: try policies on the tuning half of the families, settle, freeze, open the test half."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import yaml
from msgspec.structs import replace

from stoker.errors import StokerError, UnknownName
from stoker_sim.scenario import PolicyChoice
from stoker_sim.sources.units import decode_unit
from stoker_sim.study import frozen, outcome
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.halves import Half
from stoker_sim.study.judgement import judged
from stoker_sim.study.runs import Job, Row, jobs_of, play
from stoker_sim.study.scores import Scores
from stoker_sim.study.settings import OURS, published, settings_of
from stoker_sim.study.tables import percent, table, verdicts
from stoker_sim.study.tuning import Play, Tuned, tuned, tuned_jointly

_BOUNDS = 8
"""Replications whose bound is computed."""


def main() -> int:
    """Exit code 2 for what is not there or may not be done."""
    given = _parser().parse_args()
    commands = {"try": _try, "tune": _try, "settle": _settle, "freeze": _freeze, "test": _test}
    try:
        commands[given.command](given)
    except StokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stoker_sim.study", description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    commands = parser.add_subparsers(dest="command", required=True)
    tried = commands.add_parser("tune", aliases=["try"], help="a table of policies on the tuning half")
    tried.add_argument("--policies", default="", help="names, with commas")
    tried.add_argument("--choice", action="append", default=[], help="a policy as a scenario writes it, in YAML")
    tried.add_argument("--families", default=",".join(FAMILIES), help="names, with commas (%(default)s)")
    tried.add_argument("--replications", type=int, default=4)
    tried.add_argument(
        "--all-settings", action="store_true", help="every setting of the policies, not the default only"
    )
    tried.add_argument("--points", action="store_true", help="a column for each load and objective")
    settle = commands.add_parser("settle", help="choose settings on the tuning half; goes on where it was interrupted")
    settle.add_argument("folder", type=Path, help="where the rows are kept, a file for each family and policy")
    settle.add_argument("--policies", default=",".join(published()), help="names, with commas (%(default)s)")
    settle.add_argument("--families", default=",".join(FAMILIES), help="names, with commas (%(default)s)")
    freeze = commands.add_parser("freeze", help="make the frozen file of what was settled")
    freeze.add_argument("folder", type=Path)
    test = commands.add_parser("test", help="open the test half, once")
    test.add_argument("--on", required=True, help="the day, as in 2026-12-01: it is written down")
    test.add_argument("--again", default="", metavar="WHY", help="open it although it was opened before")
    test.add_argument("--everybody", action="store_true", help="all published policies beside the rival")
    for command in (freeze, test):
        command.add_argument("--frozen", type=Path, default=frozen.FILE, help="file (%(default)s)")
    test.add_argument("--out", type=Path, default=outcome.FILE, help="file (%(default)s)")
    return parser


def _try(given: argparse.Namespace) -> None:
    families = _families(given.families)
    choices: list[PolicyChoice] = []
    for policy in _names(given.policies):
        choices += settings_of(policy) if given.all_settings else settings_of(policy)[:1]
    choices += [msgspec.convert(yaml.safe_load(text), PolicyChoice, dec_hook=decode_unit) for text in given.choice]
    jobs = jobs_of(families, Half.TUNING, range(given.replications), dict.fromkeys(families, choices))
    with _player(given.processes) as player:
        scores = Scores(player(jobs))
    head = ["attainment, %"]
    for family in families:
        head += [f"{family} {p.load:g}/{p.slo_factor:g}" for p in FAMILIES[family].points] if given.points else [family]
    lines = []
    for policy in scores.policies:
        cells = [policy]
        for family in families:
            values = scores.points(family, policy) if given.points else (scores.mean(family, policy),)
            cells += [percent(value) for value in values]
        lines.append(cells)
    sys.stdout.write(table(head, lines))


def _settle(given: argparse.Namespace) -> None:
    families, policies = _families(given.families), _names(given.policies)
    given.folder.mkdir(parents=True, exist_ok=True)
    with _player(given.processes) as player:
        for family in families:
            for policy in policies:
                if policy != OURS and not _path(given.folder, family, policy).exists():
                    _keep(given.folder, tuned(family, policy, settings_of(policy), player))
        if OURS in policies and not all(_path(given.folder, family, OURS).exists() for family in families):
            for part in tuned_jointly(families, OURS, settings_of(OURS), player):
                _keep(given.folder, part)


def _freeze(given: argparse.Namespace) -> None:
    parts = [msgspec.json.decode(path.read_bytes(), type=Tuned) for path in sorted(given.folder.glob("*.json"))]
    made = frozen.after(frozen.froze(parts), given.frozen)
    frozen.write(made, given.frozen)
    rows = [
        (
            family,
            made.rivals[family],
            made.published[family][made.rivals[family]].label,
            percent(theirs[made.rivals[family]]),
            percent(theirs[OURS]),
        )
        for family, theirs in made.tuned.items()
    ]
    sys.stdout.write(f"ours: {made.ours.label}\n")
    sys.stdout.write(table(("family", "rival", "its setting", "its attainment, %", "ours"), rows))


def _test(given: argparse.Namespace) -> None:
    made = frozen.read(given.frozen)
    frozen.check(made, again=bool(given.again))
    opening = frozen.Opening(given.on, given.again or "the one test")
    frozen.write(replace(made, opened=(*made.opened, opening)), given.frozen)
    families = tuple(made.rivals)
    choices = {family: made.choices(family, everybody=given.everybody) for family in families}
    jobs = jobs_of(families, Half.TEST, range(frozen.REPLICATIONS), choices, attainment_only=False, bounds=_BOUNDS)
    with _player(given.processes) as player:
        rows = player(jobs)
    found = outcome.outcome_of(rows, half=Half.TEST, definitions=made.definitions, opened=given.on, rivals=made.rivals)
    outcome.write(found, given.out)
    sys.stdout.write(verdicts(judged(found)))


@contextmanager
def _player(processes: int) -> Iterator[Play]:
    """Plays jobs on so many processes; rows come in the order of the jobs, whoever is ready first."""
    if processes <= 1:
        yield _here
        return
    with ProcessPoolExecutor(processes) as pool:
        yield partial(_there, pool)


def _here(jobs: Sequence[Job]) -> list[Row]:
    return [row for job in jobs for row in play(job)]


def _there(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> list[Row]:
    return [row for rows in pool.map(play, jobs) for row in rows]


def _path(folder: Path, family: str, policy: str) -> Path:
    return folder / f"{family}-{policy}.json"


def _keep(folder: Path, part: Tuned) -> None:
    _path(folder, part.family, part.policy).write_bytes(msgspec.json.encode(part))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _families(text: str) -> tuple[str, ...]:
    for family in _names(text):
        if family not in FAMILIES:
            raise UnknownName(f"there is no family {family!r}; use one of: {', '.join(FAMILIES)}")
    return _names(text)


if __name__ == "__main__":
    sys.exit(main())
