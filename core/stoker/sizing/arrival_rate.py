"""How fast requests come for one variant of a function: counts by interval, folded from a counter of arrivals.

What is sized for is a high percentile of the rate, not its mean (as llm-d's autoscaler does, which reports 95.8 % of
requests within their objective by the 90th percentile and 84.7 % by the mean: llm-d-autoscaling#1376; all lengths are
ours): a lull shorter than LOOK_BACK_US does not lower it. A rise shows at once in the recent rate, less what chance may
have added to it, so that nobody waits for a whole interval. It knows no clock: whoever plans tells the time, and keeps
the history between two plans.
"""

from math import ceil, sqrt

from msgspec import Struct

BUCKET_US = 1_000_000
GROUP = 10
"""Buckets of one interval whose rate counts. Shorter ones would mostly show chance: of 5 arrivals a second, the 90th
percentile over intervals of 10 s is 18 % more than the mean, over those of 1 s it is 60 % more."""
GROUPS = 10
"""Intervals that are looked back on."""
LOOK_BACK_US = GROUPS * GROUP * BUCKET_US
RANK = 0.9
"""Of the rates of the intervals, nearest rank."""
CHANCE = 2.0
"""Standard deviations of a Poisson count that a recent rate is lowered by: one look in forty overstates it, and one in
hundreds by more than the peak does."""


class ArrivalRates(Struct, frozen=True, kw_only=True):
    """The history of one variant. Times are the plan's, in microseconds."""

    told: int
    """The counter as last seen."""
    at_us: int
    """Until when arrivals are counted in."""
    began_us: int
    bucket_us: int
    """Begin of the bucket that is not complete."""
    current: int = 0
    """Arrivals in it."""
    recent: tuple[int, ...] = ()
    """The last complete buckets, at most GROUP, the newest last."""
    phase: int = 0
    """How many of them belong to the interval that is not complete."""
    groups: tuple[int, ...] = ()
    """Arrivals in the last complete intervals, at most GROUPS, the newest last."""


def begin(told: int, arrivals: int, now_us: int) -> ArrivalRates:
    """A history that begins with `arrivals` at once; `told` is the counter."""
    return ArrivalRates(told=told, at_us=now_us, began_us=now_us, bucket_us=now_us, current=arrivals)


def learn(rates: ArrivalRates, told: int, arrivals: int, now_us: int) -> ArrivalRates:
    """With `arrivals` since `rates.at_us`, taken as spread evenly over that time. Begins anew where nothing was learnt
    for the whole look-back.
    """
    if now_us - rates.at_us >= LOOK_BACK_US or now_us < rates.at_us:
        return begin(told, arrivals, now_us)
    at_us, bucket_us, current = rates.at_us, rates.bucket_us, rates.current
    recent, phase, groups = rates.recent, rates.phase, rates.groups
    left = arrivals
    while now_us - bucket_us >= BUCKET_US:
        end_us = bucket_us + BUCKET_US
        share = left * (end_us - at_us) // (now_us - at_us) if now_us > at_us else left
        left -= share
        recent = (*recent, current + share)[-GROUP:]
        at_us, bucket_us, current = end_us, end_us, 0
        phase += 1
        if phase == GROUP:
            groups, phase = (*groups, sum(recent))[-GROUPS:], 0
    return ArrivalRates(
        told=told,
        at_us=now_us,
        began_us=rates.began_us,
        bucket_us=bucket_us,
        current=current + left,
        recent=recent,
        phase=phase,
        groups=groups,
    )


def peak_per_s(rates: ArrivalRates) -> float:
    """The rate that RANK of the complete intervals do not exceed; 0 before there is one."""
    if not rates.groups:
        return 0.0
    ordered = sorted(rates.groups)
    return ordered[ceil(RANK * len(ordered)) - 1] / (GROUP * BUCKET_US / 1e6)


def recent(rates: ArrivalRates, buckets: int) -> tuple[int, int]:
    """Arrivals in the last complete buckets (1 to GROUP, as far as there are) and in the one that is not complete, and
    how long those are, in microseconds.
    """
    complete = rates.recent[-buckets:]
    return rates.current + sum(complete), rates.at_us - rates.bucket_us + len(complete) * BUCKET_US


def recent_per_s(rates: ArrivalRates, buckets: int, chance: float = CHANCE) -> float:
    """The rate in that time less `chance` standard deviations: what it is at least. 0 of less than a bucket."""
    count, length_us = recent(rates, buckets)
    return max(0.0, count - chance * sqrt(count)) / (length_us / 1e6) if length_us >= BUCKET_US else 0.0
