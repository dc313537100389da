"""Tables, charts and rows of stoker_sim.results.calibration."""

from collections.abc import Callable, Mapping, Sequence

from stoker_sim.results.calibration_study import MARGINS, PERCENTILES, PHASES, SEEDS, TRACKING, S, Shift, Told
from stoker_sim.results.result import Cell, Chart, Series, Table, figure, spread

_POINTS = 36
"""Of a line of a chart."""

Runs = Mapping[tuple[str, float, int], Told]
"""By margins, percentile and seed."""


def alpha_of(percentile: float) -> float:
    return 1 - percentile / 100


def off_by(told: Told, percentile: float, phase: int | None = None) -> float:
    """How far the share of misses is from alpha; more than 0: too many."""
    return (told.whole if phase is None else told.phases[phase]).share - alpha_of(percentile)


def of_margins(runs: Runs, margins: str) -> list[tuple[float, int, Told]]:
    return [(percentile, seed, told) for (name, percentile, seed), told in runs.items() if name == margins]


def in_points(shares: Sequence[float]) -> str:
    return spread([100 * share for share in shares], 2)


def _percent(share: float) -> str:
    return f"{figure(100 * share)} %"


def _marked(told: Told, percentile: float) -> str:
    share = _percent(told.whole.share)
    return share if abs(off_by(told, percentile)) <= told.bound() else f"**{share}**"


def whole(runs: Runs) -> Table:
    return Table(
        title="Share of misses over the whole run",
        head=("percentile", "seed", "allowed", "bound, points", *MARGINS),
        rows=tuple(
            (
                f"{percentile:g}",
                str(seed),
                _percent(alpha_of(percentile)),
                in_points([told.bound()]),
                *(_marked(runs[margins, percentile, seed], percentile) for margins in MARGINS),
            )
            for percentile, seed, told in of_margins(runs, TRACKING)
        ),
        foot=f"""The bound is that of {TRACKING}; a window is held against that of its own scores, which are about as
        many. Bold: outside.""",
    )


def phases(runs: Runs) -> Table:
    rows = []
    for percentile in PERCENTILES:
        for phase, name in enumerate(PHASES):
            bounds = [told.bound(phase) for p, _, told in of_margins(runs, TRACKING) if p == percentile]
            cells = [
                in_points([told.phases[phase].share for p, _, told in of_margins(runs, margins) if p == percentile])
                for margins in MARGINS
            ]
            rows.append((f"{percentile:g}", name, in_points(bounds), *(f"{cell} %" for cell in cells)))
    return Table(
        title="Share of misses by phase",
        head=("percentile", "phase", "bound, points", *MARGINS),
        rows=tuple(rows),
        foot="Over the seeds. A request counts in the phase in which it came back.",
    )


def ways_to_count(runs: Runs) -> Table:
    ways: Mapping[str, Callable[[Told], float]] = {
        "missed at its return": lambda told: told.whole.share,
        "missed by the margin of its admission": lambda told: told.at_admission / max(1, told.whole.scores),
        "late though promised": lambda told: told.late / max(1, told.promised),
        "on time, of all that came": lambda told: told.on_time / max(1, told.offered),
    }
    return Table(
        title="Four things to count",
        head=("percentile", "margins", *ways),
        rows=tuple(
            (
                f"{percentile:g}",
                margins,
                *(
                    f"{in_points([way(told) for p, _, told in of_margins(runs, margins) if p == percentile])} %"
                    for way in ways.values()
                ),
            )
            for percentile in PERCENTILES
            for margins in MARGINS
        ),
        foot="""Over the seeds, the whole run. The first is what the theorem is about, the third what a user was
        promised.""",
    )


def charts(runs: Runs, percentile: float, shift: Shift) -> tuple[Chart, Chart]:
    seed = SEEDS[0]
    told = {margins: runs[margins, percentile, seed] for margins in MARGINS}
    step = max(1, shift.horizon_us // S // _POINTS)
    seconds = [moment.second for moment in told[TRACKING].moments[step - 1 :: step]]
    alpha = 100 * alpha_of(percentile)
    reach = [100 * told[TRACKING].bound_at(second) for second in seconds]
    x = tuple(map(float, seconds))
    return (
        Chart(
            name=f"margin-{percentile:g}",
            title=f"Time allowed for a predicted second, {percentile:g}",
            caption=f"""1 and the margin, seed {seed}. Executions take twice as long from {shift.phase_us // S} s on;
            another function runs beside this one from {2 * shift.phase_us // S} s on.""",
            x_label="time, s",
            y_label="seconds",
            series=tuple(
                Series(label=margins, x=x, y=tuple(1 + one.moments[second - 1].margin for second in seconds))
                for margins, one in told.items()
            ),
        ),
        Chart(
            name=f"misses-{percentile:g}",
            title=f"Share of misses so far, {percentile:g}",
            caption=f"""Of all scores since the start, seed {seed}. Grey: as many as are allowed, and as the bound lets
            be missed at most and at least, by the largest score of the whole run.""",
            x_label="time, s",
            y_label="misses, %",
            series=(
                *(
                    Series(label=margins, x=x, y=tuple(100 * one.moments[s - 1].so_far.share for s in seconds))
                    for margins, one in told.items()
                ),
                Series(label="allowed", x=x, y=(alpha,) * len(x), published=True),
                Series(label="at most", x=x, y=tuple(alpha + bound for bound in reach), published=True),
                Series(label="at least", x=x, y=tuple(max(0.0, alpha - bound) for bound in reach), published=True),
            ),
        ),
    )


def row_of(margins: str, percentile: float, seed: int, told: Told) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "margins": margins,
        "percentile": percentile,
        "seed": seed,
        "scores": told.whole.scores,
        "misses": told.whole.misses,
        "share": told.whole.share,
        "bound": told.bound(),
        "largest": told.largest,
    }
    for phase, count in enumerate(told.phases):
        row |= {f"scores_{phase}": count.scores, f"share_{phase}": count.share, f"bound_{phase}": told.bound(phase)}
    return row | {
        "missed_at_admission": told.at_admission,
        "under_way": told.under_way,
        "promised": told.promised,
        "late": told.late,
        "offered": told.offered,
        "on_time": told.on_time,
    }
