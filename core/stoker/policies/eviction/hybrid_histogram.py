"""`hybrid-histogram`: an idle resident stays until its function's next request should have come (Shahrad et al.,
"Serverless in the Wild", ATC'20; stoker.policies.prewarm.histogram has the histogram and says what is left out of it,
the forecast by ARIMA above all).

It stays to the tail of the idle times that were seen; where they show nothing, for keepAlive.ttl. The paper unloads a
function until the head of its histogram and brings it back then: what the platform brings back (`comes_back`: pre-warm
policy Histogram) leaves at once where the head is not zero. Late binding brings nothing back, so there it stays.
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import ForATime
from stoker.policies.eviction.interface import IdleResident
from stoker.policies.prewarm.histogram import expected


class HybridHistogram(ForATime):
    """Until the tail."""

    name: ClassVar[str] = "hybrid-histogram"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.HYBRID_HISTOGRAM
    learns: ClassVar[bool] = True

    def stays_us(self, resident: IdleResident) -> int:
        windows = None if resident.history is None else expected(resident.history)
        if windows is None:
            return super().stays_us(resident)
        return 0 if resident.comes_back and windows.head_us > 0 else windows.tail_us
