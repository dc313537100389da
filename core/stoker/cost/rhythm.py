"""When to be warm for a bound that does not pay for it all the hour: at the ages of idleness that are worth most.

Of a function is kept how long it had nothing to do before each request of the last hour. A second of being warm at some
age of idleness costs a second where the request did not come before, and serves with the chance that it comes then: the
hazard rate, as in stoker.policies.prewarm.hazard_rate, which weighs it against a price for waiting. Here nobody names a
price: ages are taken from the highest rate down for as long as the bound pays for them, if the next hour is as the last
one. Requests that come soon after one another so give a time to stay, and those that come by the clock one to be back.
Where they come without a rhythm nothing is said.

Ours: an idle time counts from 10 % and two seconds below it to as much above, since arrivals jitter, and one that lasts
longer than all that were seen is always thought possible. Pure; numbers in, numbers out.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from stoker.cost.prices import HOUR_US
from stoker.policies.prewarm.hazard_rate import Window

LEAST_GAPS = 3
"""Before so many idle times nothing is known."""
MOST_GAPS = 64
"""The latest of the hour."""
YOUNG_US = 1_200_000_000
"""A history that is younger says as much as if it were as old as this: a burst is not taken for an hour of its like."""
_KNEE_US = 600_000_000
"""One idle time is thought possible that nobody saw: longer than `age` with the chance _KNEE_US / (_KNEE_US + age)."""
_EDGES_US = tuple(
    1_000_000 * seconds for seconds in (0, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 1200, 3600)
)
_JITTER = 10
_LOOK_US = 2_000_000


class Rhythm(Struct, frozen=True, kw_only=True):
    """Idle times of one function in the last hour."""

    gaps: tuple[tuple[int, int], ...] = ()
    """(when it ended, how long it was), oldest first."""
    since_us: int | None = None
    """When it was first seen to have something to do; None: never yet."""
    last_us: int = 0
    """When it last had something to do."""
    woken_us: int = 0
    """The last arrival that was counted."""


NO_RHYTHM = Rhythm()


def learn(rhythm: Rhythm, woken_us: int | None, now_us: int, *, busy: bool) -> Rhythm:
    """Fold in the last arrival (if it is a new one) and whether there is work now. The same facts twice count once."""
    since_us, last_us, counted_us = rhythm.since_us, rhythm.last_us, rhythm.woken_us
    gaps = rhythm.gaps
    if woken_us is not None and (since_us is None or woken_us > counted_us):
        if since_us is None:
            since_us = last_us = woken_us
        elif woken_us > last_us:
            gaps = (*gaps, (woken_us, woken_us - last_us))[-MOST_GAPS:]
            last_us = woken_us
        counted_us = woken_us
    if busy and since_us is not None:
        last_us = max(last_us, now_us)
    if gaps and gaps[0][0] < now_us - HOUR_US:
        gaps = tuple(gap for gap in gaps if gap[0] >= now_us - HOUR_US)
    if (gaps, since_us, last_us, counted_us) == (rhythm.gaps, rhythm.since_us, rhythm.last_us, rhythm.woken_us):
        return rhythm
    return Rhythm(gaps=gaps, since_us=since_us, last_us=last_us, woken_us=counted_us)


def an_hour(rhythm: Rhythm, now_us: int) -> int:
    """Idle times in an hour that is as the last one, in thousandths."""
    if rhythm.since_us is None:
        return 0
    seen_us = min(HOUR_US, max(YOUNG_US, now_us - rhythm.since_us))
    return 1000 * len(rhythm.gaps) * HOUR_US // seen_us


def windows(lengths: Sequence[int], per_hour_milli: int, pays_us: int, start_us: int) -> tuple[Window, ...] | None:
    """The ages at which to be warm, in order, none touching the next; None: too little is known, or no rhythm is
    seen.

    `lengths` of idle times, of which `per_hour_milli` thousandths come in an hour; `pays_us`: for how long of an hour
    the bound pays for a replica that starts in `start_us`.
    """
    if len(lengths) < LEAST_GAPS or not _is_regular(lengths):
        return None
    each = per_hour_milli / 1000 / (len(lengths) + 1)
    """How often an hour each of the idle times comes, the unknown one too."""
    segments = _segments(tuple(lengths), start_us)
    fewer, many = 0, len(segments)
    while fewer < many:
        count = (fewer + many + 1) // 2
        if each * _held_us(segments[:count], lengths, start_us) <= pays_us:
            fewer = count
        else:
            many = count - 1
    return tuple(Window(begin, end) for begin, end in _joined(segments[:fewer]))


def _is_regular(lengths: Sequence[int]) -> bool:
    """Whether the middle half of them is within a factor of two. Of others, which come in bursts with long times
    between them, a histogram of so few says at which ages they came and not at which they will.
    """
    ordered = sorted(lengths)
    count = len(ordered)
    return ordered[(3 * count - 1) // 4] <= 2 * ordered[(count - 1) // 4]


class _Segment(NamedTuple):
    """Ages in which the rate is taken to be one."""

    begin_us: int
    end_us: int
    lasts: float
    """Idle times that last so long."""


@lru_cache(maxsize=256)
def _segments(lengths: tuple[int, ...], start_us: int) -> tuple[_Segment, ...]:
    """All ages, the highest rate first."""
    spans = [_span(length, start_us) for length in lengths]
    edges = sorted({edge for span in spans for edge in span} | set(_EDGES_US))
    found = []
    for begin, end in pairwise(edges):
        middle = (begin + end) / 2
        came = sum(1 / (high - low) for low, high in spans if low <= begin < high)
        lasts = sum(min(1.0, (high - middle) / (high - low)) for low, high in spans if high > middle)
        beyond = _KNEE_US / (_KNEE_US + middle)
        rate = (came + beyond / (_KNEE_US + middle)) / (lasts + beyond)
        found.append((-rate, _Segment(begin, end, lasts + beyond)))
    return tuple(segment for _, segment in sorted(found))


def _held_us(segments: Sequence[_Segment], lengths: Sequence[int], start_us: int) -> float:
    """What being warm at these ages takes, in each of the idle times once."""
    held = sum(one.lasts * (one.end_us - one.begin_us) for one in segments)
    for begin_us, _ in _joined(segments):
        if begin_us:
            held += start_us * (1 + sum(length > begin_us for length in lengths))
    return held


def _span(length_us: int, start_us: int) -> tuple[int, int]:
    """The ages at which an idle time like this ends. One that is hardly longer than a start: any age up to it."""
    off_us = length_us // _JITTER + _LOOK_US
    low_us = length_us - off_us
    return (0 if low_us <= 2 * start_us + _LOOK_US else low_us), length_us + off_us


def _joined(segments: Sequence[_Segment]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin_us, end_us in sorted((one.begin_us, one.end_us) for one in segments):
        if found and begin_us <= found[-1][1]:
            found[-1] = (found[-1][0], end_us)
        else:
            found.append((begin_us, end_us))
    return found
