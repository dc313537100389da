"""An agent as a simulated gateway asks it: not while it has said that it would refuse (stoker.closed_book).

What the live gateway does (stoker_gateway.closed_doors), less the load frames that reopen there.
"""

from typing import Protocol

from stoker.closed_book import Closed, ClosedBook
from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.turns import Turns
from stoker.wire.agent import WANT_PLACE, Refusal, VariantLoad
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.returns import Returns


class Refusing(Protocol):
    """An agent that remembers what it said last."""

    refused: Refusal | None

    @property
    def name(self) -> str: ...
    def load(self, key: str) -> VariantLoad: ...
    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None: ...


class ClosedDoor:
    """See the module. `closed` counts the requests that it refused unasked."""

    def __init__(self, agent: Refusing, agenda: Agenda, book: Book, returns: Returns | None = None) -> None:
        """`returns`: clients that come back, if any do."""
        self._agent = agent
        self._agenda = agenda
        self._book = book
        self._words = ClosedBook()
        self._returns = returns
        self._turns: dict[str, Turns] = {}
        self.closed = 0

    @property
    def name(self) -> str:
        return self._agent.name

    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None:
        """As the agent's, or its own word on another request. By flow, which says the variant too."""
        now_us, latency_us = self._agenda.now_us, objective_us - self._book.arrival_us[index]
        if not late_ok and said in ("", WANT_PLACE):
            word = self._words.find(key, Variant.GPU, objective_us=latency_us, due_us=objective_us, now_us=now_us)
            if word is not None and not word.renews(now_us):
                self.closed += 1
                self._tell(index, key, word, now_us)
                return Reason(word.refusal.reason)
        reason = self._agent.admit(index, key, objective_us, timeout_us, cold=cold, late_ok=late_ok, said=said)
        if reason is None:
            self._words.reopen(key, Variant.GPU)
        elif (refused := self._agent.refused) is not None and refused.reason == reason:
            self._words.note(
                key,
                Variant.GPU,
                refused,
                objective_us=latency_us,
                due_us=objective_us,
                sent_us=now_us,
                now_us=now_us,
            )
        return reason

    def _tell(self, index: int, key: str, word: Closed, now_us: int) -> None:
        if self._returns is None:
            return
        turns = self._turns.setdefault(key, Turns())
        at_us = word.come_back_us(turns, self._agent.load(key).step_us, now_us)
        if at_us is not None:
            self._returns.call_back(index, at_us, self.name)
