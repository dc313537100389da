"""`python -m bench.reality`: calibrate, replay, simulate, compare; a report and the page made of it.

Takes kinds x loads x policies x replays x about (seconds + 6) s. On a machine where others compute, put
`chrt --rr 20` before it (needs root).
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.reality.cases import Report
from bench.reality.comparing import compared
from bench.reality.measuring import Measuring, Settings
from bench.reality.page import page
from bench.reality.world import KINDS, LOADS, POLICIES


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-reality", description=__doc__)
    parser.add_argument("--kinds", type=_names, default=KINDS)
    parser.add_argument("--loads", type=_numbers, default=LOADS)
    parser.add_argument("--policies", type=_names, default=POLICIES)
    parser.add_argument("--replays", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--calibration-seconds", type=float, default=56)
    parser.add_argument("--together", type=int, default=1, help="replays of sleeping functions at a time")
    parser.add_argument("--json", type=Path, help="where the report goes")
    parser.add_argument("--page", type=Path, help="where the page goes")
    parser.add_argument("--raw", type=Path, help="folder of the replays; those that are there are not made again")
    parser.add_argument("--report", type=Path, help="a report of before: only its page is made")
    parser.add_argument("--alone", type=Path, help="a report of some of the cases without --together, for the page")
    arguments = parser.parse_args()
    if arguments.report is not None:
        report = msgspec.json.decode(arguments.report.read_bytes(), type=Report)
    else:
        with tempfile.TemporaryDirectory(prefix="stoker-reality-") as folder:
            report = measured(_settings(arguments), arguments.raw or Path(folder) / "raw", Path(folder))
    alone = None if arguments.alone is None else msgspec.json.decode(arguments.alone.read_bytes(), type=Report)
    text = page(report, alone)
    _write(arguments.json, msgspec.json.encode(report) + b"\n")
    _write(arguments.page, text.encode())
    print(text)


def measured(settings: Settings, raw: Path, folder: Path) -> Report:
    """Raises RuntimeError where a platform does not come up."""
    measuring = Measuring(settings, raw, folder, _say)
    machine = measuring.machine()
    calibrations = {kind: measuring.calibration(kind) for kind in settings.kinds}
    replays = [replay for one in calibrations.values() for replay in measuring.replays(one)]
    _say("simulating")
    return Report(
        machine=machine,
        seconds=settings.seconds,
        replays=settings.replays,
        together=settings.together,
        calibrations=list(calibrations.values()),
        cases=compared(replays, calibrations, settings.seconds),
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(**{name: getattr(arguments, name) for name in Settings.__struct_fields__})


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _write(path: Path | None, data: bytes) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    main()
