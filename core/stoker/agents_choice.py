"""Over the agents that a gateway follows: who gets a request of one variant next, and what is known of it altogether.

Reads the loads that agents tell and counts of what was sent to each since; pure. Agents are named by whatever the
caller likes.
"""

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct

from stoker.admission import Forecast
from stoker.wire.agent import VariantLoad

AHEAD_MS = 500.0
"""Work that an agent has in its queue while others still start: some load frames' worth, so that it never idles."""

A = TypeVar("A")


class Told(Struct, frozen=True):
    """What an agent has told of one variant."""

    load: VariantLoad
    sent: int
    """Requests of the variant that were sent there since: they wait there too."""


def soonest_first(agents: Iterable[tuple[A, Told]]) -> list[A]:
    """Agents with a warm replica of the variant, the soonest to finish one more request first; ties as given."""
    found: list[tuple[float, int, A]] = []
    for order, (agent, told) in enumerate(agents):
        load = told.load
        if load.warm:
            # Without those sent since its last word a burst would all go to one agent.
            behind = max(0, told.sent + 1 - load.free) / load.warm
            found.append((load.wait_ms + max(load.exec_ms, 1.0) * (1 + behind), order, agent))
    return [agent for _, _, agent in sorted(found, key=lambda entry: entry[:2])]


def room(agents: Iterable[Told]) -> int | None:
    """How many held requests of the variant should go to agents now; None: all of them.

    While replicas start on several agents, those that are warm get what they can take at once and what they will
    have done soon: what is queued at one agent cannot go to another any more.
    """
    total, count, starting = 0, 0, 0
    for told in agents:
        load = told.load
        if not load.warm + load.starting:
            continue
        count += 1
        starting += load.starting
        if load.warm:
            soon = int(load.warm * AHEAD_MS / max(load.exec_ms, 1.0)) if load.samples else 0
            total += max(0, load.free + soon - load.queued - told.sent)
    return total if starting and count > 1 else None


def forecast(loads: Iterable[VariantLoad]) -> Forecast | None:
    """What is known of the variant: the counts of all agents, the figures of the best. None: no agent knows it."""
    found: Forecast | None = None
    for load in loads:
        more = Forecast(
            warm=load.warm + (found.warm if found else 0),
            starting=load.starting + (found.starting if found else 0),
            wait_us=round(load.wait_ms * 1000),
            exec_us=round(load.exec_ms * 1000),
            start_us=round(load.start_ms * 1000),
        )
        if found is not None and found.finish_us < more.finish_us:
            more = Forecast(
                warm=more.warm,
                starting=more.starting,
                wait_us=found.wait_us,
                exec_us=found.exec_us,
                start_us=found.start_us,
            )
        found = more
    return found
