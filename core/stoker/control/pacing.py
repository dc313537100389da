"""How a bound on an hour's cost that does not pay for all the hour is spent: on which variant, and when to be warm.

A function whose CPU variant is on time for less is not started on a GPU. One whose cold requests would be late is warm
at the ages of idleness that are worth most (stoker.cost.rhythm), which may end its stay before keepAlive.ttl and bring
it back ahead of a request; until its rhythm is known an idle replica stays for a part of what is left. Where a request
that starts a replica is on time, being warm saves no more than the start.

Who asks for a policy of keep-alive or pre-warming gets that one, within what is left. Acts only under such a bound; the
rules of what may be had are stoker.control.purse's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from stoker.control.planning import Pair
from stoker.cost import cap, rhythm
from stoker.cost.money import money
from stoker.cost.prices import HOUR_US
from stoker.cost.rhythm import NO_RHYTHM
from stoker.model.function import Function, KeepAlivePolicy, OnMiss, PreWarmPolicy, Variant
from stoker.model.replica import ReplicaStatus
from stoker.policies.prewarm.hazard_rate import Window
from stoker.policies.prewarm.interface import Forecast

if TYPE_CHECKING:
    from stoker.control.draft import Draft
    from stoker.control.purse import Scope

_LOOK_US = cap.PLAN_US
_FORESEEN = 75
"""Of a bound so many percent are planned with; the rest is for what comes otherwise than in the last hour. Ours."""


def look_ahead(draft: "Draft", function: Function) -> None:
    """Learn when the function has something to do, and forecast what it wants ahead of that."""
    key = function.key
    memory = draft.memory[key]
    if not draft.purse.caps_of(key):
        if memory.rhythm != NO_RHYTHM:
            draft.memory[key] = replace(memory, rhythm=NO_RHYTHM)
        return
    pairs = [(key, variant) for variant in function.variants]
    woken = [at_us for pair in pairs if (at_us := draft.demand(pair).last_wake_us) is not None]
    busy = any(draft.whole_load(pair) for pair in pairs)
    learned = rhythm.learn(memory.rhythm, max(woken, default=None), draft.now_us, busy=busy)
    if learned is not memory.rhythm:
        draft.memory[key] = replace(memory, rhythm=learned)
    pair = (key, _variant(draft, function))
    if busy or _asks_itself(draft, function):
        return
    age_us = draft.now_us - learned.last_us
    for window in _windows(draft, pair, function) or ():
        begin_us = _back_us(draft, pair, window)
        if age_us < begin_us:
            draft.due(learned.last_us + begin_us)
            return
        if age_us < window.end_us:
            if window.begin_us:
                draft.forecasts[pair] = Forecast(weak=1, until_us=learned.last_us + window.end_us)
            draft.due(learned.last_us + window.end_us)
            return


def kept_us(draft: "Draft", pair: Pair, function: Function, replica: ReplicaStatus) -> int | None:
    """How long bounds on an hour let a replica idle; None: they pay for all that is there all the hour."""
    short = [scope for scope in draft.purse.caps_of(pair[0]) if not draft.purse.lasts(scope, scope.rate)]
    if not short:
        return None
    start_us = draft.start_us(pair)
    if spared(draft, pair, function) is not None:
        return start_us
    dearer = [scope for scope in short if not cap.lasts(scope.most, scope.rate)]
    if _starts_on_time(draft, pair, function):
        return start_us if dearer else None
    windows = (None if _asks_itself(draft, function) else _windows(draft, pair, function)) or ()
    last_us = draft.memory[pair[0]].rhythm.last_us
    since_us = draft.now_us if replica.idle_since_us is None else replica.idle_since_us
    age_us = draft.now_us - last_us
    ends = [one.end_us for one in windows if _back_us(draft, pair, one) <= age_us < one.end_us]
    stays_us = max(0, last_us + ends[0] - since_us) if ends else 0
    if any(window.begin_us for window in windows):
        return stays_us  # it comes back
    paced = [cap.paced_us(draft.purse.left(scope), scope.rate) for scope in dearer]
    # Ski rental: as long as another start would take, whatever is left.
    return max(stays_us, start_us, min(paced)) if paced else None


def spared(draft: "Draft", pair: Pair, function: Function) -> str | None:
    """Why no replica of the pair is to be had since the other variant will do, in one sentence; None: it may be had."""
    key = pair[0]
    scopes = draft.purse.caps_of(key)
    if pair[1] is not Variant.GPU or not scopes or Variant.CPU not in draft.observed.costs.on_time.get(key, ()):
        return None
    if OnMiss.DIVERT not in function.spec.on_predicted_miss:
        return None
    cpu = (key, Variant.CPU)
    rate, less = draft.purse.rate(pair, function), draft.purse.rate(cpu, function)
    if (
        rate is None
        or less is None
        or less >= rate
        or all(cap.lasts(scope.most, scope.rate + rate) for scope in scopes)
    ):
        return None
    memory = draft.memory.get(key)
    if memory is not None and Variant.CPU in memory.waiting_since_us:
        return None  # no device is free for that one
    if draft.load(cpu) > function.max_replicas_of(Variant.CPU) * function.concurrency_of(Variant.CPU):
        return None
    return (
        f"its cpu variant is on time for {money(less)} an hour, and a bound on its cost does not pay for a gpu variant "
        f"of {money(rate)} all the hour"
    )


def _back_us(draft: "Draft", pair: Pair, window: Window) -> int:
    """The age at which a replica is started for the window: a quarter of a start early, and a look."""
    return max(0, window.begin_us - draft.start_us(pair) * 5 // 4 - _LOOK_US)


def _variant(draft: "Draft", function: Function) -> Variant:
    """Where its next request goes while nothing is warm."""
    first = (function.key, function.primary)
    return Variant.CPU if spared(draft, first, function) is not None else function.primary


def _windows(draft: "Draft", pair: Pair, function: Function) -> Sequence[Window] | None:
    """The ages at which it is worth being warm; None: nothing is known, or the bound pays for all of them."""
    rate = draft.purse.rate(pair, function)
    scopes = draft.purse.caps_of(pair[0])
    if not rate or all(draft.purse.lasts(scope, max(scope.rate, rate)) for scope in scopes):
        return None
    if _starts_on_time(draft, pair, function):
        return None
    known = draft.memory[pair[0]].rhythm
    per_hour = rhythm.an_hour(known, draft.now_us)
    most = [(max(0, _most(draft, scope, pair[0])), max(rate, scope.rate)) for scope in scopes]
    pays_us = min(amount * _FORESEEN // 100 * HOUR_US // each for amount, each in most)
    pays_us -= per_hour * draft.exec_us(pair) // 1000
    return rhythm.windows([length for _, length in known.gaps], per_hour, pays_us, draft.start_us(pair))


def _most(draft: "Draft", scope: "Scope", key: str) -> int:
    """What the function may spend of a bound in an hour; of one that it has with others, what they left."""
    return scope.most if scope.name == key else draft.purse.left(scope)


def _starts_on_time(draft: "Draft", pair: Pair, function: Function) -> bool:
    """Whether a request that starts a replica meets the objective all the same."""
    return draft.start_us(pair) + draft.exec_us(pair) <= function.spec.slo.latency_us


def _asks_itself(draft: "Draft", function: Function) -> bool:
    """Whether the function, or the platform, has a policy of its own for when to be warm."""
    asked, params = function.spec.scaling, draft.params
    pre_warm = params.pre_warm if asked.pre_warm is None else asked.pre_warm.policy
    keeps = asked.keep_alive or params.keep_alive
    return pre_warm is not PreWarmPolicy.NONE or keeps is not KeepAlivePolicy.FIXED_TTL
