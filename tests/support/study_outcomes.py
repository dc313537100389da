"""Outcomes of a study that nobody ran: ours better than its rival by a constant and a trifle, on a few replications."""

from collections.abc import Sequence

from stoker_sim.scenario import PolicyChoice
from stoker_sim.study.frozen import Frozen
from stoker_sim.study.halves import Half
from stoker_sim.study.outcome import Outcome, outcome_of
from stoker_sim.study.runs import BOUND, Row
from stoker_sim.study.settings import ABLATIONS, OURS

RIVAL = 0.7
BOUND_OF_ALL = 0.9
_THEIRS = {"sjf": PolicyChoice(queueing="sjf"), "edf": PolicyChoice(queueing="edf", serve_late=False)}
_FIGURES = ("attainment", "attainment_by_function", "attainment_rest", "cold_ratio", "jain_functions_10s_p5")


def rows_of(ours: float, family: str) -> list[Row]:
    """Without a part ours is 0.1 worse."""
    values = {OURS: ours, "sjf": RIVAL, ABLATIONS[0].name: ours - 0.1, BOUND: BOUND_OF_ALL}
    return [
        Row(
            family=family,
            replication=replication,
            point=point,
            policy=policy,
            values=dict.fromkeys(
                _FIGURES, value + 0.01 * replication + (0.001 * (replication % 2) if policy == OURS else 0)
            ),
        )
        for replication in range(6)
        for point in range(3)
        for policy, value in values.items()
        if policy != BOUND or replication < 2
    ]


def a_outcome(ours: float = 0.75, families: Sequence[str] = ("zipf",)) -> Outcome:
    return outcome_of(
        [row for family in families for row in rows_of(ours, family)],
        half=Half.TUNING,
        definitions="0123456789abcdef",
        opened="2026-12-01",
        rivals=dict.fromkeys(families, "sjf"),
    )


def a_frozen(families: Sequence[str] = ("zipf",)) -> Frozen:
    return Frozen(
        definitions="0123456789abcdef",
        behaviour="as it is",
        ours=PolicyChoice(queueing=OURS),
        published={family: dict(_THEIRS) for family in families},
        rivals=dict.fromkeys(families, "sjf"),
        tuned={family: {"sjf": 0.7, "edf": 0.6, OURS: 0.8} for family in families},
    )
