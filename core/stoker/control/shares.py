"""Virtual times of namespaces and functions: who is ahead of whom in device time held over weight. Pure folding.

Two levels with the same rules: namespaces among one another, and the functions of each namespace. A member lacks a
device while it wants one that no plan could give it. In a level in which a member lacks one:
- each member that holds devices is charged for them, time over weight, whatever it uses them for, because a held device
  is what others lack;
- the virtual time V is the least time of a member that lacks one, and never goes back;
- who begins to lack one begins at V, if it is behind: credit for time in which it wanted nothing is not banked.
While nobody lacks anything V runs with the clock, so that leads fade. A member's lead is its time beyond V, at least 0,
and never more than an hour at weight 1, so that a member that lacks what nobody can give it holds V back no further.

All devices of one kind count alike (GPUs, cores): a T4 as much as an H100. Between two members of a level that both
lack devices for a while, the difference of their times over it is the difference of the device time that they held in
it, over weight; how far plan() lets it grow is the business of stoker.policies.allocation.fair.
"""

from collections.abc import Collection, Iterable, Mapping

from stoker.control.planning import Level, Pair, Shares, Usage
from stoker.model.function import Function, Variant
from stoker.policies.allocation.fair import MOST_US

_EMPTY = Level()


def namespace_of(key: str) -> str:
    """The namespace of a function's key."""
    return key.partition("/")[0]


def charge(
    shares: Shares,
    now_us: int,
    usage: Iterable[tuple[str, Usage]],
    functions: Mapping[str, Function],
    namespace_weights: Mapping[str, int],
) -> Shares:
    """The times at `now_us`. `usage` names the devices that functions have held since the last plan, by key."""
    elapsed_us = max(0, now_us - shares.at_us)
    of_function: dict[str, dict[str, float]] = {}
    of_namespace: dict[str, float] = {}
    for key, used in usage:
        function = functions.get(key)
        if not used.held or function is None:
            continue
        took_us = used.held * max(0, now_us - used.at_us)
        namespace = function.namespace
        amounts = of_function.setdefault(namespace, {})
        amounts[key] = amounts.get(key, 0.0) + took_us / function.spec.fair_share
        weight = namespace_weights.get(namespace, 1)
        of_namespace[namespace] = of_namespace.get(namespace, 0.0) + took_us / weight
    levels = {
        namespace: _charged(shares.functions.get(namespace, _EMPTY), of_function.get(namespace, {}), elapsed_us)
        for namespace in {**shares.functions, **of_function}
    }
    return Shares(at_us=now_us, namespaces=_charged(shares.namespaces, of_namespace, elapsed_us), functions=levels)


def settle(shares: Shares | None, now_us: int, lacking: Collection[Pair], variant: Variant) -> Shares | None:
    """The same once it is known who lacks a device after this plan; None when there is nothing to remember."""
    keys: dict[str, set[str]] = {}
    for key, which in lacking:
        if which is variant:
            keys.setdefault(namespace_of(key), set()).add(key)
    if shares is None:
        if not keys:
            return None
        shares = Shares(at_us=now_us)
    levels = {
        namespace: level
        for namespace in sorted({*shares.functions, *keys})
        if (level := _settled(shares.functions.get(namespace, _EMPTY), keys.get(namespace, set()))) is not None
    }
    namespaces = _settled(shares.namespaces, set(keys))
    if namespaces is None and not levels:
        return None
    return Shares(at_us=now_us, namespaces=namespaces or Level(shares.namespaces.virtual_us), functions=levels)


def lead_us(level: Level, member: str) -> float:
    """How far a member is ahead of the virtual time, from 0 to MOST_US."""
    time_us = level.times_us.get(member)
    return 0.0 if time_us is None else min(MOST_US, max(0.0, time_us - level.virtual_us))


def _charged(level: Level, amounts: Mapping[str, float], elapsed_us: int) -> Level:
    if not level.lacking:
        return Level(level.virtual_us + elapsed_us, level.times_us)
    times_us = dict(level.times_us)
    for member, amount_us in amounts.items():
        times_us[member] = max(times_us.get(member, level.virtual_us), level.virtual_us) + amount_us
    return Level(level.virtual_us, times_us, level.lacking)


def _settled(level: Level, lacking: set[str]) -> Level | None:
    """Who begins to lack comes up to V, V to the least of them; who is not ahead and lacks nothing is forgotten."""
    virtual_us = level.virtual_us
    times_us = dict(level.times_us)
    for member in sorted(lacking):
        time_us = times_us.get(member, virtual_us)
        times_us[member] = time_us if member in level.lacking else max(time_us, virtual_us)
    if lacking:
        virtual_us = max(virtual_us, min(times_us[member] for member in lacking))
    kept = {
        member: min(time_us, virtual_us + MOST_US)
        for member, time_us in times_us.items()
        if member in lacking or time_us > virtual_us
    }
    return Level(virtual_us, kept, frozenset(lacking)) if kept else None
