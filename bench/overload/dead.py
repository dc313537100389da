"""A function whose replicas never become ready, called 200 times a second for minutes: memory, and what others notice.

Its requests are held until their timeout. Beside it another function is called. What the platform keeps of requests
that ended (records for `explain`) is bounded and is full after SETTLED of the time: memory is compared from there on.
"""

from collections.abc import Sequence

import numpy as np

from bench.cluster.machine import machine
from bench.overload.arrivals import Phase, arrivals
from bench.overload.calls import OK
from bench.overload.functions import Served
from bench.overload.loading import play, streams_of
from bench.overload.report import Report, at_least, at_most, prose, table, write
from bench.overload.settings import parsed, platform, say
from bench.overload.watching import INTERVAL_S
from stoker_sim.results.result import Chart, Series

DEAD = Served(name="dead", namespace="broken", units=10, latency_ms=250, timeout_ms=3_000, queued=1_000, ready=False)
OTHER = Served(name="other", units=10, latency_ms=250, miss=("Refuse",))
PER_SECOND, OTHER_PER_SECOND = 200.0, 20.0
SETTLED = 0.25
GROWTH, SUCCESS = 1.05, 0.995
"""Ours: the most of the last quarter over the most of the second one; and what is left of others."""


def main(arguments: Sequence[str]) -> None:
    settings = parsed("dead", arguments)
    served = (OTHER, DEAD)
    with platform(served, settings) as serving:
        drawn = arrivals(served, [Phase(60 * settings.minutes, [OTHER_PER_SECOND, PER_SECOND])])
        say(f"{len(drawn)} requests in {settings.minutes:g} minutes")
        played = play(serving.serving.port, serving.serving.pid, drawn, streams_of(served), serving.folder)
    rss = played.used.rss_mib
    quarters = [max(part) for part in np.array_split(np.array(rss), 4)]
    outcomes: dict[str, int] = {}
    good = offered = 0
    for attempt in played.attempts:
        if drawn.stream[attempt.call] == 0:
            offered += 1
            good += attempt.status == OK
        else:
            key = f"{attempt.status} {attempt.reason}".strip()
            outcomes[key] = outcomes.get(key, 0) + 1
    growth = float(quarters[3] / quarters[1])
    each = max(1, len(rss) // 100)
    report = Report(
        name="dead",
        title="A function that never becomes ready",
        command=settings.command,
        machine=machine(),
        text=(
            prose(
                f"{PER_SECOND:g} requests/s for {settings.minutes:g} minutes to a function whose process never",
                f"listens (timeout {DEAD.timeout_ms} ms, queue of {DEAD.queued}), {OTHER_PER_SECOND:g} a second to",
                "another one. Memory is that of the process of gateway, agent and reconciler.",
            ),
        ),
        criteria=(
            at_most("resident memory: most of the last quarter over most of the second", growth, GROWTH, "{:.3f}"),
            at_least("success of the other function", good / max(1, offered), SUCCESS, "{:.4f}"),
        ),
        tables=(
            table(
                "Most resident memory, MiB",
                ("1st quarter", "2nd", "3rd", "4th"),
                [[f"{value:.1f}" for value in quarters]],
            ),
            table(
                "Answers of the dead function",
                ("answer", "requests"),
                [[key, str(count)] for key, count in sorted(outcomes.items())],
            ),
        ),
        charts=(
            Chart(
                name="memory",
                title="Resident memory over time",
                caption="Of the process of gateway, agent and reconciler.",
                x_label="minutes",
                y_label="MiB",
                series=(
                    Series(
                        label="resident",
                        x=tuple(number * INTERVAL_S / 60 for number in range(0, len(rss), each)),
                        y=tuple(rss[::each]),
                    ),
                ),
            ),
        ),
        figures={
            "minutes": settings.minutes,
            "rss_mib": rss[::each],
            "answers": outcomes,
            "other": {"offered": offered, "success": good},
            "generator_p99_ms": played.lag_us[1] / 1000,
        },
    )
    write(report, settings.results)
