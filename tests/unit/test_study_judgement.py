from pathlib import Path

import pytest
from study_outcomes import a_outcome

from stoker_sim.evaluate.intervals import Interval
from stoker_sim.evaluate.weighting import View
from stoker_sim.study.judgement import Judged, Verdict, judged, reached, verdict_of
from stoker_sim.study.outcome import NoOutcome, read, write
from stoker_sim.study.settings import ABLATIONS, OURS
from stoker_sim.study.tables import verdicts

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.01, Verdict.SUPERIOR),
        (-0.004, 0.02, Verdict.NON_INFERIOR),
        (0.0, 0.02, Verdict.NON_INFERIOR),
        (-0.005, 0.02, Verdict.NOT_SHOWN),
        (-0.02, -0.004, Verdict.NOT_SHOWN),
        (-0.02, -0.006, Verdict.INFERIOR),
    ],
)
def test_the_verdict_follows_the_limits(low: float, high: float, verdict: Verdict) -> None:
    assert verdict_of(Interval(mean=(low + high) / 2, count=20, low=low, high=high)) is verdict


def test_replications_are_paired_so_that_what_they_have_in_common_is_no_uncertainty() -> None:
    (one,) = judged(a_outcome())
    difference = one.differences[View.REQUESTS]
    assert difference is not None
    assert difference.mean == pytest.approx(0.0505)
    assert difference.low is not None
    assert difference.low > 0.0495
    assert (one.verdict, one.rival) == (Verdict.SUPERIOR, "sjf")


def test_an_ablation_is_what_ours_loses_without_the_part() -> None:
    (one,) = judged(a_outcome())
    assert list(one.ablations) == [ABLATIONS[0].name]
    lost = one.ablations[ABLATIONS[0].name]
    assert lost is not None
    assert lost.mean == pytest.approx(-0.1005)


def test_the_bound_is_compared_on_the_replications_that_have_one() -> None:
    (one,) = judged(a_outcome())
    over = one.over_bound[OURS]
    assert over is not None
    assert over.count == 2
    assert over.mean == pytest.approx((0.75 / 0.9 + 0.761 / 0.91) / 2, abs=1e-5)


def test_the_policy_is_what_was_asked_for_when_it_is_nowhere_worse_and_superior_twice() -> None:
    def of(*found: Verdict) -> tuple[Judged, ...]:
        (one,) = judged(a_outcome())
        return tuple(
            Judged(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "verdict": verdict})
            for verdict in found
        )

    assert reached(of(Verdict.SUPERIOR, Verdict.SUPERIOR, Verdict.NON_INFERIOR))
    assert not reached(of(Verdict.SUPERIOR, Verdict.NON_INFERIOR))
    assert not reached(of(Verdict.SUPERIOR, Verdict.SUPERIOR, Verdict.NOT_SHOWN))


def test_the_outcome_file_is_read_as_it_was_written_and_its_bytes_are_the_same_again(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.json", "two.json")]
    for path in paths:
        write(a_outcome(), path)
    assert read(paths[0]) == a_outcome()
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(NoOutcome, match=r"run `python -m stoker_sim\.study test` first"):
        read(tmp_path / "none.json")


def test_the_table_has_a_line_for_each_family_with_limits_and_verdict() -> None:
    head, line = verdicts(judged(a_outcome(0.6))).splitlines()
    assert head.split()[0] == "family"
    assert line.split()[0] == "zipf"
    assert line.endswith("inferior")
    assert "-9.95 [" in line
