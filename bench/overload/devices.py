"""The five device choices, live and simulated, on two GPUs of different speed and price and some cores.

Who misses how much, at what cost, and whether live and simulated rank them alike.

A real `stoker serve` for each run serves a mix of the study `heterogeneous` (stoker_sim.results). It meets the very
requests that the simulator does, each with its own work, from a cold start and with the same warm-up.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.cluster.machine import quiet
from bench.overload.counters import grown
from bench.overload.devices_report import Live, Point, report_of
from bench.overload.devices_world import GPUS, MIX, arrivals_of, documents, served_as
from bench.overload.figures import of_run
from bench.overload.functions import PLATFORM_CORE
from bench.overload.loading import play, streams_of
from bench.overload.report import write
from bench.overload.settings import QUIET_S, Platform, Settings, parsed, say
from bench.serving import Serving, emptied
from stoker_sim.engine.simulate import simulate
from stoker_sim.results.heterogeneous import Cells
from stoker_sim.results.heterogeneous_study import CHOICES, WARM_UP_US, Cell, setup, told, workload
from stoker_sim.workload import Workload

LOADS = (0.9, 2.0)
SEEDS = (1, 2)
COST = "stoker_cost_micro_total"


def main(arguments: Sequence[str]) -> None:
    settings = parsed("devices", arguments)
    quiet(ceiling_s=QUIET_S)
    works = {(load, seed): workload(MIX, load, seed, horizon_us(settings)) for load in LOADS for seed in SEEDS}
    points = [
        measured(choice, load, seed, work, settings) for (load, seed), work in works.items() for choice in CHOICES
    ]
    write(report_of(Live(tuple(points)), simulated(works), settings.seconds, settings.command), settings.results)


def horizon_us(settings: Settings) -> int:
    return WARM_UP_US + round(1e6 * settings.seconds)


def simulated(works: dict[tuple[float, int], Workload]) -> Cells:
    """The same requests under each choice in simulated time."""
    cells: list[Cell] = []
    for (load, seed), work in works.items():
        cells += [told(MIX, load, seed, choice, simulate(work, setup(choice, seed))) for choice in CHOICES]
    return Cells(cells)


def measured(choice: str, load: float, seed: int, work: Workload, settings: Settings) -> Point:
    """A `stoker serve` of its own that meets these requests."""
    served = [served_as(member) for member in MIX.members]
    with tempfile.TemporaryDirectory(prefix="stoker-devices-") as name:
        folder = emptied(Path(name) / "serve")
        gpus = ",".join(f"1x{product}" for product in GPUS.values())
        command = ("--gpus", gpus, "--queueing", settings.queueing)
        with Serving(folder, documents(choice, folder), command, core=PLATFORM_CORE) as serving:
            platform = Platform(serving, served, folder)
            before = platform.counters()
            # Once: a run that is made again would meet a platform that has learnt and scaled already.
            played = play(serving.port, serving.pid, arrivals_of(work), streams_of(served), folder)
            after = platform.counters()
    run, whole = (
        of_run(served, played.arrivals, played.attempts, from_us=from_us, to_us=work.horizon_us)
        for from_us in (WARM_UP_US, 0)
    )
    made = Point(
        choice=choice,
        load=load,
        seed=seed,
        run=run,
        cost=grown(before, after, COST) / 1000,
        served=whole.on_time,
        lag_p99_ms=played.lag_us[1] / 1000,
        valid=played.valid,
    )
    say(f"{choice} at {load:g}, {seed}: {made.missed:.1f} % missed, cost {made.cost:.2f}, p99 {made.lag_p99_ms:.1f} ms")
    return made
