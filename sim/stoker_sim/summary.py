"""Every figure of a comparison over its seeds: its mean with an interval, and the difference to the first policy's."""

from msgspec import Struct

from stoker_sim.compare import Comparison, Run, Setting
from stoker_sim.evaluate.figures import CATALOGUE, Better, FigureSpec
from stoker_sim.evaluate.intervals import Interval, interval, paired

OVER_BOUND = FigureSpec("attainment_over_bound", "share", Better.HIGHER, "attainment over what the bound lets be")
SUMMARISED: tuple[FigureSpec, ...] = (*CATALOGUE, OVER_BOUND)


class Line(Struct, frozen=True, kw_only=True):
    """One figure of one policy in one setting."""

    setting: Setting
    policy: str
    figure: str
    value: Interval | None
    """Over seeds; None where no seed has a value."""
    against_first: Interval | None
    """This policy's less the first one's, seed by seed; None of the first policy itself."""


def lines_of(comparison: Comparison) -> tuple[Line, ...]:
    """By setting, policy and figure, in their orders."""
    lines = []
    for setting in comparison.settings:
        base = comparison.of(setting, comparison.policies[0])
        for policy in comparison.policies:
            runs = comparison.of(setting, policy)
            for spec in SUMMARISED:
                values = [value_of(run, spec.name) for run in runs]
                against = None
                if policy != comparison.policies[0]:
                    against = paired(values, [value_of(run, spec.name) for run in base])
                lines.append(
                    Line(
                        setting=setting,
                        policy=policy,
                        figure=spec.name,
                        value=interval([value for value in values if value is not None]),
                        against_first=against,
                    )
                )
    return tuple(lines)


def value_of(run: Run, figure: str) -> float | None:
    """One of SUMMARISED."""
    return run.over_bound if figure == OVER_BOUND.name else run.measured.values[figure]
