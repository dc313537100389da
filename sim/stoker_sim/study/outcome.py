"""What the test came to, small enough for git: a value of every figure for each replication, policy and family."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from msgspec import Struct, json

from stoker.errors import StokerError
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.halves import Half
from stoker_sim.study.runs import BOUND, Row
from stoker_sim.study.scores import ATTAINMENT, Scores

FILE = Path(str(resources.files("stoker_sim"))) / "study" / "outcome.json"
_DIGITS = 6


class NoOutcome(StokerError):  # noqa: N818  the name states the fact
    """The test was not run. The text says what to do."""


class Told(Struct, frozen=True, kw_only=True):
    """One policy in one family."""

    figures: dict[str, tuple[float | None, ...]]
    """By replication, each the mean over the family's points."""
    points: tuple[float | None, ...]
    """Attainment at each point, the mean over replications."""


class Outcome(Struct, frozen=True, kw_only=True):
    half: Half
    definitions: str
    """The digest of what was frozen (study.frozen)."""
    opened: str
    """The day."""
    rivals: dict[str, str]
    told: dict[str, dict[str, Told]]
    """By family, then policy; ours first."""
    bounds: dict[str, tuple[float | None, ...]]
    """By family: the upper bound on attainment of the first replications."""


def outcome_of(rows: Sequence[Row], *, half: Half, definitions: str, opened: str, rivals: dict[str, str]) -> Outcome:
    """Rows of all families, made into what is kept."""
    scores = Scores(row for row in rows if row.policy != BOUND)
    bounds = Scores(row for row in rows if row.policy == BOUND)
    figures = tuple(dict.fromkeys(figure for row in rows if row.policy != BOUND for figure in row.values))
    return Outcome(
        half=half,
        definitions=definitions,
        opened=opened,
        rivals=rivals,
        told={
            family: {
                policy: Told(
                    figures={name: _rounded(scores.replications(family, policy, name)) for name in figures},
                    points=_rounded(scores.points(family, policy)),
                )
                for policy in scores.policies
                if scores.has(family, policy)
            }
            for family in FAMILIES
            if family in scores.families
        },
        bounds={
            family: _rounded(bounds.replications(family, BOUND, ATTAINMENT))
            for family in FAMILIES
            if family in bounds.families
        },
    )


def read(path: Path = FILE) -> Outcome:
    """Raises NoOutcome."""
    try:
        return json.decode(path.read_bytes(), type=Outcome)
    except FileNotFoundError:
        raise NoOutcome(f"there is no {path.name}; run `python -m stoker_sim.study test` first") from None


def write(outcome: Outcome, path: Path = FILE) -> None:
    """Equal outcomes, equal bytes."""
    path.write_bytes(json.encode(outcome) + b"\n")


def _rounded(values: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None else round(value, _DIGITS) for value in values)
