"""Figures of `make bench` as Markdown. `added` is the median of the differences to `direct` within each round."""

import statistics
from collections.abc import Mapping, Sequence

from bench.refusals import BUDGET_US, Refusals

Series = Mapping[str, Sequence[float]]
"""By figure: its value in each round."""


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def added(values: Series, direct: Series, figure: str) -> float:
    return median([a - b for a, b in zip(values[figure], direct[figure], strict=True)])


def bodies_table(figures: Mapping[str, Series]) -> str:
    head = "target | p50 ms | added p50 | p99 ms | added p99 | requests/s | CPU us/request | busy p99 ms | errors"
    return _table(head, figures, ("p50_ms", "p99_ms"), ("requests_per_s", "cpu_us_per_request", "busy_p99_ms"))


def events_table(figures: Mapping[str, Series]) -> str:
    head = (
        "target | first event ms | added | delay p50 ms | added p50 | delay p99 ms | added p99 "
        "| events/s | CPU us/event | busy delay p99 ms | errors"
    )
    shown = ("events_per_s", "cpu_us_per_event", "busy_p99_ms")
    return _table(head, figures, ("first_ms", "p50_ms", "p99_ms"), shown)


def memory_table(memory: Mapping[str, int]) -> str:
    lines = ["| target | RSS MiB |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {mib} |" for name, mib in memory.items()])


def refusals_table(rounds: Sequence[Refusals]) -> str:
    lines = [
        "| refusal | CPU us | budget us | refusals/s | p99 ms at saturation | not refused |",
        "|---|---|---|---|---|---|",
    ]
    for reason, budget_us in BUDGET_US.items():
        mine = [each for each in rounds if each.reason == reason]
        lines.append(
            f"| {reason} | {median([each.cpu_us for each in mine]):.0f} | {budget_us} "
            f"| {median([each.per_s for each in mine]):.0f} | {median([each.p99_ms for each in mine]):.1f} "
            f"| {sum(each.served for each in mine)} of {sum(each.requests for each in mine)} |"
        )
    return "\n".join(lines)


def _table(head: str, figures: Mapping[str, Series], times: Sequence[str], shown: Sequence[str]) -> str:
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|"]
    direct = figures["direct"]
    for name, values in figures.items():
        cells = [name]
        for figure in times:
            more = "" if name == "direct" else f"{added(values, direct, figure):+.3f}"
            cells += [f"{median(values[figure]):.3f}", more]
        for figure in shown:
            value = median(values[figure])
            cells.append(f"{value:,.0f}" if value >= 100 else f"{value:.1f}")
        cells.append(f"{sum(values['errors']):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
