"""The page on margins in a small form: the live ones keep the theorem's bound, others do not, verdicts from the run."""

import pytest

from stoker.calibration import FIRST, ONE
from stoker_sim.results import calibration
from stoker_sim.results.calibration_study import (
    MARGINS,
    PERCENTILES,
    PHASES,
    TRACKING,
    S,
    Shift,
    Told,
    Watched,
    WindowMargins,
    play,
)
from stoker_sim.results.pages import as_csv, as_json, as_markdown
from stoker_sim.results.result import Result, Verdict

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

SHIFT = Shift(phase_us=12 * S)
Runs = dict[tuple[str, float, int], Told]


class NoMargin(Watched):
    """A prediction is all that is allowed."""

    def margin_ppm(self, key: str, percentile: float) -> int:
        return 0


@pytest.fixture(scope="module")
def runs() -> Runs:
    return {
        (margins, percentile, 1): play(margins, percentile, 1, SHIFT)
        for margins in MARGINS
        for percentile in PERCENTILES
    }


def page_of(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(calibration, "play", lambda margins, percentile, seed, _: runs[margins, percentile, seed])
    return calibration.make(small=True)


def verdicts(page: Result) -> dict[str, Verdict]:
    return {claim.what: claim.verdict for claim in page.claims}


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_live_margins_keep_the_bound_over_the_run_and_in_each_phase_while_executions_change(
    runs: Runs, percentile: float
) -> None:
    told, alpha = runs[TRACKING, percentile, 1], 1 - percentile / 100
    assert abs(told.whole.share - alpha) <= told.bound()
    for phase, count in enumerate(told.phases):
        assert count.scores > 0
        assert abs(count.share - alpha) <= told.bound(phase), PHASES[phase]
    assert told.late / told.promised <= alpha


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_all_that_came_back_was_scored_in_one_phase_and_the_moments_count_up_to_it(
    runs: Runs, percentile: float
) -> None:
    told = runs[TRACKING, percentile, 1]
    assert sum(count.scores for count in told.phases) == told.whole.scores
    assert sum(count.misses for count in told.phases) == told.whole.misses
    scores = [moment.so_far.scores for moment in told.moments]
    assert scores == sorted(scores)
    assert scores[-1] <= told.whole.scores <= told.offered


def test_the_executions_do_change(runs: Runs) -> None:
    """Else the bound would be kept by whom you like: half as many are served when each takes twice as long."""
    first, doubled, beside = (count.scores for count in runs[TRACKING, 99.0, 1].phases)
    assert first > 1.3 * doubled > 1.3 * beside


def test_who_adds_no_margin_leaves_the_bound_and_the_page_says_so(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [claim for claim, verdict in verdicts(page_of(runs, monkeypatch)).items() if verdict is Verdict.REACHED]
    assert any(what.startswith(TRACKING) for what in kept)
    monkeypatch.setattr("stoker_sim.results.calibration_study.MARGINS", {TRACKING: NoMargin})
    wrong = play(TRACKING, 99.0, 1, SHIFT)
    assert abs(wrong.whole.share - 0.01) > wrong.bound()
    worse = page_of({**runs, (TRACKING, 99.0, 1): wrong}, monkeypatch)
    lost = [what for what, verdict in verdicts(worse).items() if what in kept and verdict is Verdict.NOT_REACHED]
    assert any("within the bound of alpha" in what for what in lost)
    assert any("in each phase" in what for what in lost)


def test_a_window_allows_that_percentile_of_its_last_scores() -> None:
    window = WindowMargins(10)
    assert window.margin_ppm("a/f", 90.0) == FIRST
    for actual_us in (5_000, *range(1_100, 2_100, 100)):
        window.observe_finish("a/f", 90.0, 1_000, actual_us)
    assert window.margin_ppm("a/f", 90.0) == 9 * ONE // 10, "the ninth of ten; the first one has left"
    assert window.margin_ppm("a/f", 99.0) == ONE
    assert window.margin_ppm("a/g", 99.0) == FIRST


def test_the_same_run_and_the_same_page_made_twice_are_the_same_bytes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert play(TRACKING, 90.0, 1, SHIFT) == runs[TRACKING, 90.0, 1]
    first, again = (page_of(runs, monkeypatch) for _ in range(2))
    assert (as_json(first), as_csv(first.rows), as_markdown(first)) == (
        as_json(again),
        as_csv(again.rows),
        as_markdown(again),
    )
    assert len(first.charts) == 2 * len(PERCENTILES)
