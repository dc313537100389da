"""The hybrid histogram policy (Shahrad et al., "Serverless in the Wild", ATC'20), without its time-series forecast.

Idle times go into one-minute bins up to four hours. The 5th percentile of them (the head, rounded down) is when the
next arrival comes at the earliest, the 99th (the tail, rounded up) when at the latest, each with a margin of 10 %. With
a head of zero the replica stays until the tail; otherwise it may go at once and is back from the head to the tail.
Where the histogram says little (few samples, half of them beyond four hours, or flat: coefficient of variation of the
bins below 2, as in the paper) nothing is predicted and the fixed keep-alive holds; the paper's ARIMA is left out.
"""

from typing import ClassVar

from msgspec import Struct

from stoker.model.function import PreWarmPolicy
from stoker.policies.prewarm.interface import NOTHING, ArrivalHistory, Forecast, Outlook

BIN_US = 60_000_000
BINS = 240
MIN_SAMPLES = 10
HEAD, TAIL = 0.05, 0.99
HEAD_MARGIN, TAIL_MARGIN = 0.9, 1.1
MIN_VARIATION = 2.0
MAX_BEYOND = 0.5
REMEMBERED = 4096
"""Samples after which all counts are halved, so that old habits fade."""


class Windows(Struct, frozen=True):
    """When the next arrival is expected, counted from the end of the last activity."""

    head_us: int
    tail_us: int


class HybridHistogram:
    """Warm from the head to the tail of the idle times that were seen."""

    name: ClassVar[PreWarmPolicy] = PreWarmPolicy.HISTOGRAM
    learns: ClassVar[bool] = True

    def forecast(self, outlook: Outlook) -> Forecast:
        windows, last_us, keep_max_us = expected(outlook.history), outlook.history.last_us, outlook.keep_max_us
        if windows is None or last_us is None or keep_max_us == 0:
            return NOTHING
        begin_us = last_us + windows.head_us - (outlook.lead_us if windows.head_us else 0)
        # It is idle since the last activity, or else since it was brought back at the head.
        stays_us = windows.tail_us - windows.head_us
        end_us = last_us + windows.head_us + (stays_us if keep_max_us is None else min(stays_us, keep_max_us))
        if outlook.now_us < begin_us:
            return Forecast(until_us=begin_us)
        return Forecast(weak=1, until_us=end_us) if outlook.now_us < end_us else NOTHING


def learn(history: ArrivalHistory, woken_us: int | None, now_us: int, *, busy: bool) -> ArrivalHistory:
    """Fold in the last arrival (if it is a new one) and whether there is work now. The same facts twice count once."""
    counts, beyond = history.counts, history.beyond
    last_us, counted_us = history.last_us, history.woken_us
    if woken_us is not None and (counted_us is None or woken_us > counted_us):
        if last_us is not None:
            minute = max(0, woken_us - last_us) // BIN_US
            if minute < BINS:
                counts = {**counts, minute: counts.get(minute, 0) + 1}
            else:
                beyond += 1
            if sum(counts.values()) + beyond > REMEMBERED:
                counts = {minute: count // 2 for minute, count in counts.items() if count > 1}
                beyond //= 2
        counted_us = woken_us
        last_us = woken_us if last_us is None else max(last_us, woken_us)
    if busy and last_us is not None:
        last_us = max(last_us, now_us)
    if (last_us, counted_us) == (history.last_us, history.woken_us):
        return history
    return ArrivalHistory(counts=counts, beyond=beyond, last_us=last_us, woken_us=counted_us)


def expected(history: ArrivalHistory) -> Windows | None:
    """The windows that the history shows; None where it shows none."""
    inside = sum(history.counts.values())
    total = inside + history.beyond
    if (
        total < MIN_SAMPLES
        or history.beyond >= MAX_BEYOND * total
        or _variation(history.counts, inside) < MIN_VARIATION
    ):
        return None
    head = _percentile(history.counts, HEAD * inside)
    tail = _percentile(history.counts, TAIL * inside) + 1
    return Windows(int(head * BIN_US * HEAD_MARGIN), int(tail * BIN_US * TAIL_MARGIN))


def _variation(counts: dict[int, int], inside: int) -> float:
    """Standard deviation over mean of the counts of all bins."""
    mean = inside / BINS
    variance = sum(count * count for count in counts.values()) / BINS - mean * mean
    return float(max(0.0, variance) ** 0.5 / mean)


def _percentile(counts: dict[int, int], rank: float) -> int:
    """The minute in which the sample of that rank lies."""
    seen, last = 0, 0
    for minute in sorted(counts):
        seen += counts[minute]
        last = minute
        if seen >= rank and seen > 0:
            break
    return last
