"""`own-policy`: the verdict on the queueing policy of our own, from the one test that was run (stoker_sim.study).

The page is made of the test's outcome, which is in the package: opening the test half again for a page would be a
second look at it. Why a family is lost is written here by hand, beside the figures that say so.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stoker_sim.evaluate.intervals import Interval
from stoker_sim.evaluate.weighting import View
from stoker_sim.results.result import Claim, Part, Result, Row, Table, Verdict, composed
from stoker_sim.study import frozen, outcome
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.family import MOST, WARM_UP
from stoker_sim.study.frozen import Frozen
from stoker_sim.study.judgement import LEAST_SUPERIOR, MARGIN, Judged, judged, reached
from stoker_sim.study.judgement import Verdict as Judgement
from stoker_sim.study.outcome import Outcome
from stoker_sim.study.settings import ABLATIONS, BUDGET, OURS
from stoker_sim.study.tuning import FINALISTS, REPLICATIONS

NAME = "own-policy"
_GOOD = (Judgement.SUPERIOR, Judgement.NON_INFERIOR)
_VIEWS = {View.REQUESTS: "by request", View.FUNCTIONS: "by function", View.REST: "without the 3 busiest"}
_BESIDE = {
    "conditional": "conditional attainment, %",
    "cold_ratio": "cold, %",
    "jain_functions_10s_p5": "Jain of functions, 5th percentile",
    "jain_tenants_10s_p5": "Jain of tenants, 5th percentile",
}
LOSSES: Mapping[str, str] = MappingProxyType({})
"""By family: the mechanism by which ours is worse there. Written after the test, for families that are lost."""


def make(*, small: bool = False) -> Result:  # noqa: ARG001  it is as small as it is
    """Raises NoOutcome and NotFrozen where the test was not run."""
    return page(outcome.read(), frozen.read())


def page(told: Outcome, choices: Frozen, losses: Mapping[str, str] = LOSSES) -> Result:
    """Of an outcome and what was frozen before it."""
    verdicts = judged(told)
    return composed(
        (
            Part(claims=(*map(_claim, verdicts), _whole(verdicts)), rows=tuple(map(_row, verdicts))),
            Part(tables=(_differences(verdicts), _figures(verdicts), _ablations(verdicts), _points(told))),
            Part(tables=(_settings(choices),), findings=_findings(verdicts, losses), rows=_means(told)),
        ),
        name=NAME,
        title="A policy of our own against the best published one",
        source="docs/concepts/theory.md; the protocol is that of stoker_sim.study.",
        text=_text(told, choices),
        assumptions=(
            *(f"{family.title}: {family.why} ({_loads(family.name)})" for family in FAMILIES.values()),
            """devices, loads and numbers of functions are ours (stoker_sim.study.families), as is the memory of a
            language model, a quarter of a node; times, other memory and start-ups are those of the package's tables""",
            """policies know the median execution time of each function; models wait in host memory at first, but for
            language models, which start from local storage""",
        ),
    )


def _text(told: Outcome, choices: Frozen) -> tuple[str, ...]:
    count = len(next(iter(next(iter(told.told.values()))[OURS].figures.values())))
    return (
        f"""Every policy had the same budget of at most {BUDGET} settings (its constants, who is evicted, whether late
        requests keep their turn), chosen on even functions, even blocks of time and even seeds: all settings on one
        replication, the best {FINALISTS} on {REPLICATIONS}. A published policy has its best setting in each family,
        ours has one for all. That was frozen in git ({choices.definitions[:12]}); then the odd half was opened, on
        {told.opened}.""",
        f"""A family's attainment in one replication is the mean over its three points of load and objective. {count}
        replications are paired with those of the rival, the published policy that was best on the tuning half, on the
        same requests; intervals are 95 % (Student's t). Non-inferior: the lower limit is above
        {-100 * MARGIN:g} points; superior: above 0. `python -m stoker_sim.study settle`, `freeze` and `test` are the
        commands. A run has up to {MOST:,} requests, the first {100 // WARM_UP} % of its time are in no figure.""",
    )


def _claim(one: Judged) -> Claim:
    ours, theirs = one.attainment[OURS], one.attainment[one.rival]
    difference = _points_of(one.differences[View.REQUESTS])
    return Claim(
        what=f"{FAMILIES[one.family].title}: not worse than {one.rival}",
        published=f"{100 * theirs.mean:.2f} %",
        ours=f"{100 * ours.mean:.2f} %; {difference} points: {one.verdict.value}",
        verdict=Verdict.REACHED if one.verdict in _GOOD else Verdict.NOT_REACHED,
    )


def _whole(verdicts: tuple[Judged, ...]) -> Claim:
    good = sum(one.verdict in _GOOD for one in verdicts)
    superior = sum(one.verdict is Judgement.SUPERIOR for one in verdicts)
    return Claim(
        what=f"non-inferior in all families, superior in at least {LEAST_SUPERIOR}",
        published="",
        ours=f"non-inferior in {good} of {len(verdicts)}, superior in {superior}",
        verdict=Verdict.REACHED if reached(verdicts) else Verdict.NOT_REACHED,
    )


def _differences(verdicts: tuple[Judged, ...]) -> Table:
    return Table(
        title="Ours less its rival, points of attainment",
        head=("family", "rival", *_VIEWS.values(), "attainment / bound, ours", "the rival"),
        rows=tuple(
            (
                one.family,
                one.rival,
                *(_points_of(one.differences[view]) for view in _VIEWS),
                *(_mean(one.over_bound[name], 1, 3) for name in (OURS, one.rival)),
            )
            for one in verdicts
        ),
        foot="Mean and 95 % interval over replications. By function: all requests of a function count as much as those "
        "of any other. The bound is an upper one, on the first replications only.",
    )


def _figures(verdicts: tuple[Judged, ...]) -> Table:
    rows = []
    for one in verdicts:
        cells = []
        for name in _BESIDE:
            scale, digits = (1, 3) if name.startswith("jain") else (100, 2)
            ours, theirs = one.beside.get(name, (None, None))
            cells.append(f"{_mean(ours, scale, digits)} / {_mean(theirs, scale, digits)}")
        rows.append((one.family, *cells))
    return Table(
        title="Beside it: ours / the rival",
        head=("family", *_BESIDE.values()),
        rows=tuple(rows),
        foot="Conditional: on time over what was dispatched while it could still be on time. Jain's index is of "
        "service over max-min share in windows of 10 s.",
    )


def _ablations(verdicts: tuple[Judged, ...]) -> Table:
    told = [ablation for ablation in ABLATIONS if any(ablation.name in one.ablations for one in verdicts)]
    return Table(
        title="Without each of its parts, points of attainment",
        head=("family", *(ablation.what for ablation in told)),
        rows=tuple(
            (one.family, *(_points_of(one.ablations.get(ablation.name)) for ablation in told)) for one in verdicts
        ),
        foot="What is changed by leaving the part out, on the same replications: below 0 the part helps.",
    )


def _points(told: Outcome) -> Table:
    rows = []
    for family, policies in told.told.items():
        rival = told.rivals[family]
        for at, point in enumerate(FAMILIES[family].points):
            cells = (policies[name].points[at] for name in (OURS, rival))
            rows.append((family, point.label, rival, *("-" if cell is None else f"{100 * cell:.2f}" for cell in cells)))
    return Table(
        title="Attainment at each point, %", head=("family", "point", "rival", "ours", "the rival"), rows=tuple(rows)
    )


def _settings(choices: Frozen) -> Table:
    rows = [("all", OURS, choices.ours.label, "")]
    for family, theirs in choices.published.items():
        means = choices.tuned[family]
        ranked = sorted(theirs, key=lambda name: -means[name])
        rows += [(family, name, theirs[name].label, f"{100 * means[name]:.2f}") for name in ranked[:3]]
        rows.append((family, OURS, "as in all", f"{100 * means[OURS]:.2f}"))
    return Table(
        title="What was frozen: the best three of each family, and ours",
        head=("family", "policy", "setting", "attainment on the tuning half, %"),
        rows=tuple(rows),
    )


def _findings(verdicts: tuple[Judged, ...], losses: Mapping[str, str]) -> tuple[str, ...]:
    lost = [one.family for one in verdicts if one.verdict not in _GOOD]
    return tuple(
        f"{FAMILIES[family].title}: {losses.get(family, 'why it is lost is not known yet')}" for family in lost
    )


def _row(one: Judged) -> Row:
    difference = one.differences[View.REQUESTS]
    assert difference is not None
    return {
        "family": one.family,
        "rival": one.rival,
        "verdict": one.verdict.value,
        "ours": one.attainment[OURS].mean,
        "theirs": one.attainment[one.rival].mean,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
    }


def _means(told: Outcome) -> tuple[Row, ...]:
    """Of everybody; each replication is in the outcome's own file."""
    return tuple(
        {"family": family, "policy": policy, **{name: _mean_of(values) for name, values in one.figures.items()}}
        for family, policies in told.told.items()
        for policy, one in policies.items()
    )


def _mean_of(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None


def _loads(family: str) -> str:
    return "; ".join(point.label for point in FAMILIES[family].points)


def _points_of(its: Interval | None) -> str:
    """As in `+1.20 [0.80, 1.60]`."""
    if its is None:
        return "-"
    if its.low is None or its.high is None:
        return f"{100 * its.mean:+.2f}"
    return f"{100 * its.mean:+.2f} [{100 * its.low:.2f}, {100 * its.high:.2f}]"


def _mean(its: Interval | None, scale: float, digits: int) -> str:
    return "-" if its is None else f"{scale * its.mean:.{digits}f}"
