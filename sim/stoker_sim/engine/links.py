"""The agents as the simulated gateway sees them, and how it says that there is something to plan. Decides nothing."""

from typing import Protocol

from stoker.reasons import Reason
from stoker.wire.agent import VariantLoad


class Admitting(Protocol):
    """An agent as the gateway sees it."""

    @property
    def name(self) -> str: ...
    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None: ...


class Link:
    """One agent: what it told last, and what was sent to it since."""

    def __init__(self, agent: Admitting) -> None:
        self.agent = agent
        self.loads: dict[str, VariantLoad] = {}
        """By flow."""
        self.sent: dict[str, int] = {}


class Poke(Protocol):
    """Tells that there is something to plan; `load`: for functions that are warm, so it is not urgent."""

    def __call__(self, *, load: bool = False) -> None: ...
