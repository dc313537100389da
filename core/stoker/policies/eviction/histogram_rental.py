"""`histogram-rental` (ours): the hybrid histogram where it shows something, ski-rental where it does not.

Both halves are published (hybrid_histogram, ski_rental). The paper keeps a function of which its histogram says nothing
for 4 hours, whatever that holds; break-even instead keeps it for as long as holding it costs less than its start, so a
small function or one that is slow to start stays longer than a large one (docs/results/keep-alive.md compares them).
"""

from typing import ClassVar

from stoker.policies.eviction.bases import ForATime
from stoker.policies.eviction.hybrid_histogram import HybridHistogram
from stoker.policies.eviction.interface import DEFAULTS, EvictionParams, IdleResident
from stoker.policies.eviction.ski_rental import SkiRental
from stoker.policies.prewarm.histogram import expected


class HistogramRental(ForATime):
    """Until the tail, or else until the break-even point."""

    name: ClassVar[str] = "histogram-rental"
    learns: ClassVar[bool] = True

    def __init__(self, params: EvictionParams = DEFAULTS) -> None:
        super().__init__(params)
        self._histogram = HybridHistogram(params)
        self._rental = SkiRental(params)

    def stays_us(self, resident: IdleResident) -> int:
        shown = resident.history is not None and expected(resident.history) is not None
        return (self._histogram if shown else self._rental).stays_us(resident)
