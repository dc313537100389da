"""The command line that all experiments share, and the platform that they measure."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from bench.cluster.machine import quiet
from bench.overload.arrivals import Phase, arrivals
from bench.overload.calls import OK
from bench.overload.counters import Counters, grown
from bench.overload.functions import GPUS, PLATFORM_CORE, SLOTS, Served, documents, rates_of
from bench.overload.loading import Played, play, streams_of
from bench.overload.report import RESULTS
from bench.serving import Serving, emptied

ADMISSIONS, BROKEN = "stoker_admissions_total", "stoker_promises_broken_total"
READY_S = 30.0
"""Until every function has answered."""
LEARN_SEED = 7
FIRST_LOAD, LEARN_LOAD, PUSH_LOAD = 0.1, 0.5, 2.5
"""What comes before anything is measured: some load to learn from, and more, so that CPU variants are started."""
LEARN_S = 4.0
QUIET_S = 20.0
REPEATS = 2
"""So often a run is made again whose generator was late."""


class Settings(Struct, frozen=True, kw_only=True):
    seconds: float
    queueing: str
    results: Path
    command: str
    minutes: float
    """Of the dead function."""
    requests: int
    """Of the timeouts."""


def parsed(name: str, arguments: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(prog=f"python -m bench.overload {name}")
    parser.add_argument("--seconds", type=float, default=20, help="of each run, without its warm-up")
    parser.add_argument("--queueing", default="least-slack", help="queueing policy of the agent")
    parser.add_argument("--minutes", type=float, default=10, help="how long the dead function is called")
    parser.add_argument("--requests", type=int, default=100_000, help="that are sent to see when they are dispatched")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    found = parser.parse_args(arguments)
    command = shlex.join(["python", "-m", "bench.overload", name, *arguments])
    return Settings(
        seconds=found.seconds,
        queueing=found.queueing,
        results=found.results,
        command=command,
        minutes=found.minutes,
        requests=found.requests,
    )


class Platform:
    """A `stoker serve` that has learnt what its functions take."""

    def __init__(self, serving: Serving, served: Sequence[Served], folder: Path) -> None:
        self.serving = serving
        self.served = served
        self.folder = folder
        self.event_log = folder / "events.log"

    def run(self, rates: Sequence[float], seconds: float, *, seed: int) -> Played:
        """Clients that come once, at these rates. Made again where the generator was late."""
        drawn = arrivals(self.served, [Phase(seconds, rates)], seed)
        for _ in range(REPEATS + 1):
            played = play(self.serving.port, self.serving.pid, drawn, streams_of(self.served), self.folder)
            if played.valid:
                break
            say(f"the generator was late: p99 {played.lag_us[1] / 1000:.1f} ms")
        return played

    def counters(self) -> Counters:
        return Counters(self.serving.metrics())

    def dropped(self, before: Counters, after: Counters) -> list[int]:
        """By function, how many requests were given up between two instants that had been admitted to be on time."""
        return [
            round(
                sum(
                    grown(before, after, BROKEN, namespace=one.namespace, function=one.name, how=how)
                    for how in ("dropped", "shed")
                )
            )
            for one in self.served
        ]

    def promises(self, before: Counters, after: Counters) -> list[tuple[int, int]]:
        """By function, how many requests were promised to be on time between two instants, and how many of the promises
        were broken, by the platform's own count and clock.
        """
        return [
            (
                round(grown(before, after, ADMISSIONS, namespace=one.namespace, function=one.name, verdict="Promised")),
                round(grown(before, after, BROKEN, namespace=one.namespace, function=one.name)),
            )
            for one in self.served
        ]

    def load(self, load: float, seconds: float, *, seed: int) -> Played:
        return self.run(rates_of(self.served, load), seconds, seed=seed)

    def stop(self) -> None:
        """Ends it, so that its event log is whole."""
        self.serving.stop()

    def learn(self) -> None:
        """Raises RuntimeError where a function does not answer, or a GPU is not used."""
        ready = sum(one.ready for one in self.served) / len(self.served)
        rates = [rate * one.ready / ready for one, rate in zip(self.served, rates_of(self.served, 1), strict=True)]
        silent = {number for number, one in enumerate(self.served) if one.ready}
        for number in range(round(READY_S)):
            played = self.run([FIRST_LOAD * rate for rate in rates], 1.0, seed=LEARN_SEED + number)
            silent -= {int(played.arrivals.stream[attempt.call]) for attempt in played.attempts if attempt.status == OK}
            if not silent:
                break
        else:
            raise RuntimeError(f"does not answer: {', '.join(self.served[number].key for number in sorted(silent))}")
        gpus: set[str] = set()
        for load in (LEARN_LOAD, PUSH_LOAD, LEARN_LOAD):
            attempts = self.run([load * rate for rate in rates], LEARN_S, seed=LEARN_SEED).attempts
            gpus |= {attempt.device for attempt in attempts if attempt.status == OK and attempt.device != "cpu"}
        if len(gpus) != SLOTS:
            raise RuntimeError(f"replicas answer from {len(gpus)} of {SLOTS} GPUs: {', '.join(sorted(gpus))}")


@contextmanager
def platform(
    served: Sequence[Served],
    settings: Settings,
    *,
    policy: dict[str, object] | None = None,
    arguments: Sequence[str] = (),
    event_log: bool = False,
) -> Iterator[Platform]:
    """Waits for a quiet moment of the machine first. `arguments` are of `stoker serve`."""
    quiet(ceiling_s=QUIET_S)
    with tempfile.TemporaryDirectory(prefix="stoker-overload-") as name:
        folder = emptied(Path(name) / "serve")
        told = ["--gpus", GPUS, "--queueing", settings.queueing, *arguments]
        if event_log:
            told += ["--event-log", str(folder / "events.log")]
        text = documents(served, folder=folder, policy=policy)
        with Serving(folder, text, told, settings={"STOKER_EVENT_LOG_MIB": "4096"}, core=PLATFORM_CORE) as serving:
            found = Platform(serving, served, folder)
            found.learn()
            yield found


def say(line: str) -> None:
    """Progress; figures go to files."""
    print(f"  {line}", file=sys.stderr, flush=True)
