"""Cron windows: the user says when replicas are to be warm (spec.scaling.preWarm.windows).

During a window minReplicas is at least `replicas`; it begins earlier by the start-up time, so that the first request in
the window finds a warm replica. Overlapping windows want the largest of their numbers.
"""

from functools import lru_cache
from typing import ClassVar

from stoker.errors import InvalidObject
from stoker.model.cron import Cron, following, latest, parse_cron
from stoker.model.function import PreWarmPolicy, PreWarmWindow
from stoker.policies.prewarm.interface import NOTHING, Forecast, Outlook

_MINUTE_US = 60_000_000


class CronWindows:
    """Warm when the user's windows say so."""

    name: ClassVar[PreWarmPolicy] = PreWarmPolicy.CRON
    learns: ClassVar[bool] = False

    def forecast(self, outlook: Outlook) -> Forecast:
        if not outlook.wall_us:
            return NOTHING
        firm, edges_us = 0, []
        for window in outlook.pre_warm.windows:
            cron = _parsed(window.cron)
            if cron is None:
                continue
            replicas, edge_us = _window(window, cron, outlook.wall_us, outlook.lead_us)
            firm = max(firm, replicas)
            if edge_us is not None:
                edges_us.append(edge_us)
        until_us = outlook.now_us + min(edges_us) - outlook.wall_us if edges_us else None
        return Forecast(firm=firm, until_us=until_us)


def _window(window: PreWarmWindow, cron: Cron, wall_us: int, lead_us: int) -> tuple[int, int | None]:
    """Replicas that the window wants now, and the wall time at which that may change."""
    ahead = (wall_us + lead_us) // _MINUTE_US
    began = latest(cron, ahead)
    next_minute = following(cron, ahead)
    edge_us = None if next_minute is None else next_minute * _MINUTE_US - lead_us
    # A later start ends later, so the latest one says whether any is open.
    if began is None or began * _MINUTE_US + window.duration_us <= wall_us:
        return 0, edge_us
    end_us = began * _MINUTE_US + window.duration_us
    return window.replicas, end_us if edge_us is None else min(end_us, edge_us)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Cron | None:
    """None for what is no expression: such a function is refused where it is decoded, and must not stop others here."""
    try:
        return parse_cron(text)
    except InvalidObject:
        return None
