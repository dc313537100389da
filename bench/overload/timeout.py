"""Whether anything is dispatched after its timeout: by the agent's own clock, as its event log says of each dispatch.

The three functions with a timeout hardly longer than their objective, served late rather than refused, far above the
capacity: most of what is queued sees its timeout pass. The log tells when each request was judged and what its timeout
was then, and when it was given a slot; what a slot was offered and must not run any more ends at once, without time.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from bench.cluster.machine import machine
from bench.overload.arrivals import Phase, arrivals
from bench.overload.functions import THREE, rates_of
from bench.overload.loading import play, streams_of
from bench.overload.report import Criterion, Report, prose, table, write
from bench.overload.settings import parsed, platform, say
from stoker.replay.lines import records_of
from stoker.replay.records import Done, Judged, Popped

LOAD = 4.0
SHORT = 1.2
"""Timeout over objective."""
SERVED = tuple(replace(one, miss=("ServeLate",), timeout_ms=round(SHORT * one.latency_ms)) for one in THREE)


class Dispatches(Struct, frozen=True, kw_only=True):
    """What an event log says."""

    judged: int
    """Requests that came to the agent."""
    dispatched: int
    passed: int
    """Offered a slot after their timeout, and not run."""
    after: int
    """Dispatched after their timeout."""


def main(arguments: Sequence[str]) -> None:
    settings = parsed("timeout", arguments)
    with platform(SERVED, settings, event_log=True) as serving:
        rates = rates_of(SERVED, LOAD)
        drawn = arrivals(SERVED, [Phase(settings.requests / sum(rates), rates)])
        say(f"{len(drawn)} requests")
        played = play(serving.serving.port, serving.serving.pid, drawn, streams_of(SERVED), serving.folder)
        log = serving.event_log
        serving.stop()
        with log.open("rb") as lines:
            found = dispatches(lines)
    report = Report(
        name="timeout",
        title="Dispatched after the timeout",
        command=settings.command,
        machine=machine(),
        text=(
            prose(
                f"Load {LOAD:g}, timeouts of {SHORT:g} times the objective, `onPredictedMiss: [ServeLate]`.",
                f"{len(drawn)} requests were sent, after those that the platform learnt from.",
            ),
        ),
        criteria=(
            Criterion(
                what=f"dispatched after their timeout, of {found.judged} requests that came to the agent",
                target="0",
                measured=str(found.after),
                met=found.after == 0 and found.judged > 0,
            ),
        ),
        tables=(
            table(
                "By the agent's clock",
                ("requests at the agent", "dispatched", "timeout passed before their turn", "dispatched after it"),
                [[str(found.judged), str(found.dispatched), str(found.passed), str(found.after)]],
            ),
        ),
        figures={
            **{name: getattr(found, name) for name in found.__struct_fields__},
            "generator_p99_ms": played.lag_us[1] / 1000,
        },
    )
    write(report, settings.results)


def dispatches(lines: Iterable[bytes]) -> Dispatches:
    """Raises BadLog."""
    timeouts: dict[str, int] = {}
    running: dict[int, tuple[str, int]] = {}
    judged = pops = passed = after = dispatched = 0
    for _, record in records_of(lines):
        if isinstance(record, Judged):
            judged += 1
            timeouts[record.request.id] = record.request.timeout_us
        elif isinstance(record, Popped) and record.got is not None:
            pops += 1
            running[pops] = (record.got.partition("#")[0], record.now_us)
        elif isinstance(record, Done) and record.pop in running:
            request, at_us = running.pop(record.pop)
            if record.actual_us == 0:
                passed += 1
                continue
            dispatched += 1
            after += at_us >= timeouts.get(request, at_us + 1)
    return Dispatches(judged=judged, dispatched=dispatched, passed=passed, after=after)
