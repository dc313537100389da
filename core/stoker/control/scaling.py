"""How many replicas of a variant are wanted, and which may go for lack of use. Knows one pair at a time.

Concurrency target: replicas = clamp(ceil(in system / concurrency), min, max). Scaling by objective: what that needs
(stoker.control.slo_scaling); those of them that requests are here for may take devices from others, and the rest, which
are there for what may come, take free ones only. A wake is a weak want of one: it takes a free device and never another
function's. What is forecast is wanted like minReplicas where the user named the time (firm), and like a wake where a
policy guessed it (weak).
"""

from collections.abc import Iterable

from msgspec import Struct

from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.policies.prewarm.interface import NOTHING, Forecast
from stoker.reasons import Reason


class Size(Struct, frozen=True, kw_only=True):
    """Wanted numbers of replicas: least <= strong <= weak <= most."""

    least: int
    strong: int
    weak: int
    most: int
    weak_until_us: int | None
    """When the weak want ends unless it is woken again."""


def size_of(  # noqa: PLR0917  one pair's facts
    function: Function,
    variant: Variant,
    load: int,
    last_wake_us: int | None,
    now_us: int,
    wake_lasts_us: int,
    forecast: Forecast = NOTHING,
    sized: int | None = None,
) -> Size:
    """What is wanted of a pair with `load` requests that need a replica. A wake counts for `wake_lasts_us`. `sized` is
    what the objective needs while requests come; None: nobody knows.
    """
    most = function.max_replicas_of(variant)
    least = min(max(function.min_replicas_of(variant), forecast.firm), most)
    busy = -(-load // function.concurrency_of(variant))
    strong = min(max(busy if sized is None else min(busy, sized), least), most)
    until = None
    if last_wake_us is not None:
        until = last_wake_us + wake_lasts_us
    woken = until is not None and now_us < until
    ready = sized or 0 if load or woken else 0
    weak = min(max(strong, 1 if woken else 0, forecast.weak, ready), most)
    return Size(
        least=least, strong=strong, weak=weak, most=most, weak_until_us=until if woken and weak > strong else None
    )


def is_idle(replica: ReplicaStatus) -> bool:
    """Whether it is warm with nothing in flight and nothing queued for it."""
    return replica.state is ReplicaState.WARM and replica.in_flight == 0 and replica.idle_since_us is not None


def keep_until_us(replica: ReplicaStatus, stays_us: int, least_us: int) -> int | None:
    """When an idle replica, which may be so for `stays_us`, has been kept alive long enough; None while it is not idle.

    One that was never used stays for at least `least_us`: whoever woke it must get the chance to come back. So does one
    that no node takes: it starts nothing that could be in use.
    """
    if is_homeless(replica):
        return replica.started_us + max(stays_us, least_us)
    if not is_idle(replica) or replica.idle_since_us is None:
        return None
    return replica.idle_since_us + (stays_us if replica.served else max(stays_us, least_us))


def is_homeless(replica: ReplicaStatus) -> bool:
    """Whether no node has taken its pod."""
    return replica.state is ReplicaState.STARTING and replica.waiting is Reason.WAITING_FOR_NODE


def longest_idle_first(replicas: Iterable[ReplicaStatus]) -> list[ReplicaStatus]:
    """The idle ones of `replicas`."""
    idle = [r for r in replicas if is_idle(r)]
    return sorted(idle, key=lambda r: (r.idle_since_us or 0, r.spec.id))


def least_loss_first(replicas: Iterable[ReplicaStatus]) -> list[ReplicaStatus]:
    """The order to take replicas away in: starting, idle for long, idle, then the least busy."""
    return sorted(
        replicas,
        key=lambda r: (
            r.state is not ReplicaState.STARTING,
            r.in_flight,
            r.idle_since_us is None,
            r.idle_since_us or 0,
            r.spec.id,
        ),
    )
