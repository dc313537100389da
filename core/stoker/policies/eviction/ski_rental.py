"""`ski-rental` and `ski-rental-random`: an idle resident stays until it has cost as much as a start would.

The ski-rental problem: holding is rent, starting again is the price of the skis, and nobody knows when the next request
comes. Deterministic: A. R. Karlin, M. S. Manasse, L. Rudolph and D. D. Sleator, "Competitive snoopy caching"
(Algorithmica 1988): leave at the break-even point B; no gap costs more than 2 times its optimum min(gap, B). Random:
A. R. Karlin, M. S. Manasse, L. A. McGeoch and S. Owicki, "Competitive randomized algorithms for nonuniform problems"
(SODA 1990): leave after x in [0, B] with density e^(x/B) / (B (e - 1)), which costs e/(e - 1) = 1.58 times the optimum
in expectation, and no algorithm costs less; x = B ln(1 + u (e - 1)) for a uniform u.

Ours, the prices: an idle microsecond costs the part of the device that the resident keeps from others; a start costs
what it makes a user wait, at EvictionParams.wait_weight. So B = wait_weight * start / share.
"""

import math
import zlib
from typing import ClassVar

from stoker.draws import Draws
from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import ForATime
from stoker.policies.eviction.interface import IdleResident
from stoker.policies.prewarm.interface import LEAST_SHARE

_WORD = float(1 << 64)


class SkiRental(ForATime):
    """Until the break-even point."""

    name: ClassVar[str] = "ski-rental"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.SKI_RENTAL

    def stays_us(self, resident: IdleResident) -> int:
        return int(self._params.wait_weight * resident.reload_us / max(LEAST_SHARE, resident.share))


class SkiRentalRandom(SkiRental):
    """Until a time before it that is drawn for each idle period, from the seed, the flow and the period's number."""

    name: ClassVar[str] = "ski-rental-random"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.SKI_RENTAL_RANDOM
    draws: ClassVar[bool] = True

    def stays_us(self, resident: IdleResident) -> int:
        # Three streams become one number: neighbouring periods and flows must not draw alike.
        own = Draws((zlib.crc32(resident.flow.encode()) << 32) ^ self._params.seed).bits()
        drawn = Draws(own ^ resident.episode).bits() / _WORD
        return int(super().stays_us(resident) * math.log1p(drawn * (math.e - 1)))
