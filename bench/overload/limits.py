"""What the load generator itself can do: against a server that answers at once, on the platform's core.

What it is asked for elsewhere is at most half of ENOUGH; a generator at its limit would measure itself.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cluster.machine import machine
from bench.overload.arrivals import Phase, arrivals
from bench.overload.calls import OK, Stream
from bench.overload.functions import PLATFORM_CORE, THREE
from bench.overload.loading import LAG_US, Played, play
from bench.overload.report import Report, at_least, at_most, prose, table, write
from bench.overload.settings import parsed, say

RATES = (500.0, 1_000.0, 2_000.0, 4_000.0, 6_000.0)
ENOUGH = 4_000.0
SECONDS = 5.0


def main(arguments: Sequence[str]) -> None:
    settings = parsed("limits", arguments)
    runs: dict[float, Played] = {}
    with trivial() as (port, pid), tempfile.TemporaryDirectory(prefix="stoker-overload-") as folder:
        for rate in RATES:
            drawn = arrivals(THREE[:1], [Phase(SECONDS, [rate])])
            runs[rate] = play(port, pid, drawn, [Stream(target="/")], Path(folder), linger_s=5)
            say(f"{rate:g}/s: late by {runs[rate].lag_us[1] / 1000:.2f} ms (p99)")
    rows = [
        [
            f"{rate:g}",
            str(len(played.attempts)),
            f"{100 * answered(played):.2f} %",
            f"{played.lag_us[0] / 1000:.2f}",
            f"{played.lag_us[1] / 1000:.2f}",
            str(played.connections),
        ]
        for rate, played in runs.items()
    ]
    enough = runs[ENOUGH]
    report = Report(
        name="limits",
        title="The generator's own limits",
        command=settings.command,
        machine=machine(),
        text=(prose(f"Poisson arrivals for {SECONDS:g} s at each rate, against a server that answers at once."),),
        criteria=(
            at_least(f"answered at {ENOUGH:g}/s", answered(enough), 1.0, "{:.4f}"),
            at_most(f"sent late at {ENOUGH:g}/s, p99, ms", enough.lag_us[1] / 1000, LAG_US / 1000, "{:.2f}"),
        ),
        tables=(table("Rates", ("asked/s", "sent", "answered", "late p50, ms", "late p99, ms", "connections"), rows),),
        figures={f"{rate:g}": {"lag_us": played.lag_us, "answered": answered(played)} for rate, played in runs.items()},
    )
    write(report, settings.results)


def answered(played: Played) -> float:
    return sum(one.status == OK for one in played.attempts) / max(1, len(played.arrivals))


@contextmanager
def trivial() -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    argv = [sys.executable, "-m", "bench.overload.trivial", str(PLATFORM_CORE)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline()), process.pid
        process.stdin.close()
