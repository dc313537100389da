"""Rates that fall with rank by Zipf's law, as tenants' do.

KaaS' benchmarks take the exponent 1.8 and let the most popular tenant have at most 20 times the rate of the least
(research code of arXiv 2212.08146; see traces.kaas).
"""

import numpy as np
from numpy.typing import NDArray

from stoker_sim.workload import BadWorkload

EXPONENT = 1.8


def zipf_rates(
    count: int, total_per_second: float, exponent: float = EXPONENT, most_over_least: float | None = None
) -> NDArray[np.float64]:
    """The rates of `count` functions, the first the highest, that add up to the total.

    `most_over_least`: rates below the first one divided by this are lifted to it, before they are made to add up.
    """
    if count < 1 or total_per_second <= 0 or (most_over_least is not None and most_over_least < 1):
        raise BadWorkload("Zipf's law needs a function, a total above 0 and a ratio of at least 1")
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    if most_over_least is not None:
        weights = np.maximum(weights, weights[0] / most_over_least)
    rates: NDArray[np.float64] = total_per_second * weights / weights.sum()
    return rates
