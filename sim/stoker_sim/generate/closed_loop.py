"""Closed loops: clients that wait for the answer, think, and ask again. The engine drives them by these draws.

A draw hangs on (seed, function, client, number of its request) alone, so that under every policy the same client's
n-th request takes the same time, whenever it comes.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stoker_sim.draws import exponentials, key_of, lognormals
from stoker_sim.workload import ClosedLoop, SimFunction, Workload

BLOCK = 256
"""Requests of one client that are drawn at a time."""


class Next(Struct, frozen=True):
    """The next request of a client."""

    think_us: int
    """After the answer to the one before it; from 0 for the first."""
    exec_us: int
    """On the reference product."""


class Client:
    """One client of a closed loop: an endless sequence of requests."""

    __slots__ = ("_key", "_loop", "_median_us", "_number", "_ready")

    def __init__(self, loop: ClosedLoop, function: SimFunction, client: int) -> None:
        self._loop = loop
        self._key = key_of(loop.seed, "closed", f"{function.key}#{client}")
        self._median_us = function.behaviour.median_us
        self._number = 0
        self._ready: list[Next] = []

    def next(self) -> Next:
        """What it asks for next."""
        if not self._ready:
            number = np.arange(self._number, self._number + BLOCK)
            think = np.rint(self._loop.think_us * exponentials(self._key, number)).astype(np.int64)
            ratio = lognormals(self._key, number, self._loop.p99_over_p50, lane=1)
            execs = np.maximum(np.rint(self._median_us * ratio), 1).astype(np.int64)
            self._ready = [Next(t, e) for t, e in zip(think.tolist(), execs.tolist(), strict=True)][::-1]
            self._number += BLOCK
        return self._ready.pop()


def clients_of(workload: Workload) -> list[tuple[int, Client]]:
    """Every client of the workload's closed loops, with the index of its function."""
    return [
        (loop.function, Client(loop, workload.functions[loop.function], client))
        for loop in workload.closed
        for client in range(loop.clients)
    ]


def closed_loop(functions: Sequence[SimFunction], loops: Sequence[ClosedLoop], horizon_us: int) -> Workload:
    """A workload of closed loops only."""
    return Workload(
        functions=tuple(functions),
        time_us=np.empty(0, np.int64),
        function=np.empty(0, np.int32),
        exec_us=np.empty(0, np.int64),
        horizon_us=horizon_us,
        closed=tuple(loops),
        source="generated",
        arrival_notes=(f"{sum(loop.clients for loop in loops)} clients in closed loops",),
    )
