"""What a bound on cost permits: one more replica, an idle one, a request. Numbers in, numbers out. Pure.

maxCostPerHour is held over every rolling hour, not as a rate: a function may hold a device that costs ten times its
bound for six minutes of the hour. Whoever holds something can only be stopped after what it runs has ended, so that
time is set aside for each replica (`tail_us`), and when no more than that is left of the bound, replicas are drained
(`may_stay`). One more is had only where the bound pays for its start and for serving at least as long as it started
(`may_come`): less would spend more on starts than on answers. A replica that nobody needs and that is to stay (one of
minReplicas) is had only where the bound pays for it all the hour (`lasts`). Where it does not, what is
idle stays for a part of what is left (`paced_us`).

maxCostPerThousandRequests bounds what a request may cost where it runs (`dear`), and how long an idle replica may spend
what its requests left over (`idle_us`). The constants are ours.
"""

from stoker.cost.prices import HOUR_US

PLAN_US = 1_000_000
"""Between two looks at what was spent, at most (PlanParams.resync_us)."""
STOP_US = 1_000_000
"""From the end of its last request until a replica has given its device back."""
TAIL_RUNS = 4
"""A request that runs is expected to have ended after so many mean execution times, at the latest at its timeout."""
PACE = 2
"""Of what is left of a bound, replicas may idle for one part in so many."""


def amount(rate: int, time_us: int) -> int:
    """What a rate (micro-units an hour) comes to, in micro-units rounded up."""
    return -(-rate * time_us // HOUR_US)


def tail_us(exec_us: int, timeout_us: int) -> int:
    """How long a replica still costs once it is to go."""
    return min(timeout_us, TAIL_RUNS * exec_us) + STOP_US


def first_us(start_us: int, exec_us: int) -> int:
    """How long a replica is had for at least: its start, and as long again or one run."""
    return start_us + max(start_us, exec_us)


def may_come(left: int, rate: int, start_us: int, exec_us: int, timeout_us: int) -> bool:
    """Whether what is left of a bound, after all that is set aside, pays for one more replica at this rate."""
    return amount(rate, first_us(start_us, exec_us) + tail_us(exec_us, timeout_us)) <= left


def may_stay(left: int, rate: int) -> bool:
    """Whether replicas at this rate in all may go on until the next look. `left`: as in may_come(), their own tails
    set aside too.
    """
    return amount(rate, 2 * PLAN_US) <= left


def lasts(bound: int, rate: int) -> bool:
    """Whether the bound pays for this rate all the hour."""
    return rate <= bound


def dear(run_micro: int, bound_per_thousand: int) -> bool:
    """Whether a request that costs so much is over the bound of a thousand."""
    return 1000 * run_micro > bound_per_thousand


def paced_us(left: int, rate: int) -> int:
    """How long replicas at this rate in all may idle from what is left of a bound that does not pay for them all the
    hour: as it shrinks so does the time, and the rest is there for those who come later in the hour.
    """
    return left * HOUR_US // (PACE * rate) if left > 0 < rate else 0


def idle_us(kept_us: int, start_us: int, *, paced: int | None, spare: int | None, rate: int) -> int:
    """How long an idle replica may stay that would be kept for `kept_us`.

    `paced`: what bounds on an hour let it (stoker.control.pacing); None: they pay for all replicas all the hour.
    `spare`: what requests left over of maxCostPerThousandRequests; None: there is no such bound. For that one it stays
    at least as long as another start would take (ski rental: never more than twice the least of idling and starting).
    """
    if rate <= 0:
        return kept_us
    if spare is not None:
        kept_us = max(min(kept_us, start_us), min(kept_us, spare * HOUR_US // rate))
    return kept_us if paced is None else min(kept_us, paced)
