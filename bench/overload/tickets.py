"""Clients that come back with the ticket that they were given, when they were told to: how many are served then.

Three times the capacity. A refused client comes again once, at the told time, with Stoker-Ticket where it got one, and
without where it did not.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from bench.cluster.machine import machine
from bench.overload.arrivals import Phase, arrivals
from bench.overload.calls import OK, Attempt
from bench.overload.curve import WARM_UP_S, capacity_for
from bench.overload.functions import THREE, Served, rates_of
from bench.overload.loading import play, streams_of
from bench.overload.report import Report, at_least, cell, prose, table, write
from bench.overload.settings import parsed, platform, say

FACTOR = 3.0
SUCCESS = 0.95


class Returned(Struct, frozen=True, kw_only=True):
    """Second attempts of one kind."""

    count: int
    served: int
    on_time: int
    """Within the objective, from when it came again."""


def main(arguments: Sequence[str]) -> None:
    settings = parsed("tickets", arguments)
    with platform(THREE, settings) as serving:
        capacity = capacity_for(serving, settings)
        drawn = arrivals(THREE, [Phase(WARM_UP_S + settings.seconds, rates_of(THREE, FACTOR * capacity))])
        streams = [replace(stream, retries=1, honours=True, tickets=True) for stream in streams_of(THREE)]
        played = play(serving.serving.port, serving.serving.pid, drawn, streams, serving.folder)
    refused = sum(one.number == 0 and one.status in (429, 503) for one in played.attempts)
    offered = sum(one.number == 0 and one.offered for one in played.attempts)
    streams_at = drawn.stream.tolist()
    with_ticket = returned(THREE, streams_at, [one for one in played.attempts if one.number == 1 and one.ticket])
    without = returned(THREE, streams_at, [one for one in played.attempts if one.number == 1 and not one.ticket])
    share = with_ticket.served / with_ticket.count if with_ticket.count else None
    say(f"{offered} tickets for {refused} refusals; served {cell(share, '{:.3f}')}")
    rows = [
        [name, str(one.count), _percent(one.served, one.count), _percent(one.on_time, one.count)]
        for name, one in (("with a ticket", with_ticket), ("without", without))
    ]
    report = Report(
        name="tickets",
        title="Tickets",
        command=settings.command,
        machine=machine(),
        text=(
            prose(
                f"{FACTOR:g} times the capacity (load {capacity:.3f}) for {settings.seconds:g} s. {refused} requests",
                f"were refused, {offered} of them with a ticket.",
            ),
        ),
        criteria=(at_least("served, of those that came back with a ticket", share, SUCCESS),),
        tables=(table("Clients that came again", ("how", "requests", "served", "on time from then"), rows),),
        figures={
            "capacity": capacity,
            "refused": refused,
            "offered": offered,
            "with": {name: getattr(with_ticket, name) for name in with_ticket.__struct_fields__},
            "without": {name: getattr(without, name) for name in without.__struct_fields__},
            "generator_p99_ms": played.lag_us[1] / 1000,
        },
    )
    write(report, settings.results)


def returned(served: Sequence[Served], streams: Sequence[int], seconds: Sequence[Attempt]) -> Returned:
    """`streams`: by call, the index into `served`."""
    good = [one for one in seconds if one.status == OK]
    on_time = sum(one.ended_us - one.due_us <= 1000 * served[streams[one.call]].latency_ms for one in good)
    return Returned(count=len(seconds), served=len(good), on_time=on_time)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
