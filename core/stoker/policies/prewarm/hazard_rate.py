"""The hazard rate of idleness: a function is warm in those minutes in which its next request is likely enough to come.

A minute of idleness costs the part of a device that a replica keeps from others; being warm in it saves a start with
the chance h(k) = P(the request comes in minute k | it did not come before). So it is worth being warm in minute k where
h(k) is at least the price of a minute in starts. One rule gives a keep-alive where requests come soon, and several
windows of pre-warming where they come by the clock: a start takes seconds and a minute sixty, so each minute can be
decided by itself. Until an idle time was seen the function stays to the break-even point of ski-rental, whose prices
these are (stoker.policies.eviction.ski_rental).

Sources: S. Keshav, C. Lund, S. Phillips, N. Reingold and H. Saran, "An empirical evaluation of virtual circuit holding
time policies in IP-over-ATM networks" (JSAC 1995), hold a circuit by the histogram of its idle times; the bins and the
reach are those of Shahrad et al. (stoker.policies.prewarm.histogram, which folds the history). Ours: windows instead of
one holding time; each idle time counts in the minutes beside its own too, since arrivals jitter; and a prior,
P(idle for longer than k minutes) = KNEE / (KNEE + k), that counts as PRIOR_GAPS idle times. KNEE, PRIOR_GAPS and the
quarters were chosen on the functions of even number of the Azure sample, of 19 settings (docs/results/keep-alive.md).
"""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import ClassVar

from msgspec import Struct

from stoker.model.function import PreWarmPolicy
from stoker.policies.prewarm.histogram import BIN_US, BINS
from stoker.policies.prewarm.interface import LEAST_SHARE, NOTHING, ArrivalHistory, Forecast, Outlook

KNEE = 10
"""Minutes after which half of the requests would have come, had nothing been seen."""
PRIOR_GAPS = 2
_SPREAD = ((-1, 1), (0, 2), (1, 1))
"""Quarters of an idle time by the distance to its minute. Those of minute 0 stay there: such requests are a burst."""
_WHOLE = 4
_PRIOR = _WHOLE * PRIOR_GAPS * KNEE


class Window(Struct, frozen=True):
    """A time to be warm in, counted from the end of the last activity."""

    begin_us: int
    end_us: int


class HazardRate:
    """Warm in every minute that is worth it."""

    name: ClassVar[PreWarmPolicy] = PreWarmPolicy.HAZARD_RATE
    learns: ClassVar[bool] = True

    def forecast(self, outlook: Outlook) -> Forecast:
        last_us, keep_max_us = outlook.history.last_us, outlook.keep_max_us
        if last_us is None or keep_max_us == 0:
            return NOTHING
        for window in windows(outlook.history, price(outlook.share, outlook.start_us, outlook.wait_weight)):
            begin_us, end_us = last_us + window.begin_us, last_us + window.end_us
            if keep_max_us is not None:
                end_us = min(end_us, begin_us + keep_max_us)
            if window.begin_us:
                begin_us -= outlook.lead_us
            if outlook.now_us < begin_us:
                return Forecast(until_us=begin_us)
            if outlook.now_us < end_us:
                return Forecast(weak=1, until_us=end_us)
        return NOTHING


def price(share: float, start_us: int, wait_weight: int) -> float:
    """What a minute of idleness costs, in starts. `wait_weight`: see EvictionParams."""
    return BIN_US * max(LEAST_SHARE, share) / (wait_weight * max(1, start_us))


def windows(history: ArrivalHistory, price: float) -> Iterator[Window]:
    """The times that are worth it at that price, none touching the next. They end where the histogram does."""
    if not history.counts and not history.beyond:
        yield Window(0, min(BINS * BIN_US, int(BIN_US / price)))
        return
    begin = end = 0
    for first, beyond in _worth(_spread(history), _WHOLE * history.beyond, price):
        if first != end:
            if begin < end:
                yield Window(begin * BIN_US, end * BIN_US)
            begin = first
        end = beyond
    if begin < end:
        yield Window(begin * BIN_US, end * BIN_US)


def holding_us(history: ArrivalHistory, price: float) -> int:
    """The best time to stay for one that nobody makes warm again: what it saves less what it costs is largest there.

    That is at the end of a window: every minute inside one gains, and every other loses.
    """
    seen = _spread(history)
    if not seen and not history.beyond:
        return next(windows(history, price)).end_us
    best, stays_us = 0.0, 0
    for window in windows(history, price):
        end = window.end_us // BIN_US
        saved = _survival(0) - _survival(end)
        held = _PRIOR_HELD[end] + _WHOLE * history.beyond * end
        for minute, quarters in seen.items():
            saved += quarters if minute < end else 0
            held += quarters * min(minute + 1, end)
        if saved - price * held > best:
            best, stays_us = saved - price * held, window.end_us
    return stays_us


def rate(history: ArrivalHistory, minute: int) -> float:
    """h(minute), as it is taken here."""
    seen = _spread(history)
    left = sum(quarters for at, quarters in seen.items() if at >= minute) + _WHOLE * history.beyond
    return (seen.get(minute, 0) + _chance(minute)) / (left + _survival(minute))


def _worth(seen: dict[int, int], beyond: int, price: float) -> Iterator[tuple[int, int]]:
    """Minutes that are worth being warm in, as ranges that rise and may touch."""
    left = sum(seen.values()) + beyond
    minute = 0
    for at in (*sorted(seen), BINS):
        # Between minutes that were seen the rate only falls.
        until = min(at, _prior_until(left, price))
        if minute < until:
            yield minute, until
        if at < BINS:
            if seen[at] + _chance(at) >= price * (left + _survival(at)):
                yield at, at + 1
            left -= seen[at]
        minute = at + 1


def _spread(history: ArrivalHistory) -> dict[int, int]:
    """Idle times by minute, in quarters."""
    found: dict[int, int] = {}
    for minute, count in history.counts.items():
        if minute == 0:
            found[0] = found.get(0, 0) + _WHOLE * count
            continue
        for off, quarters in _SPREAD:
            at = min(BINS - 1, minute + off)
            found[at] = found.get(at, 0) + quarters * count
    return found


def _survival(minute: int) -> float:
    """Of the prior, in quarters of idle times: those that last until the minute."""
    return _PRIOR / (KNEE + minute)


def _chance(minute: int) -> float:
    """Of the prior, in quarters of idle times: those that end in the minute."""
    return _PRIOR / ((KNEE + minute) * (KNEE + minute + 1))


def _prior_until(left: int, price: float) -> int:
    """The first minute for which the prior's chance is not worth it, where `left` quarters last longer.

    Worth it is _PRIOR / (x (x + 1)) >= price (left + _PRIOR / x) with x = KNEE + minute: a square inequality.
    """
    least = price * (left + _PRIOR)
    root = math.sqrt(least * least + 4 * price * left * max(0.0, 1 - price) * _PRIOR)
    largest = 2 * max(0.0, 1 - price) * _PRIOR / (least + root)
    return max(0, min(BINS, math.floor(largest) - KNEE + 1))


_PRIOR_HELD = tuple(accumulate(map(_survival, range(BINS)), initial=0.0))
"""Of the prior, in quarters: minutes that are held up to each minute when all of them are."""
