"""Clients of open loops that were refused and come back when they were told to, with the place that they got.

Each further try is a request of its own in the book; which one it was at first is kept here. What a client is told is
the agent's word (stoker.slots.coming_back).
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from stoker.wire.agent import Refusal
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book


class Returning(Struct, frozen=True, kw_only=True):
    """How clients behave."""

    tries: int = 1
    """So often each comes back at most."""
    tickets: bool = True
    """They bring the ticket that they got."""
    late_us: int = 1_000
    """So long after the instant that they were told (ours: a round trip and a timer)."""
    earlier: Mapping[int, int] = {}
    """For an oracle: when these requests, by index, come back for the first time instead, without a place."""


class Told(Struct, frozen=True):
    """What a refused request was told."""

    at_us: int
    agent: str
    place: str = ""
    """Empty: it got none."""


class Returns:
    """One run's; give it to simulate(), and read it afterwards."""

    def __init__(self, returning: Returning) -> None:
        self._returning = returning
        self.told: dict[int, Told] = {}
        """By index of the request that was refused."""
        self.first_of: dict[int, int] = {}
        """Of each further try: the index of the request that came first."""
        self.shown: dict[int, Told] = {}
        """Of each further try that came with a place: which one."""
        self._tries: dict[int, int] = {}
        self.pending = 0
        """Clients that will come back."""

    def begin(self, agenda: Agenda, book: Book, arrive: Callable[[int], None]) -> None:
        """A run begins, of which `arrive` is called with each further try."""
        self._agenda = agenda
        self._book = book
        self._arrive = arrive
        self._again = agenda.kind(self._on_again)

    def tell(self, index: int, refusal: Refusal, agent: str) -> None:
        """An agent refused a request; it may still be taken elsewhere."""
        if refusal.retry_after_ms is not None:
            self.call_back(index, self._agenda.now_us + refusal.retry_after_ms * 1000, agent, refusal.ticket)

    def call_back(self, index: int, at_us: int, agent: str, place: str = "") -> None:
        """It was told this instant; one that has a place keeps that."""
        known = self.told.get(index)
        if known is None or not known.place:
            self.told[index] = Told(at_us, agent, place)

    def answered(self, index: int) -> None:
        """A request got its answer."""
        told = self.told.get(index)
        first = self.first_of.get(index, index)
        tries = self._tries.get(first, 0)
        if told is None or self._book.reason[index] < 0 or tries >= self._returning.tries:
            return
        self._tries[first] = tries + 1
        earlier_us = self._returning.earlier.get(index)
        at_us = told.at_us + self._returning.late_us if earlier_us is None else earlier_us
        self.pending += 1
        self._agenda.at(at_us, self._again, index)

    def _on_again(self, index: int) -> None:
        self.pending -= 1
        book = self._book
        new = book.add(self._agenda.now_us, book.function[index], book.exec_us[index], book.slo_us[index])
        self.first_of[new] = self.first_of.get(index, index)
        told = self.told[index]
        if told.place and self._returning.tickets and index not in self._returning.earlier:
            self.shown[new] = told
        self._arrive(new)
