"""`calibration`: how many finish times are beyond their margin while executions change, against the bound of the
adaptive method, which assumes nothing of them (docs/concepts/theory.md, Theorem 11), and beside it two plain windows.
"""

from collections.abc import Sequence

from stoker.calibration import POOL_BELOW
from stoker.prediction import WINDOW
from stoker_sim.results.calibration_study import (
    MARGINS,
    PERCENTILES,
    PHASES,
    SEEDS,
    TRACKING,
    WINDOWS,
    S,
    Shift,
    Told,
    description,
    play,
)
from stoker_sim.results.calibration_tables import (
    Runs,
    alpha_of,
    charts,
    in_points,
    of_margins,
    off_by,
    phases,
    row_of,
    ways_to_count,
    whole,
)
from stoker_sim.results.result import Claim, Part, Result, Verdict, composed, figure, spread

NAME = "calibration"
_PHASE_US = {True: 12 * S, False: 120 * S}
_SMALL_SEEDS = 1


def make(*, small: bool = False) -> Result:
    """`small`: a tenth of the time and one seed, for tests; too little for a window to leave the bound."""
    shift = Shift(phase_us=_PHASE_US[small])
    seeds = SEEDS[:_SMALL_SEEDS] if small else SEEDS
    runs = {
        (margins, percentile, seed): play(margins, percentile, seed, shift)
        for margins in MARGINS
        for percentile in PERCENTILES
        for seed in seeds
    }
    return composed(
        (
            Part(claims=(_kept(runs), _kept_by_phase(runs))),
            Part(claims=tuple(_left(runs, margins, p) for margins in WINDOWS for p in PERCENTILES)),
            Part(claims=(_promised(runs), _at_admission(runs))),
            Part(tables=(whole(runs), phases(runs), ways_to_count(runs)), findings=_findings(runs)),
            Part(charts=tuple(chart for percentile in PERCENTILES for chart in charts(runs, percentile, shift))),
            Part(rows=tuple(row_of(*key, told) for key, told in runs.items())),
        ),
        name=NAME,
        title="Margins of finish times while executions change: the share of misses against its bound",
        source="""A. N. Angelopoulos, E. J. Candes, R. J. Tibshirani, "Conformal PID control for time series prediction"
        (NeurIPS 2023), section 2.1;
        [Theorem 11](../concepts/theory.md#theorem-11-the-share-of-misses-whatever-happens).""",
        text=(
            """The rule of the agent admits a request if its predicted finish time and a margin end before its
            objective. When it comes back, its *score* is (actual - predicted) / predicted finish time, the prediction
            being that of its admission with the work that in fact ran before it. It *misses* if its score is above the
            margin of that moment. An objective of percentile p allows alpha = 1 - p/100 of misses.""",
            f"""Theorem 11: among n scores that follow on one another the share of misses differs from alpha by at most
            (max(S, 0.25) + 1.1) / (0.05 n), S being the largest score of the run; among the first of a function by
            {POOL_BELOW}/n more. That is the bound below, of each run by its own n and S. The targets were set before
            the runs: the live margins keep it, a percentile of a plain window does not.""",
            """A miss is not a late answer. Most requests are admitted with time to spare, so a finish time beyond the
            margin may still be within the objective. Late promises are counted apart: promised requests that ended
            after their objective, or were dropped because they would have.""",
        ),
        assumptions=(
            description(shift),
            f"""seeds {", ".join(map(str, seeds))}; all constants are ours; phases are so long that the bound is about
            half a point""",
        ),
    )


def _within(
    runs: Sequence[tuple[float, int, Told]], phases: Sequence[int | None] = (None,)
) -> list[tuple[bool, float, float]]:
    """Of each run and phase: whether it is within its bound, how far it is off, and the bound."""
    found = [(off_by(told, percentile, phase), told.bound(phase)) for percentile, _, told in runs for phase in phases]
    return [(abs(off) <= bound, abs(off), bound) for off, bound in found]


def _reached(kept: bool) -> Verdict:
    return Verdict.REACHED if kept else Verdict.NOT_REACHED


def _told(found: Sequence[tuple[bool, float, float]]) -> str:
    return f"""within it in {sum(kept for kept, _, _ in found)} of {len(found)}: off by
    {in_points([off for _, off, _ in found])} points, bound {in_points([bound for _, _, bound in found])}"""


def _kept(runs: Runs) -> Claim:
    found = _within(of_margins(runs, TRACKING))
    return Claim(
        what=f"{TRACKING} (the live margins): in each run the share of misses is within the bound of alpha",
        published="Theorem 11",
        ours=_told(found),
        verdict=_reached(all(kept for kept, _, _ in found)),
    )


def _kept_by_phase(runs: Runs) -> Claim:
    found = _within(of_margins(runs, TRACKING), range(len(PHASES)))
    return Claim(
        what="the same in each phase of each run, by the scores of that phase",
        published="Theorem 11",
        ours=_told(found),
        verdict=_reached(all(kept for kept, _, _ in found)),
    )


def _left(runs: Runs, margins: str, percentile: float) -> Claim:
    mine = [run for run in of_margins(runs, margins) if run[0] == percentile]
    found = _within(mine)
    shares = in_points([told.whole.share for _, _, told in mine])
    return Claim(
        what=f"a plain {margins} scores leaves that bound in each run at {percentile:g}",
        published="our target",
        ours=f"{shares} % of misses where {figure(100 * alpha_of(percentile))} % are allowed; {_told(found)}",
        verdict=_reached(not any(kept for kept, _, _ in found)),
    )


def _promised(runs: Runs) -> Claim:
    late = [(told.late / max(1, told.promised), percentile) for percentile, _, told in of_margins(runs, TRACKING)]
    parts = [
        f"{in_points([share for share, p in late if p == percentile])} % at {percentile:g}"
        for percentile in PERCENTILES
    ]
    return Claim(
        what=f"{TRACKING}: no larger share of the promised requests is late than the percentile allows",
        published="our target",
        ours=", ".join(parts),
        verdict=_reached(all(share <= alpha_of(percentile) for share, percentile in late)),
    )


def _at_admission(runs: Runs) -> Claim:
    found = []
    for percentile, _, told in of_margins(runs, TRACKING):
        off = abs(told.at_admission / max(1, told.whole.scores) - alpha_of(percentile))
        found.append((off <= told.bound(), off, told.bound()))
    return Claim(
        what=f"{TRACKING}: also misses of the margin at the admission, counted afterwards, are within the bound",
        published="our target; no theorem",
        ours=_told(found),
        verdict=_reached(all(kept for kept, _, _ in found)),
    )


def _findings(runs: Runs) -> tuple[str, ...]:
    waits = [told.under_way for _, _, told in of_margins(runs, TRACKING)]
    outside = [
        f"the {margins} is outside in {sum(not kept for kept, _, _ in found)} of {len(found)}"
        for margins in WINDOWS
        for found in (_within(of_margins(runs, margins), range(len(PHASES))),)
    ]
    gains = {
        margins: [
            told.on_time / max(1, runs[TRACKING, percentile, seed].on_time)
            for percentile, seed, told in of_margins(runs, margins)
        ]
        for margins in WINDOWS
    }
    return (
        f"""Phase by phase: {"; ".join(outside)}. A percentile of {WINDOW} scores is too low to begin with: at 99 it is
        the largest of them, and the next one is above that once in {WINDOW + 1}. A longer window has less of this and
        forgets more slowly. What these changes leave to it is small, since scores are relative, and predictions have
        learnt within {WINDOW} runs that executions take twice as long; but nothing bounds its misses.""",
        f"""Between admission and return the margin moves on; at most {spread(waits)} requests were under way at a
        time. Where one of them misses, its neighbours in the queue are likely to miss as well, and all of them were
        admitted under about the same margin. So of the margin at the admission more are missed, and no theorem bounds
        their share but by how often the margin rises past such a group; a long window, whose margin hardly moves, has
        fewer of these. To score by the margin of the admission would not mend that: it would be raised once for each of
        the group ([theory](../concepts/theory.md#theorem-11-the-share-of-misses-whatever-happens), Delay).""",
        f"""Requests on time over those of {TRACKING}:
        {"; ".join(f"{margins} {spread(ratios)}" for margins, ratios in gains.items())}.""",
    )
