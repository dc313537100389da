"""The agents as the simulated gateway sees them, and how it says that there is something to plan. Decides nothing."""

from collections.abc import Mapping
from typing import Protocol

from stoker.agents_choice import Told
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
        self.told_us: dict[str, int] = {}
        """When it told that."""

    def hear(self, loads: Mapping[str, VariantLoad], now_us: int) -> None:
        """A frame: the flows that changed."""
        self.loads.update(loads)
        self.told_us.update(dict.fromkeys(loads, now_us))
        self.sent.clear()

    def said(self, key: str, now_us: int) -> Told:
        """Its last word on a flow that it has spoken of."""
        return Told(self.loads[key], self.sent.get(key, 0), now_us - self.told_us[key])


class Poke(Protocol):
    """Tells that there is something to plan; `load`: for functions that are warm, so it is not urgent."""

    def __call__(self, *, load: bool = False) -> None: ...
