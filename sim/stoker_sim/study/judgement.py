"""The verdict on a policy in each family: differences to its rival, replication by replication, on the same requests.

Non-inferior: the lower 95 % limit (Student's t) of the difference in attainment is above -MARGIN. Superior: it is above
0. The rival was chosen on the other half, so the interval needs no correction for choosing it; the seven families
are seven questions, and are not corrected for being seven. Knows no simulation.
"""

from enum import StrEnum

from msgspec import Struct

from stoker_sim.evaluate.intervals import Interval, interval, paired
from stoker_sim.evaluate.quality import SUFFIX
from stoker_sim.evaluate.weighting import View
from stoker_sim.study.outcome import Outcome
from stoker_sim.study.scores import ATTAINMENT
from stoker_sim.study.settings import ABLATIONS, OURS

MARGIN = 0.005
"""Half a point."""
LEAST_SUPERIOR = 2
"""Families in which a policy of our own must be superior, beside being non-inferior in all."""


class Verdict(StrEnum):
    SUPERIOR = "superior"
    NON_INFERIOR = "non-inferior"
    NOT_SHOWN = "not shown to be non-inferior"
    INFERIOR = "inferior"
    """The upper limit is below -MARGIN."""


class Judged(Struct, frozen=True, kw_only=True):
    """One family."""

    family: str
    rival: str
    verdict: Verdict
    attainment: dict[str, Interval]
    """Of ours and of the rival, by request."""
    differences: dict[View, Interval | None]
    """Ours less the rival, in each view; the verdict is of the first."""
    beside: dict[str, tuple[Interval | None, Interval | None]]
    """Every other figure: ours, the rival."""
    ablations: dict[str, Interval | None]
    """By ablation: it less ours whole, by request."""
    over_bound: dict[str, Interval | None]
    """Attainment over the upper bound, of ours and of the rival, on the replications that have one."""


def verdict_of(difference: Interval) -> Verdict:
    """Of one that has limits: of two replications at least."""
    assert difference.low is not None
    assert difference.high is not None
    if difference.low > 0:
        return Verdict.SUPERIOR
    if difference.low > -MARGIN:
        return Verdict.NON_INFERIOR
    return Verdict.INFERIOR if difference.high < -MARGIN else Verdict.NOT_SHOWN


def judged(outcome: Outcome) -> tuple[Judged, ...]:
    """Every family."""
    return tuple(_judged(outcome, family) for family in outcome.told)


def reached(verdicts: tuple[Judged, ...]) -> bool:
    """Whether the policy is what was asked for."""
    good = (Verdict.SUPERIOR, Verdict.NON_INFERIOR)
    superior = sum(one.verdict is Verdict.SUPERIOR for one in verdicts)
    return superior >= LEAST_SUPERIOR and all(one.verdict in good for one in verdicts)


def _judged(outcome: Outcome, family: str) -> Judged:
    told, rival = outcome.told[family], outcome.rivals[family]
    ours, theirs = told[OURS].figures, told[rival].figures
    differences = {view: paired(ours[ATTAINMENT + SUFFIX[view]], theirs[ATTAINMENT + SUFFIX[view]]) for view in View}
    first = differences[View.REQUESTS]
    assert first is not None
    attainment = {name: _interval(told[name].figures[ATTAINMENT]) for name in (OURS, rival)}
    beside = [name for name in ours if name not in {ATTAINMENT + SUFFIX[view] for view in View}]
    bounds = outcome.bounds.get(family, ())
    return Judged(
        family=family,
        rival=rival,
        verdict=verdict_of(first),
        attainment={name: its for name, its in attainment.items() if its is not None},
        differences=differences,
        beside={name: (_interval(ours[name]), _interval(theirs[name])) for name in beside},
        ablations={
            ablation.name: paired(told[ablation.name].figures[ATTAINMENT], ours[ATTAINMENT])
            for ablation in ABLATIONS
            if ablation.name in told
        },
        over_bound={
            name: _interval(
                tuple(
                    value / bound
                    for value, bound in zip(told[name].figures[ATTAINMENT], bounds, strict=False)
                    if value is not None and bound
                )
            )
            for name in (OURS, rival)
        },
    )


def _interval(values: tuple[float | None, ...]) -> Interval | None:
    return interval([value for value in values if value is not None])
