"""Executions on devices, from their begin to their true end, with the slowdown that neighbours cause.

Without slowdowns an execution is one event. With them each device's executions share time in whole millionths: when
one begins or ends the others' remaining work is settled at the old pace and their ends are put down anew. A request
whose timeout passes while it runs is answered then; its slot is held to the end of the work. Knows no queue.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from stoker.model.request import QueuedRequest
from stoker.reasons import Outcome, Reason
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.setup import Slowdowns

_FULL = 1_000_000
"""The pace of an execution that runs alone."""
_NEVER = -1


class Run(Struct, eq=False):
    """One dispatched request. A Struct because half of what a plain class costs is its constructor."""

    request: QueuedRequest
    index: int
    place: Any
    """Whatever it occupies; its owner knows what that is."""
    device: int
    dispatched_us: int
    begun_us: int
    """When its function was resident and it began to compute."""
    end_us: int = _NEVER
    cut: bool = False
    """Its timeout passed while it ran."""
    in_flight: int = 1
    """Executions on its device at its dispatch, its own included."""
    expected_us: int = 0
    """Predicted time from when it was queued to its end, given what ran before it; 0: not known."""
    since_us: int = 0
    """When it was queued."""


class _Pace:
    """How far a run has come, where neighbours slow it."""

    __slots__ = ("left", "pace", "run", "settled_us", "victim")

    def __init__(self, run: Run, victim: str, work_us: int, now_us: int) -> None:
        self.run = run
        self.victim = victim
        """Its interference class."""
        self.left = work_us * _FULL
        """Work, in microseconds at full pace times _FULL, at `settled_us`."""
        self.pace = _FULL
        self.settled_us = now_us


class Execution:
    """Tells `ended` of each run at its true end, after the request was answered."""

    __slots__ = ("_active", "_agenda", "_book", "_cut", "_end", "_ended", "_slowdowns")

    def __init__(self, agenda: Agenda, book: Book, slowdowns: Slowdowns | None, ended: Callable[[Run], None]) -> None:
        self._agenda = agenda
        self._book = book
        self._slowdowns = slowdowns
        self._ended = ended
        self._active: dict[int, list[_Pace]] = {}
        self._end = agenda.kind(self._on_end)
        self._cut = agenda.kind(self._on_cut)

    def watch_timeout(self, run: Run) -> None:
        """Answer it at its timeout should it still run then. For runs whose end is not known at dispatch."""
        self._agenda.at(run.request.timeout_us, self._cut, run)

    def begin(self, run: Run, work_us: int, interference: str) -> None:
        """It computes from now on, for `work_us` if nothing slows it. `interference`: its class in the table."""
        agenda = self._agenda
        run.begun_us = now_us = agenda.now_us
        if self._slowdowns is not None:
            self._active.setdefault(run.device, []).append(_Pace(run, interference, work_us, now_us))
            if not run.cut:
                agenda.at(run.request.timeout_us, self._cut, run)
            self._repace(run.device, self._slowdowns)
            return
        run.end_us = end_us = now_us + work_us
        agenda.at(end_us, self._end, run)
        if end_us > run.request.timeout_us and not run.cut:
            agenda.at(run.request.timeout_us, self._cut, run)

    def kill(self, run: Run) -> None:
        """It ends now, without an answer of its function and without `ended`."""
        self._leave(run)
        if not run.cut:
            self._book.end(run.index, Outcome.FAILED, Reason.REPLICA_FAILED, self._agenda.now_us)

    def _on_end(self, run: Run) -> None:
        now_us = self._agenda.now_us
        if run.end_us != now_us:
            return  # it was put down anew
        if self._slowdowns is not None:
            self._leave(run)
        else:
            run.end_us = _NEVER
        if not run.cut:
            self._book.serve(run.index, now_us)
        self._ended(run)

    def _on_cut(self, run: Run) -> None:
        if run.end_us == self._agenda.now_us:
            return  # it ends at this very instant, and is on time for it
        if not run.cut and self._book.is_open(run.index):
            run.cut = True
            self._book.end(run.index, Outcome.EXPIRED, Reason.TIMEOUT, self._agenda.now_us)

    def _leave(self, run: Run) -> None:
        run.end_us = _NEVER
        if self._slowdowns is None:
            return
        active = self._active.get(run.device, [])
        self._active[run.device] = [pace for pace in active if pace.run is not run]
        self._repace(run.device, self._slowdowns)

    def _repace(self, device: int, slowdowns: Slowdowns) -> None:
        now_us, active = self._agenda.now_us, self._active[device]
        for pace in active:
            pace.left -= (now_us - pace.settled_us) * pace.pace
            pace.settled_us = now_us
            slowed = 1.0
            for other in active:
                if other is not pace:
                    slowed *= slowdowns.factor(pace.victim, other.victim)
            pace.pace = max(1, round(_FULL / slowed))
            end_us = now_us - (-max(0, pace.left) // pace.pace)
            if end_us != pace.run.end_us:
                pace.run.end_us = end_us
                self._agenda.at(end_us, self._end, pace.run)
