"""How good is what refused clients are told: do those who come back with a ticket get served, and is it too late?

The oracle plays the same arrivals again and lets one client come back earlier, without its place, to find by bisection
the earliest instant at which it would have been taken. Admission is not monotone in time (a moment may be lucky), so
what bisection finds is an instant at which it is taken and shortly before which it is not.
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stoker.admission import MIN_RETRY_AFTER_US
from stoker.reasons import Outcome
from stoker_sim.arrangement import arranged
from stoker_sim.draws import exponentials, key_of, lognormals
from stoker_sim.engine.returns import Returning, Returns
from stoker_sim.engine.setup import Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import OUTCOMES, Outcomes
from stoker_sim.workload import SimFunction, Workload

SLACK_US = 500_000
SLACK_PERCENT = 25
"""An overstatement is borne up to so much, or so much of the oracle's wait, whichever is more (the issue's bound)."""
_REFUSED = OUTCOMES.index(Outcome.REFUSED)
_SERVED = OUTCOMES.index(Outcome.SERVED)


class Phase(Struct, frozen=True):
    """Poisson arrivals at a rate, for so long."""

    per_s: float
    for_s: float


class Tickets(Struct, frozen=True, kw_only=True):
    """What became of those who were refused."""

    refused: int
    """Requests that were refused when they came first."""
    given: int
    """Of these, how many got a ticket and came back with it."""
    served: int
    """Of those, how many were served then."""
    on_time: int
    """Of those, within the objective of the try that was served."""


class Overstatement(Struct, frozen=True):
    """Of one refused request: when it was told to come back and when it could have, both from its arrival on."""

    told_us: int
    oracle_us: int

    @property
    def borne(self) -> float:
        """The overstatement in units of what is borne; at most 1 is fine, below 0 it was told too early."""
        return (self.told_us - self.oracle_us) / max(SLACK_US, self.oracle_us * SLACK_PERCENT // 100)


def phases(function: SimFunction, *parts: Phase, seed: int, p99_over_p50: float = 1.5) -> Workload:
    """One function under Poisson arrivals whose rate changes, with lognormal execution times."""
    key, number, now_us = key_of(seed, "tickets", function.key), 0, 0.0
    times: list[int] = []
    begin_us = 0.0
    for part in parts:
        end_us, now_us = begin_us + part.for_s * 1e6, begin_us
        while True:
            now_us += float(exponentials(key, np.array([number]))[0]) * 1e6 / part.per_s
            number += 1
            if now_us >= end_us:
                break
            times.append(round(now_us))
        begin_us = end_us
    ratios = lognormals(key, np.arange(len(times)), p99_over_p50, lane=1)
    execs = np.maximum(np.rint(function.behaviour.median_us * ratios), 1).astype(np.int64)
    functions = np.zeros(len(times), np.int32)
    return arranged([function], np.array(times, np.int64), functions, execs, horizon_us=round(begin_us))


def played(workload: Workload, setup: Setup, returning: Returning) -> tuple[Outcomes, Returns]:
    """One run with clients that come back."""
    returns = Returns(returning)
    return simulate(workload, setup, returns), returns


def tickets(outcomes: Outcomes, returns: Returns, offered: int) -> Tickets:
    """What became of tickets, of all that came first among the first `offered` requests."""
    shown = list(returns.shown)
    served = [index for index in shown if outcomes.outcome[index] == _SERVED]
    took_us = outcomes.finish_us - outcomes.arrival_us
    return Tickets(
        refused=int(np.count_nonzero(outcomes.outcome[:offered] == _REFUSED)),
        given=len(shown),
        served=len(served),
        on_time=sum(bool(took_us[index] <= outcomes.slo_us[index]) for index in served),
    )


def overstatements(
    workload: Workload, setup: Setup, returning: Returning, *, every: int, steps: int = 6
) -> list[Overstatement]:
    """Of each `every`-th request that was refused when it came first and came back as it was told; `steps` replays."""
    oracle = _Oracle(workload, setup, returning)
    return [oracle.judge(index, steps) for index in oracle.refused[::every]]


class _Oracle:
    """One run, and what of it would have been otherwise had one client come back earlier."""

    def __init__(self, workload: Workload, setup: Setup, returning: Returning) -> None:
        self._workload = workload
        self._setup = setup
        self._returning = returning
        self._outcomes, self._returns = played(workload, setup, returning)
        self._second = {first: index for index, first in reversed(self._returns.first_of.items())}
        self.refused = [index for index in sorted(self._second) if index in self._returns.told]

    def judge(self, index: int, steps: int) -> Overstatement:
        """One that was refused again at the instant that it was told counts as told exactly right: it was no later."""
        arrival_us, told_us = int(self._outcomes.arrival_us[index]), self._returns.told[index].at_us
        low_us, high_us = arrival_us + MIN_RETRY_AFTER_US, told_us
        if self._outcomes.outcome[self._second[index]] == _REFUSED:
            low_us = high_us
        for _ in range(steps):
            if high_us - low_us < MIN_RETRY_AFTER_US:
                break
            middle_us = (low_us + high_us) // 2
            if self._would_be_taken(index, middle_us):
                high_us = middle_us
            else:
                low_us = middle_us
        return Overstatement(told_us - arrival_us, high_us - arrival_us)

    def _would_be_taken(self, index: int, at_us: int) -> bool:
        outcomes, returns = played(self._workload, self._setup, replace(self._returning, earlier={index: at_us}))
        came = next(other for other, first in returns.first_of.items() if first == index)
        return bool(outcomes.outcome[came] != _REFUSED)
