"""One bus from host to device: what is under way shares it equally. Knows bytes only as the time they take alone."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from stoker_sim.engine.agenda import Agenda

_ONE = 1 << 20
"""A microsecond of undivided bus in the units of `_virtual`."""


class Bus:
    """Processor sharing in virtual time: it advances by 1/n of real time while n transfers are under way."""

    __slots__ = ("_agenda", "_ends", "_kind", "_sequence", "_settled_us", "_token", "_virtual")

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._kind = agenda.kind(self._on_end)
        self._ends: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._virtual = 0
        self._settled_us = 0
        self._sequence = 0
        self._token = 0

    def transfer(self, alone_us: int, arrived: Callable[[Any], None], subject: Any) -> None:
        """Move what takes `alone_us` on an idle bus; `arrived(subject)` is called when all of it is there."""
        self._settle()
        self._sequence += 1
        heappush(self._ends, (self._virtual + alone_us * _ONE, self._sequence, arrived, subject))
        self._expect()

    def _settle(self) -> None:
        now_us = self._agenda.now_us
        if self._ends:
            self._virtual += (now_us - self._settled_us) * _ONE // len(self._ends)
        self._settled_us = now_us

    def _expect(self) -> None:
        """Put the next end down; those put down before are outdated."""
        self._token += 1
        if self._ends:
            left = max(0, self._ends[0][0] - self._virtual) * len(self._ends)
            self._agenda.at(self._settled_us - (-left // _ONE), self._kind, self._token)

    def _on_end(self, token: int) -> None:
        if token != self._token:
            return
        self._settle()
        # Rounding may leave a trifle of the first one, whose time has come all the same.
        due = [heappop(self._ends)]
        while self._ends and self._ends[0][0] <= self._virtual:
            due.append(heappop(self._ends))
        self._expect()
        for _, _, arrived, subject in due:
            arrived(subject)
