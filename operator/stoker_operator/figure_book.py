"""How functions fare, as their status says it, and which of them have something new to say. Decides nothing."""

from collections.abc import Mapping

from msgspec.structs import replace

from stoker.model.function import Function
from stoker_operator.agent_board import AgentBoard
from stoker_operator.cost_board import CostBoard
from stoker_operator.slo_board import SloBoard, merged_profiles
from stoker_operator.status_form import Figures

TELL_S = 10.0
"""How often figures are looked at: a status is not written more often for them."""


class FigureBook:
    """`moved` now and then, `of` whenever a status is made."""

    def __init__(self, slo: SloBoard, agents: AgentBoard, costs: CostBoard) -> None:
        self._slo = slo
        self._costs = costs
        self._agents = agents
        self._last: dict[str, Figures] = {}

    def of(self, key: str) -> Figures:
        """As of the last look; what cost forbids as of the last plan."""
        return replace(self._last.get(key, Figures()), cost=self._costs.figure(key))

    def moved(self, functions: Mapping[str, Function], now_us: int) -> list[str]:
        """Look again; the functions whose figures are others than at the last look."""
        self._slo.keep_only(functions)
        self._costs.look(now_us)
        start_us, profiles = self._agents.start_us(), self._agents.profiles()
        figures: dict[str, Figures] = {}
        # Those that were called, and those of which something was measured before the gateways began.
        for key in {*self._slo.functions(), *profiles, *self._costs.functions()} & functions.keys():
            attained = self._slo.attainment(key, now_us)
            start_ms = {variant: took_us // 1000 for variant, took_us in start_us.get(key, {}).items()}
            figures[key] = Figures(
                attainment=None if attained is None else attained.percent,
                diverted=None if attained is None else attained.diverted_percent,
                slo_met=None if attained is None else attained.condition(functions[key].spec.slo.percentile),
                cost=self._costs.figure(key),
                profile=tuple(merged_profiles(profiles.get(key, ()), start_ms)),
            )
        before, self._last = self._last, figures
        looked_at = (before.keys() | figures.keys()) & functions.keys()
        return sorted(key for key in looked_at if before.get(key) != figures.get(key))
