"""What the bench of device choices found: live beside simulated, by misses and by cost. Pure."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from bench.cluster.machine import machine
from bench.overload.devices_world import CPU_REPLICAS, GPUS, MIX
from bench.overload.figures import OfRun
from bench.overload.report import Criterion, Report, cell, prose, table
from stoker_sim.results.heterogeneous import Cells, cost, missed, per_thousand
from stoker_sim.results.heterogeneous_study import CHOICES, OURS, WARM_UP_US
from stoker_sim.results.result import Table

RIVALS = ("gpu-only", "cpu-only", "speed-up")
CLOSE = 1.0
"""Points of what is missed: choices that are no further apart have no rank to speak of."""


class Point(Struct, frozen=True, kw_only=True):
    """One choice at one load, live, on the requests of one seed."""

    choice: str
    load: float
    seed: int
    run: OfRun
    cost: float
    """Charged to functions in the run with its warm-up, thousandths of the currency."""
    served: int
    """On time in the run with its warm-up."""
    lag_p99_ms: float
    valid: bool

    @property
    def missed(self) -> float:
        return 100 * (1 - self.run.attainment)

    @property
    def per_thousand(self) -> float:
        """What a thousand on time cost."""
        return 1000 * self.cost / self.served if self.served else math.inf


class Live(Struct, frozen=True):
    """All runs."""

    points: tuple[Point, ...]

    def of(self, choice: str, load: float) -> list[Point]:
        return [point for point in self.points if (point.choice, point.load) == (choice, load)]

    def missed(self, choice: str, load: float) -> float:
        """Mean over seeds; so are the others."""
        return float(np.mean([point.missed for point in self.of(choice, load)]))

    def cost(self, choice: str, load: float) -> float:
        return float(np.mean([point.cost for point in self.of(choice, load)]))

    def per_thousand(self, choice: str, load: float) -> float:
        return float(np.mean([point.per_thousand for point in self.of(choice, load)]))


def ranked(figures: dict[str, float]) -> tuple[str, ...]:
    """Choices from the least on."""
    return tuple(sorted(figures, key=lambda choice: (figures[choice], choice)))


def disagreements(one: dict[str, float], other: dict[str, float], close: float = CLOSE) -> list[str]:
    """Pairs that the two rank otherwise, both by more than `close`."""
    names = sorted(one)
    return [
        f"{first} and {second}"
        for at, first in enumerate(names)
        for second in names[at + 1 :]
        if (one[first] - one[second]) * (other[first] - other[second]) < 0
        and min(abs(one[first] - one[second]), abs(other[first] - other[second])) > close
    ]


def report_of(live: Live, cells: Cells, seconds: float, command: str) -> Report:
    return Report(
        name="devices",
        title="Device choice",
        command=command,
        machine=machine(),
        text=(
            prose(
                f"The mix `{MIX.name}` of [the study](heterogeneous.md), one that `{OURS}` was changed on",
                f"({MIX.what}), on one GPU each of",
                f"{' and '.join(GPUS.values())} and {CPU_REPLICAS} CPU replicas, as there;",
                f"`onPredictedMiss: [Divert, Refuse]`. One `stoker serve` from cold for each run: {seconds:g} s after",
                f"{WARM_UP_US / 1e6:g} s that do not count. Simulated: the same requests, each with the same work;",
                f"means over {len(cells.seeds)} seeds.",
            ),
        ),
        criteria=tuple(
            criterion
            for load in cells.loads
            for criterion in (
                *(made(live, rival, load) for rival in RIVALS for made in (_fewer, _cheaper)),
                _same(live, cells, load),
            )
        ),
        tables=(_table(live, cells),),
        notes=_notes(live.points),
        figures={
            "points": msgspec.to_builtins(list(live.points)),
            "simulated_missed": {
                f"{load:g}": {choice: cells.mean(missed, MIX.name, choice, load) for choice in CHOICES}
                for load in cells.loads
            },
        },
    )


def _fewer(live: Live, rival: str, load: float) -> Criterion:
    ours, theirs = live.missed(OURS, load), live.missed(rival, load)
    return Criterion(
        what=f"`{OURS}` misses fewer objectives than `{rival}`, load {load:g}, %",
        target=f"less than {theirs:.1f}",
        measured=f"{ours:.1f}",
        met=ours < theirs,
    )


def _cheaper(live: Live, rival: str, load: float) -> Criterion:
    ours, theirs = live.per_thousand(OURS, load), live.per_thousand(rival, load)
    return Criterion(
        what=f"a thousand on time cost no more under `{OURS}` than under `{rival}`, load {load:g}, thousandths",
        target=f"at most {theirs:.1f}",
        measured=f"{ours:.1f}",
        met=ours <= theirs,
    )


def _same(live: Live, cells: Cells, load: float) -> Criterion:
    found = disagreements(
        {choice: live.missed(choice, load) for choice in CHOICES},
        {choice: cells.mean(missed, MIX.name, choice, load) for choice in CHOICES},
    )
    return Criterion(
        what=f"live and simulated rank the choices alike by misses, load {load:g}",
        target=f"no pair the other way round by more than {CLOSE:g} points",
        measured="; ".join(found) if found else "none",
        met=not found,
    )


def _table(live: Live, cells: Cells) -> Table:
    rows = []
    for load in cells.loads:
        order = ranked({choice: live.missed(choice, load) for choice in CHOICES})
        other = ranked({choice: cells.mean(missed, MIX.name, choice, load) for choice in CHOICES})
        for choice in order:
            points = live.of(choice, load)
            each = live.per_thousand(choice, load)
            rows.append(
                [
                    f"{load:g}",
                    choice,
                    f"{order.index(choice) + 1} / {other.index(choice) + 1}",
                    f"{live.missed(choice, load):.1f} / {cells.mean(missed, MIX.name, choice, load):.1f}",
                    " ".join(f"{point.missed:.1f}" for point in points),
                    f"{live.cost(choice, load):.1f} / {cells.mean(cost, MIX.name, choice, load):.1f}",
                    f"{_told(each)} / {_told(cells.mean(per_thousand, MIX.name, choice, load))}",
                    " / ".join(_by_function(points)),
                    " ".join(f"{point.lag_p99_ms:.1f}" for point in points),
                ]
            )
    head = ("load", "choice", "rank", "missed, %", "missed live by seed, %", "cost", "cost of a thousand on time")
    more = (f"missed live, % ({' / '.join(member.name for member in MIX.members)})", "generator p99, ms")
    foot = """Live / simulated. Cost: what functions were charged in the whole run, thousandths of the currency."""
    return table("Live and simulated", (*head, *more), rows, foot)


def _told(figure: float) -> str:
    return cell(figure if math.isfinite(figure) else None, "{:.1f}")


def _by_function(points: Sequence[Point]) -> list[str]:
    """What each missed of all that it was offered, in percent."""
    found = []
    for same in zip(*(point.run.functions for point in points), strict=True):
        offered = sum(one.offered for one in same)
        found.append(f"{100 * (offered - sum(one.on_time for one in same)) / max(1, offered):.0f}")
    return found


def _notes(points: Sequence[Point]) -> tuple[str, ...]:
    late = [f"{one.choice} at {one.load:g} ({one.lag_p99_ms:.1f} ms)" for one in points if not one.valid]
    return (f"Runs that are not valid, because the generator was late: {', '.join(late)}.",) if late else ()
