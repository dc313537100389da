"""Closed-loop clients: each sends its next request when it has thought about the answer to its last one.

No client sends after the horizon. One that was not served comes back after the least retry time at the earliest.
"""

from collections.abc import Callable

from stoker.admission import MIN_RETRY_AFTER_US
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.generate.closed_loop import Client, clients_of
from stoker_sim.workload import Workload


class Clients:
    """All clients of a workload. `answered(index)` is to be called of every answer."""

    def __init__(self, workload: Workload, agenda: Agenda, book: Book, arrive: Callable[[int], None]) -> None:
        self._agenda = agenda
        self._book = book
        self._arrive = arrive
        self._horizon_us = workload.horizon_us
        self._slo_us = [function.definition.spec.slo.latency_us for function in workload.functions]
        self._owners: list[tuple[int, Client]] = []
        """Of each request that was added to the book."""
        self._send = agenda.kind(self._on_send)
        self._exec_us: dict[Client, int] = {}
        for function, client in clients_of(workload):
            self._think(function, client, 0)

    def answered(self, index: int) -> None:
        """A request got its answer."""
        if index < self._book.offered:
            return
        function, client = self._owners[index - self._book.offered]
        self._think(function, client, 0 if self._book.reason[index] < 0 else MIN_RETRY_AFTER_US)

    def _think(self, function: int, client: Client, least_us: int) -> None:
        following = client.next()
        self._exec_us[client] = following.exec_us
        self._agenda.at(self._agenda.now_us + max(following.think_us, least_us), self._send, (function, client))

    def _on_send(self, subject: tuple[int, Client]) -> None:
        now_us, (function, client) = self._agenda.now_us, subject
        if now_us < self._horizon_us:
            self._owners.append(subject)
            self._arrive(self._book.add(now_us, function, self._exec_us[client], self._slo_us[function]))
