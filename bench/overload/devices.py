"""The five device choices, live and simulated, on two GPUs of different speed and price and some cores.

Who misses how much, at what cost, and whether live and simulated rank them alike.

A real `stoker serve` for each choice serves a mix of the study `heterogeneous` (stoker_sim.results): GPUs are
simulated, and functions sleep for as long as the study says for the device that they are on. The simulator plays the
same mix at the same loads. A CPU replica asks for a quarter of a core and costs as much as one of a core in the study,
so that there are as many of them here on two cores as there on eight.
"""

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.cluster.machine import machine, quiet
from bench.overload.arrivals import Phase, arrivals
from bench.overload.counters import grown
from bench.overload.figures import OfRun, of_run
from bench.overload.functions import HANDLER, OTHER_CORE, PLATFORM_CORE, Served
from bench.overload.loading import play, streams_of
from bench.overload.report import Criterion, Report, cell, prose, table, write
from bench.overload.settings import QUIET_S, Platform, Settings, parsed, say
from bench.serving import Serving, emptied
from stoker_sim.results.heterogeneous import Cells, missed, per_thousand
from stoker_sim.results.heterogeneous_mixes import FAST, MIXES, PRICES, SLOW, START_US, Member
from stoker_sim.results.heterogeneous_study import CHOICES, OURS, SPREAD, rates_of, study
from stoker_sim.results.result import Table
from stoker_sim.workload import CPU

MIX = next(mix for mix in MIXES if mix.name == "both")
LOADS = (0.9, 2.0)
SEEDS = (1, 2)
WARM_UP_S = 15.0
PARTS = 4
"""CPU replicas of a core."""
GPUS = {FAST: f"{FAST}-24GB", SLOW: f"{SLOW}-16GB"}
COST = "stoker_cost_micro_total"
RIVALS = ("gpu-only", "cpu-only", "speed-up")
CLOSE = 1.0
"""Points of what is missed: choices that are no further apart have no rank to speak of."""


class Point(Struct, frozen=True, kw_only=True):
    """One choice at one load, live."""

    choice: str
    load: float
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


def main(arguments: Sequence[str]) -> None:
    settings = parsed("devices", arguments)
    quiet(ceiling_s=QUIET_S)
    points = [point for choice in CHOICES for point in measured(choice, settings)]
    cells = Cells(tuple(study(mixes=(MIX,), loads=LOADS, seeds=SEEDS)))
    write(report_of(points, cells, settings.seconds, settings.command), settings.results)


def measured(choice: str, settings: Settings) -> list[Point]:
    """One `stoker serve`, and a run at each load."""
    served = [served_as(member) for member in MIX.members]
    with tempfile.TemporaryDirectory(prefix="stoker-devices-") as name:
        folder = emptied(Path(name) / "serve")
        gpus = ",".join(f"1x{product}" for product in GPUS.values())
        told = ("--gpus", gpus, "--queueing", settings.queueing)
        with Serving(folder, documents(choice, folder), told, core=PLATFORM_CORE) as serving:
            platform = Platform(serving, served, folder)
            return [point(platform, choice, load, settings) for load in LOADS]


def point(platform: Platform, choice: str, load: float, settings: Settings) -> Point:
    """One run."""
    before = platform.counters()
    seconds = WARM_UP_S + settings.seconds
    drawn = arrivals(platform.served, [Phase(seconds, rates_of(MIX.members, load))], round(100 * load))
    # Once: a run that is made again would meet a platform that has learnt and scaled already.
    played = play(platform.serving.port, platform.serving.pid, drawn, streams_of(platform.served), platform.folder)
    after = platform.counters()
    to_us = round(1e6 * seconds)
    run, whole = (
        of_run(platform.served, played.arrivals, played.attempts, from_us=from_us, to_us=to_us)
        for from_us in (round(1e6 * WARM_UP_S), 0)
    )
    made = Point(
        choice=choice,
        load=load,
        run=run,
        cost=grown(before, after, COST) / 1000,
        served=whole.on_time,
        lag_p99_ms=played.lag_us[1] / 1000,
        valid=played.valid,
    )
    say(f"{choice} at {load:g}: {made.missed:.1f} % missed, cost {made.cost:.2f}, p99 {made.lag_p99_ms:.1f} ms")
    return made


def served_as(member: Member) -> Served:
    """For arrivals and figures: work is told in milliseconds of the faster GPU."""
    return Served(
        name=member.name,
        units=member.fast_ms,
        spread=SPREAD,
        latency_ms=round(member.objective_ms),
        percentile=member.percentile,
    )


def documents(choice: str, folder: Path) -> bytes:
    """The YAML of the functions, and of a GpuPolicy with the choice and the prices."""
    prices = {**{GPUS[product]: PRICES[product] for product in GPUS}, CPU: PARTS * PRICES[CPU]}
    listed = [{"product": product, "perHour": price} for product, price in prices.items()]
    policy = {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuPolicy",
        "metadata": {"name": "default"},
        "spec": {"deviceChoice": choice, "prices": listed},
    }
    objects = [*(_document(member, folder / "stamps") for member in MIX.members), policy]
    return b"\n---\n".join(json.dumps(one).encode() for one in objects)


def _document(member: Member, stamps: Path) -> dict[str, object]:
    slower = member.slow_ms / member.fast_ms
    # A process is told its device when it starts.
    command = f'case "$STOKER_DEVICE" in *{SLOW}*) export SLOWER={slower};; esac; exec "$@"'
    handler = ["taskset", "-c", str(OTHER_CORE), sys.executable, "-I", "-S", str(HANDLER)]
    env = {"KIND": "sleeping", "LOAD_S": str(START_US / 1e6), "STAMPS": str(stamps)}
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": member.name, "namespace": "default"},
        "spec": {
            "container": {
                "command": ["sh", "-c", command, "sh", *handler],
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "resources": {"cpu": "10m"},
            },
            "gpu": {"memory": "1Gi", "sharing": "Shared"},
            "cpuVariant": {
                "env": [{"name": "SLOWER", "value": str(member.cpu_ms / member.fast_ms)}],
                "resources": {"cpu": f"{1000 // PARTS}m"},
                "maxReplicas": 10,
            },
            "slo": {"latency": f"{member.objective_ms:g}ms", "percentile": member.percentile},
            "onPredictedMiss": ["Divert", "Refuse"],
            "timeout": "60s",
            "scaling": {"maxReplicas": 2, "keepAlive": {"ttl": "30s"}},
        },
    }


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


def report_of(points: Sequence[Point], cells: Cells, seconds: float, command: str) -> Report:
    live = {load: {point.choice: point for point in points if point.load == load} for load in LOADS}
    misses = {load: {choice: point.missed for choice, point in of.items()} for load, of in live.items()}
    simulated = {load: {choice: cells.mean(missed, MIX.name, choice, load) for choice in CHOICES} for load in LOADS}
    return Report(
        name="devices",
        title="Device choice",
        command=command,
        machine=machine(),
        text=(
            prose(
                f"The mix `{MIX.name}` of [the study](heterogeneous.md) ({MIX.what}) on one GPU each of",
                f"{' and '.join(GPUS.values())} and as many CPU replicas as there;",
                f"`onPredictedMiss: [Divert, Refuse]`. One `stoker serve` for each choice; {seconds:g} s for each load",
                f"after {WARM_UP_S:g} s that do not count. Simulated: the same mix and loads, {len(SEEDS)} seeds.",
            ),
        ),
        criteria=tuple(
            criterion
            for load in LOADS
            for criterion in (
                *(_fewer(live[load], rival, load) for rival in RIVALS),
                _same(misses[load], simulated[load], load),
            )
        ),
        tables=(_table(live, cells),),
        notes=_notes(points),
        figures={
            "points": msgspec.to_builtins(list(points)),
            "simulated_missed": {f"{k:g}": v for k, v in simulated.items()},
        },
    )


def _fewer(live: dict[str, Point], rival: str, load: float) -> Criterion:
    ours, theirs = live[OURS], live[rival]
    return Criterion(
        what=f"`{OURS}` misses fewer objectives than `{rival}`, load {load:g}, %",
        target=f"less than {theirs.missed:.1f}",
        measured=f"{ours.missed:.1f}",
        met=ours.missed < theirs.missed,
    )


def _same(live: dict[str, float], simulated: dict[str, float], load: float) -> Criterion:
    found = disagreements(live, simulated)
    return Criterion(
        what=f"live and simulated rank the choices alike by misses, load {load:g}",
        target=f"no pair the other way round by more than {CLOSE:g} points",
        measured="; ".join(found) if found else "none",
        met=not found,
    )


def _table(live: dict[float, dict[str, Point]], cells: Cells) -> Table:
    rows = []
    for load, of in live.items():
        order = ranked({choice: point.missed for choice, point in of.items()})
        simulated = ranked({choice: cells.mean(missed, MIX.name, choice, load) for choice in CHOICES})
        for choice in order:
            point = of[choice]
            each = 1000 * point.cost / point.served if point.served else math.inf
            rows.append(
                [
                    f"{load:g}",
                    choice,
                    f"{point.missed:.1f}",
                    f"{cells.mean(missed, MIX.name, choice, load):.1f}",
                    str(order.index(choice) + 1),
                    str(simulated.index(choice) + 1),
                    f"{point.cost:.1f}",
                    cell(each if math.isfinite(each) else None, "{:.1f}"),
                    f"{cells.mean(per_thousand, MIX.name, choice, load):.1f}",
                    " / ".join(f"{100 * (1 - one.on_time / max(1, one.offered)):.0f}" for one in point.run.functions),
                    f"{point.lag_p99_ms:.1f}" + ("" if point.valid else " (not valid)"),
                ]
            )
    head = ("load", "choice", "missed, %", "simulated, %", "rank", "simulated rank", "cost", "of a thousand on time")
    more = ("simulated", f"missed, % ({' / '.join(member.name for member in MIX.members)})", "generator p99, ms")
    foot = "Cost: what the platform charged to functions in the whole run, thousandths of the currency."
    return table("Live and simulated", (*head, *more), rows, foot)


def _notes(points: Sequence[Point]) -> tuple[str, ...]:
    late = [f"{point.choice} at {point.load:g} ({point.lag_p99_ms:.1f} ms)" for point in points if not point.valid]
    return (f"Runs that are not valid, because the generator was late: {', '.join(late)}.",) if late else ()
