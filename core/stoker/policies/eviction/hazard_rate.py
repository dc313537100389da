"""`hazard-rate`: an idle resident stays for the minutes in which its function's next request is likely enough to come
(stoker.policies.prewarm.hazard_rate: rule, sources, and what is ours).

What the platform makes warm again (pre-warm policy HazardRate) leaves at the end of the first window, at once where the
first minute is in none; what was brought back for a window leaves with it. What nobody brings back stays for the one
time that saves most, which is the policy of Keshav et al.
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import ForATime
from stoker.policies.eviction.interface import IdleResident
from stoker.policies.prewarm import hazard_rate
from stoker.policies.prewarm.interface import ArrivalHistory

_NO_HISTORY = ArrivalHistory()


class HazardRate(ForATime):
    """While the rate is above the price."""

    name: ClassVar[str] = "hazard-rate"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.HAZARD_RATE
    learns: ClassVar[bool] = True

    def stays_us(self, resident: IdleResident) -> int:
        history = _NO_HISTORY if resident.history is None else resident.history
        price = hazard_rate.price(resident.share, resident.reload_us, self._params.wait_weight)
        if not resident.comes_back:
            return hazard_rate.holding_us(history, price)
        if resident.brought_back:
            return 0
        first = next(hazard_rate.windows(history, price), None)
        return 0 if first is None or first.begin_us else first.end_us
