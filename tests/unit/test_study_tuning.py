from collections.abc import Sequence

import pytest

from stoker_sim.scenario import PolicyChoice
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.halves import Half
from stoker_sim.study.runs import Job, Row
from stoker_sim.study.scores import Scores
from stoker_sim.study.tuning import FINALISTS, REPLICATIONS, chosen, chosen_jointly, tuned, tuned_jointly

pytestmark = pytest.mark.unit

SETTINGS = tuple(PolicyChoice(name=f"s{number}", queueing="mqfq") for number in range(6))
POINTS = len(FAMILIES["azure"].points)


class Plays:
    """Attainment of a setting by family, or a lucky one in the first replication."""

    def __init__(self, worth: dict[str, dict[str, float]], lucky: str = "") -> None:
        self.worth = worth
        self.lucky = lucky
        self.jobs: list[Job] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Row]:
        self.jobs += jobs
        return [
            Row(
                family=job.family,
                replication=job.replication,
                point=job.point,
                policy=choice.label,
                values={
                    "attainment": 1.0
                    if choice.label == self.lucky and job.replication == 0
                    else self.worth[job.family].get(choice.label, 0.1)
                },
            )
            for job in jobs
            for choice in job.choices
        ]


def test_a_setting_that_was_lucky_in_the_first_round_is_found_out_in_the_second() -> None:
    plays = Plays({"azure": {"s2": 0.8, "s4": 0.7}}, lucky="s5")
    part = tuned("azure", "mqfq", SETTINGS, plays)
    label, attainment = chosen(part)
    assert label == "s2"
    assert attainment == pytest.approx(0.8)
    finalists = [
        label for label in Scores(part.rows).policies if len(Scores(part.rows).replications("azure", label)) > 1
    ]
    assert finalists == ["s2", "s5"]


def test_tuning_runs_each_setting_once_and_each_finalist_on_every_replication_of_the_tuning_half() -> None:
    plays = Plays({"azure": {}})
    part = tuned("azure", "mqfq", SETTINGS, plays)
    assert {job.half for job in plays.jobs} == {Half.TUNING}
    assert len(part.rows) == POINTS * (len(SETTINGS) + FINALISTS * (REPLICATIONS - 1))


def test_of_equal_settings_the_one_nearer_to_the_published_one_is_chosen() -> None:
    assert chosen(tuned("azure", "mqfq", SETTINGS, Plays({"azure": {}})))[0] == "s0"


def test_a_joint_setting_is_the_best_over_all_families_and_not_in_one() -> None:
    plays = Plays({"azure": {"s1": 0.9, "s3": 0.6}, "zipf": {"s1": 0.2, "s3": 0.7}})
    parts = tuned_jointly(("azure", "zipf"), "ours", SETTINGS, plays)
    label, means = chosen_jointly(parts)
    assert label == "s3"
    assert means == pytest.approx({"azure": 0.6, "zipf": 0.7})
    assert [part.family for part in parts] == ["azure", "zipf"]


def test_a_family_counts_each_of_its_points_alike_and_a_missing_value_is_no_zero() -> None:
    rows = [
        Row(family="azure", replication=replication, point=point, policy="p", values={"attainment": value})
        for replication, point, value in ((0, 0, 0.2), (0, 1, 0.6), (1, 0, 0.4), (1, 1, None))
    ]
    scores = Scores(rows)
    first, second = scores.replications("azure", "p")
    assert first == pytest.approx(0.4)
    assert second is None
    assert scores.mean("azure", "p") == pytest.approx(0.4)
