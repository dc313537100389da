"""A count of replicas that does not flap: up at once, down by one decision after a while without need.

Down only where DOWN_US long not even a rate that is MARGIN higher needed as many (window: Kubernetes' stabilisation of
the horizontal autoscaler, there 300 s; a dead band as in any thermostat; the figures are ours). So it goes down at most
once in DOWN_US, and up only where the need climbs past it.
"""

from msgspec import Struct
from msgspec.structs import replace

DOWN_US = 30_000_000
"""After what the look-back of the rates has held already."""
MARGIN = 1.1


class Steady(Struct, frozen=True, kw_only=True):
    """See the module."""

    count: int
    low_since_us: int | None = None
    """Since when fewer would do; None: they would not."""
    low_peak: int = 0
    """The most that was needed since then, margin included."""
    surge: int = 0
    """What a backlog needs, until `surge_until_us`."""
    surge_until_us: int = 0


def settle(before: Steady | None, needed: int, with_margin: int, now_us: int) -> Steady:
    """The count after a look at `now_us` that needs `needed`, and `with_margin` if the rate were MARGIN higher."""
    if before is None:
        return Steady(count=needed)
    if needed > before.count:
        return replace(before, count=needed, low_since_us=None)
    if with_margin >= before.count:
        return before if before.low_since_us is None else replace(before, low_since_us=None)
    if before.low_since_us is None:
        return replace(before, low_since_us=now_us, low_peak=with_margin)
    peak = max(before.low_peak, with_margin)
    if now_us - before.low_since_us >= DOWN_US:
        return replace(before, count=peak, low_since_us=None)
    return before if peak == before.low_peak else replace(before, low_peak=peak)


def surge(before: Steady, count: int, now_us: int) -> Steady:
    """A backlog needs `count` from now on for DOWN_US; the last that was said holds."""
    return replace(before, surge=count, surge_until_us=now_us + DOWN_US)


def wanted(steady: Steady, now_us: int) -> int:
    """The count, or what a backlog needs where that is more."""
    return max(steady.count, steady.surge) if now_us < steady.surge_until_us else steady.count
