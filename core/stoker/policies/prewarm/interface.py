"""What a pre-warm policy is: from a function's windows and its history of arrivals to the replicas that it wants now.

A policy sees values only and remembers nothing itself: the history is folded by stoker.policies.prewarm.histogram and
kept in the plan's memory. Whether a device is free, and who must give way, is not its business.
"""

from typing import ClassVar, Protocol

from msgspec import Struct

from stoker.model.function import PreWarm, PreWarmPolicy

WAIT_WEIGHT = 60
"""What a second that a user waits for a start is worth, in seconds of an idle device. Ours: a start of 5 s, which is
assumed where none was measured, then justifies the 5 minutes that FixedTTL keeps by default.
"""
LEAST_SHARE = 1 / 64
"""What keeps less than this of a device from others is treated as if it kept this: it may be idle for long, not for
ever.
"""


class ArrivalHistory(Struct, frozen=True, kw_only=True):
    """Idle times of one function: how long it had nothing to do before each arrival."""

    counts: dict[int, int] = {}
    """Idle times by the minute that they ended in; only minutes that were seen."""
    beyond: int = 0
    """Idle times longer than the histogram reaches."""
    last_us: int | None = None
    """When it last had something to do; None: never yet."""
    woken_us: int | None = None
    """The last arrival that was counted."""


class Outlook(Struct, frozen=True, kw_only=True):
    """What a policy looks at."""

    pre_warm: PreWarm
    history: ArrivalHistory
    now_us: int
    wall_us: int
    """Microseconds since the epoch at `now_us`; 0: nobody knows."""
    lead_us: int
    """How long before it is needed a replica must be started."""
    start_us: int = 0
    """How long a start takes, which is what being warm saves."""
    share: float = 1.0
    """Part of a device that a replica keeps from others, in (0, 1]."""
    wait_weight: int = WAIT_WEIGHT
    keep_max_us: int | None = None
    """No replica is to be idle for longer; None: unbounded."""


class Forecast(Struct, frozen=True, kw_only=True):
    """What is wanted ahead of requests."""

    firm: int = 0
    """Replicas as if minReplicas were this much: the user asked for them."""
    weak: int = 0
    """Replicas that take free devices only: a guess must cost nobody else anything."""
    until_us: int | None = None
    """When this may change (on the clock of `now_us`); None: not by time alone."""


NOTHING = Forecast()


class PreWarming(Protocol):
    """See the module. Stateless."""

    name: ClassVar[PreWarmPolicy]
    learns: ClassVar[bool]
    """Whether it needs the history of arrivals."""

    def forecast(self, outlook: Outlook) -> Forecast:
        """What is wanted at `outlook.now_us`. Never raises."""
