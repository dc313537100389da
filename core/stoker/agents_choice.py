"""Over the agents that a gateway follows: who gets a request of one variant next, and what is known of it altogether.

Reads the loads that agents tell and counts of what was sent to each since; pure. Agents are named by whatever the
caller likes.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from stoker.admission import Forecast
from stoker.cost.prices import listed
from stoker.policies.device_choice.interface import Queued
from stoker.wire.agent import VariantLoad

AHEAD_MS = 500.0
"""Work that an agent has in its queue while others still start: some load frames' worth, so that it never idles."""

A = TypeVar("A")


class Told(Struct, frozen=True):
    """What an agent has told of one variant."""

    load: VariantLoad
    sent: int
    """Requests of the variant that were sent there since: they wait there too."""
    age_us: int = 0
    """For how long it has not told anything else."""


class GpuCrowd(Struct, frozen=True):
    """What all agents together have on their GPUs, by the last word of each."""

    load_us: int = 0
    """Predicted execution time of all that runs or waits."""
    flows: dict[str, Queued] = {}
    """By function, of those that have anything there."""


def soonest_first(agents: Iterable[tuple[A, Told]]) -> list[A]:
    """Agents with a warm replica of the variant, the soonest to finish one more request first; ties as given."""
    found = [(_finish_ms(told), order, agent) for order, (agent, told) in enumerate(agents) if told.load.warm]
    return [agent for _, _, agent in sorted(found, key=lambda entry: entry[:2])]


def cheapest_first(agents: Iterable[tuple[A, Told]], prices: Mapping[str, float], remaining_us: int) -> list[A]:
    """The same, but of those that are predicted to finish one more request within `remaining_us` the one whose product
    runs it for the least money comes first (`prices` by product and hour), the others behind them. By time alone
    where one of those has no price, or more than one product: it cannot be said then which is cheaper.
    """
    told_of = list(agents)
    ranked = soonest_first((index, told) for index, (_, told) in enumerate(told_of))
    on_time = [index for index in ranked if _finish_ms(told_of[index][1]) * 1000 <= remaining_us]
    costs: dict[int, float] = {}
    for index in on_time:
        load = told_of[index][1].load
        price = listed(load.product, prices)
        if price is None:
            return [told_of[each][0] for each in ranked]
        costs[index] = price * load.exec_ms
    cheapest = sorted(on_time, key=costs.__getitem__)
    return [told_of[index][0] for index in (*cheapest, *(index for index in ranked if index not in costs))]


def gpu_crowd(loads: Iterable[tuple[str, VariantLoad]]) -> GpuCrowd:
    """Of the loads of GPU variants, each with the key of its function."""
    flows: dict[str, Queued] = {}
    load_us = 0
    for key, load in loads:
        if load.queued or load.running:
            exec_us = max(1, round(load.exec_ms * 1000))
            load_us += (load.queued + load.running) * exec_us
            before = flows.get(key)
            flows[key] = Queued(load.queued + (before.count if before else 0), exec_us)
    return GpuCrowd(load_us, flows)


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


def forecast(said: Iterable[Told]) -> Forecast | None:
    """What is known of the variant: the counts of all agents, the figures of the best. None: no agent knows it.

    A wait is as long as it was told, less what has passed since. An agent tells of a variant when something changes
    there, which others on its devices may not, and at its heartbeat; more may wait by now. Too short a wait costs a
    question, since the agent judges itself; too long a one costs a request that would have been on time.
    """
    found: Forecast | None = None
    for told in said:
        load = told.load
        more = Forecast(
            warm=load.warm + (found.warm if found else 0),
            starting=load.starting + (found.starting if found else 0),
            wait_us=max(0, round(load.wait_ms * 1000) - told.age_us),
            exec_us=round(load.exec_ms * 1000),
            start_us=round(load.start_ms * 1000),
            measured=load.samples > 0,
            busy=load.queued + load.running > 0 or (found is not None and found.busy),
        )
        if found is not None and found.finish_us < more.finish_us:
            more = replace(found, warm=more.warm, starting=more.starting, busy=more.busy)
        found = more
    return found


def later(known: Forecast, us: int) -> Forecast:
    """The same, so much later and with nothing told since."""
    return replace(known, wait_us=max(0, known.wait_us - us)) if us and known.wait_us else known


def _finish_ms(told: Told) -> float:
    load = told.load
    # Without those sent since its last word a burst would all go to one agent.
    behind = max(0, told.sent + 1 - load.free) / load.warm
    return load.wait_ms + max(load.exec_ms, 1.0) * (1 + behind)
