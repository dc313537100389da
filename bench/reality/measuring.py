"""All replays of a measurement, one after another or a few at a time; each is kept as soon as it is made.

Rounds over all cases: what changes on the machine meanwhile meets all policies alike. What is kept is not made again,
so a measurement that was broken off goes on.
"""

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.reality.calibration import Calibration, calibrate
from bench.reality.cases import Machine, Replay
from bench.reality.comparing import trace_of
from bench.reality.figures import percentile
from bench.reality.playing import figures_of, play


class Settings(Struct, frozen=True, kw_only=True):
    kinds: Sequence[str]
    loads: Sequence[float]
    policies: Sequence[str]
    replays: int
    seconds: float
    calibration_seconds: float
    together: int
    """Replays of sleeping functions at a time."""


class Measuring:
    """`kept`: the folder where replays and calibrations stay; `work`: one for what platforms write."""

    def __init__(self, settings: Settings, kept: Path, work: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._kept = kept
        self._work = work
        self._say = say
        kept.mkdir(parents=True, exist_ok=True)

    def machine(self) -> Machine:
        """The one that the replays were made on."""
        path = self._kept / "machine.json"
        if not path.exists():
            real_time = os.sched_getscheduler(0) == os.SCHED_RR
            found = Machine(cores=os.cpu_count() or 0, python=platform.python_version(), real_time=real_time)
            path.write_bytes(msgspec.json.encode(found))
        return msgspec.json.decode(path.read_bytes(), type=Machine)

    def calibration(self, kind: str) -> Calibration:
        path = self._kept / f"calibration-{kind}.json"
        if not path.exists():
            found = calibrate(kind, self._settings.calibration_seconds, self._work / path.stem)
            path.write_bytes(msgspec.json.encode(found))
            self._say(f"{path.stem}: {found.unit_us:.1f} us a unit, {found.overhead_us} us of platform and client")
        return msgspec.json.decode(path.read_bytes(), type=Calibration)

    def replays(self, calibration: Calibration) -> list[Replay]:
        """Of one kind."""
        settings = self._settings
        cases = [
            (number, load, policy)
            for number in range(settings.replays)
            for load in settings.loads
            for policy in settings.policies
        ]

        def one(case: tuple[int, float, str]) -> Replay:
            return self._replay(calibration, *case)

        with ThreadPoolExecutor(settings.together if calibration.kind == "sleeping" else 1) as pool:
            return list(pool.map(one, cases))

    def _replay(self, calibration: Calibration, number: int, load: float, policy: str) -> Replay:
        kind = calibration.kind
        path = self._kept / f"{kind}-{load:g}-{policy}-{number}.json"
        if not path.exists():
            trace = trace_of(kind, load, calibration, self._settings.seconds)
            played = play(trace, self._work / path.stem, kind, policy)
            figures = figures_of(trace, played)
            replay = Replay(
                kind=kind,
                load=load,
                policy=policy,
                number=number,
                figures=figures,
                took_us=[seen.took_us for seen in played.requests],
                client_late_us=percentile(played.late_us, 99),
            )
            path.write_bytes(msgspec.json.encode(replay))
            self._say(f"{path.stem}: wait {figures.wait_mean_ms:.1f} ms, misses {100 * figures.miss_rate:.1f} %")
        return msgspec.json.decode(path.read_bytes(), type=Replay)
