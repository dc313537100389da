"""Tables of a comparison and of one simulation, as plain rows of text: whoever shows them draws the lines."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from stoker_sim.compare import Comparison, Result, Run, Setting
from stoker_sim.evaluate.figures import CATALOGUE, SPECS
from stoker_sim.evaluate.quality import SUFFIX
from stoker_sim.evaluate.weighting import View
from stoker_sim.report.wording import NOTHING, difference_in_words, in_words, mean_in_words
from stoker_sim.summary import OVER_BOUND, SUMMARISED, Line

MOST_ROWS = 20
"""Of functions or tenants: those with the most requests."""


class Table(Struct, frozen=True, kw_only=True):
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()
    """Sentences below it."""

    def in_words(self, column: int) -> bool:
        """Whether a column is of names, not of figures."""
        return column == 0 or self.head[column] in ("POLICY", "WHICH IS")


Found = Mapping[tuple[Setting, str, str], Line]

_BY_NAME = {spec.name: spec for spec in SUMMARISED}
_COLUMNS = (
    ("ON TIME", "attainment"),
    ("/ BOUND", OVER_BOUND.name),
    ("WAIT p50", "wait_p50_ms"),
    ("WAIT p99", "wait_p99_ms"),
    ("COLD", "cold_ratio"),
    ("GPU HELD", "held_gpu_s"),
    ("JAIN 10s", "jain_tenants_10s_mean"),
    ("SLOWDOWN p99", "slowdown_p99"),
)


def by_name(lines: Sequence[Line]) -> Found:
    """For looking lines up."""
    return {(line.setting, line.policy, line.figure): line for line in lines}


def comparison_table(comparison: Comparison, lines: Sequence[Line]) -> Table:
    """One row for each setting and policy: what most want to know first."""
    found = by_name(lines)
    first = comparison.policies[0]
    settings = comparison.settings
    several = len(comparison.policies) > 1
    head = ["SETTING"] * (len(settings) > 1) + ["POLICY", "ON TIME", *([f"VS {first}"] if several else [])]
    head += [title for title, _ in _COLUMNS[1:]]
    rows = []
    for setting in settings:
        for policy in comparison.policies:
            on_time = found[setting, policy, "attainment"]
            row = [setting.label] * (len(settings) > 1) + [policy]
            row.append(mean_in_words(_BY_NAME["attainment"], on_time.value))
            if several:
                row.append(difference_in_words(_BY_NAME["attainment"], on_time.against_first))
            for _, name in _COLUMNS[1:]:
                value = found[setting, policy, name].value
                row.append(NOTHING if value is None else in_words(_BY_NAME[name], value.mean))
            rows.append(tuple(row))
    seeds = len(comparison.seeds)
    foot = [f"means over {seeds} seeds; ± is the 95 % interval over them" if seeds > 1 else "one seed: no interval"]
    if several:
        foot.append(f"VS {first}: points on time more than {first}, from the same requests seed by seed")
    foot.append("/ BOUND: on time, of what no schedule of the same requests can exceed")
    return Table(title=comparison.scenario.name, head=tuple(head), rows=tuple(rows), foot=tuple(foot))


def figures_table(comparison: Comparison, setting: Setting, lines: Sequence[Line]) -> Table:
    """All figures of a setting: a row each, a column for each policy and one for its difference to the first."""
    found = by_name(lines)
    first, *others = comparison.policies
    head = ["FIGURE", first, *(title for policy in others for title in (policy, f"VS {first}"))]
    rows = []
    for spec in SUMMARISED:
        row = [spec.name, mean_in_words(spec, found[setting, first, spec.name].value)]
        for policy in others:
            line = found[setting, policy, spec.name]
            row += [mean_in_words(spec, line.value), difference_in_words(spec, line.against_first)]
        if any(cell != NOTHING for cell in row[1:]):
            rows.append(tuple(row))
    return Table(title=setting.label or comparison.scenario.name, head=tuple(head), rows=tuple(rows))


def run_tables(run: Run) -> tuple[Table, ...]:
    """One simulation: its figures in the three views, its tenants, its functions."""
    return (_views(run), _whole(run), _tenants(run), _functions(run))


def bound_table(title: str, found: Sequence[Result]) -> Table:
    """One row for each workload: how many could be on time at best."""
    share = SPECS["attainment"]
    rows = [
        (
            result.job.setting.label or NOTHING,
            str(result.job.seed),
            f"{result.load:.3g}",
            str(bound.offered),
            str(bound.on_time if bound.optimum is None else bound.optimum),
            in_words(share, bound.attainment),
            "upper bound" if bound.optimum is None else "optimum",
        )
        for result in found
        if (bound := result.bound) is not None
    ]
    return Table(
        title=title,
        head=("SETTING", "SEED", "LOAD", "REQUESTS", "ON TIME AT MOST", "SHARE", "WHICH IS"),
        rows=tuple(rows),
        foot=("all requests known beforehand; an upper bound may lie above what any schedule reaches",),
    )


def _views(run: Run) -> Table:
    values = run.measured.values
    names = [spec.name for spec in CATALOGUE if spec.name + SUFFIX[View.FUNCTIONS] in SPECS]
    rows = [
        (name, *(in_words(SPECS[name], values[name + SUFFIX[view]]) for view in View))
        for name in names
        if values[name] is not None
    ]
    return Table(
        title="requests",
        head=("FIGURE", "BY REQUEST", "BY FUNCTION", "WITHOUT TOP 3"),
        rows=tuple(rows),
    )


def _whole(run: Run) -> Table:
    values = run.measured.values
    suffixes = tuple(suffix for suffix in SUFFIX.values() if suffix)
    viewed = {spec.name for spec in CATALOGUE if spec.name + suffixes[0] in SPECS}
    rows = [
        (spec.name, in_words(spec, values[spec.name]))
        for spec in CATALOGUE
        if spec.name not in viewed and not spec.name.endswith(suffixes) and values[spec.name] is not None
    ]
    rows.append(("load", f"{run.load:.4g}"))
    if run.bound is not None:
        rows.append(("bound_on_attainment", in_words(SPECS["attainment"], run.bound.attainment)))
        rows.append((OVER_BOUND.name, in_words(OVER_BOUND, run.over_bound)))
    gap = run.measured.gap
    foot = () if gap is None else (f"service_gap_s is between {gap.tenants[0]} and {gap.tenants[1]}",)
    return Table(title="the whole", head=("FIGURE", "VALUE"), rows=tuple(rows), foot=foot)


def _tenants(run: Run) -> Table:
    rows = sorted(run.measured.tenants, key=lambda row: (-row.offered, row.tenant))
    share, ms, slowdown = SPECS["attainment"], SPECS["wait_p99_ms"], SPECS["slowdown_p99"]
    return Table(
        title="tenants",
        head=("TENANT", "OFFERED", "ON TIME", "REFUSED", "EXPIRED", "FAILED", "WAIT p99", "SLOWDOWN p99", "SERVICE"),
        rows=tuple(
            (
                row.tenant,
                str(row.offered),
                in_words(share, row.attainment),
                str(row.refused),
                str(row.expired),
                str(row.failed),
                in_words(ms, row.wait_p99_ms),
                in_words(slowdown, row.slowdown_p99),
                f"{row.service_s:.3g} s",
            )
            for row in rows[:MOST_ROWS]
        ),
        foot=_rest(len(rows), "tenants"),
    )


def _functions(run: Run) -> Table:
    rows = sorted(run.measured.functions, key=lambda row: (-row.offered, row.function))
    share = SPECS["attainment"]
    words = {True: "yes", False: "no", None: "too few requests"}
    return Table(
        title="functions",
        head=("FUNCTION", "OFFERED", "ON TIME", "COLD", "COMPLIANT"),
        rows=tuple(
            (
                row.function,
                str(row.offered),
                in_words(share, row.attainment),
                in_words(share, row.cold_ratio),
                words[row.compliant],
            )
            for row in rows[:MOST_ROWS]
        ),
        foot=_rest(len(rows), "functions"),
    )


def _rest(count: int, what: str) -> tuple[str, ...]:
    return (f"{count - MOST_ROWS} more {what} with fewer requests",) if count > MOST_ROWS else ()
