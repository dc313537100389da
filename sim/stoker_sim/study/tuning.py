"""Choosing settings on the tuning half, by two rounds of halving, the same for every policy.

Round 1 tries all settings on one replication; round 2 tries those FINALISTS that were best on the others too (after
Z. Karnin, T. Koren and O. Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013). A published policy
is tuned for each family by itself, which is more than its user could do; ours gets one setting for all of them.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from stoker_sim.scenario import PolicyChoice
from stoker_sim.study.halves import Half
from stoker_sim.study.runs import Job, Row, jobs_of
from stoker_sim.study.scores import Scores

FINALISTS = 2
REPLICATIONS = 4

Play = Callable[[Sequence[Job]], list[Row]]
"""Plays jobs; gives their rows in their order."""


class Tuned(Struct, frozen=True, kw_only=True):
    """The rows of one policy in one family. Those of finalists have every replication."""

    family: str
    policy: str
    rows: tuple[Row, ...]


def tuned(family: str, policy: str, settings: Sequence[PolicyChoice], play: Play) -> Tuned:
    """Of one family by itself."""
    first = play(jobs_of((family,), Half.TUNING, (0,), {family: settings}))
    scores = Scores(first)
    labels = ranked(lambda label: scores.mean(family, label), settings)[:FINALISTS]
    return Tuned(family=family, policy=policy, rows=(*first, *_final((family,), settings, labels, play)))


def tuned_jointly(
    families: Sequence[str], policy: str, settings: Sequence[PolicyChoice], play: Play
) -> tuple[Tuned, ...]:
    """With the same finalists in all families: those with the best mean over them."""
    first = play(jobs_of(families, Half.TUNING, (0,), dict.fromkeys(families, settings)))
    scores = Scores(first)
    labels = ranked(lambda label: scores.over(families, label), settings)[:FINALISTS]
    rows = [*first, *_final(families, settings, labels, play)]
    return tuple(
        Tuned(family=family, policy=policy, rows=tuple(row for row in rows if row.family == family))
        for family in families
    )


def ranked(value: Callable[[str], float | None], settings: Sequence[PolicyChoice]) -> list[str]:
    """Labels, the best first; of equal ones the earlier setting, which is nearer to the published one."""
    return sorted((choice.label for choice in settings), key=lambda label: -(value(label) or 0.0))


def chosen(tuned_rows: Tuned) -> tuple[str, float]:
    """The label of the best finalist, and its mean attainment over all replications."""
    scores, labels = Scores(tuned_rows.rows), _finalists(tuned_rows)
    best = scores.best(tuned_rows.family, labels)
    return best, scores.mean(tuned_rows.family, best) or 0.0


def chosen_jointly(parts: Sequence[Tuned]) -> tuple[str, Mapping[str, float]]:
    """The label of the finalist with the best mean over the families, and its attainment in each."""
    scores = Scores(row for part in parts for row in part.rows)
    families = [part.family for part in parts]
    shared = [label for label in _finalists(parts[0]) if all(label in _finalists(part) for part in parts)]
    best = max(shared, key=lambda label: scores.over(families, label) or 0.0)
    return best, {family: scores.mean(family, best) or 0.0 for family in families}


def _final(families: Sequence[str], settings: Sequence[PolicyChoice], labels: Sequence[str], play: Play) -> list[Row]:
    finalists = [choice for choice in settings if choice.label in labels]
    return play(jobs_of(families, Half.TUNING, range(1, REPLICATIONS), dict.fromkeys(families, finalists)))


def _finalists(tuned_rows: Tuned) -> list[str]:
    """In the order of the settings."""
    scores = Scores(tuned_rows.rows)
    return [label for label in scores.policies if len(scores.replications(tuned_rows.family, label)) == REPLICATIONS]
