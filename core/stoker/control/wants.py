"""What one pair wants: the replicas to start, in ranks, and the ones to take away for its own sake.

Scaling, keep-alive and revisions of one (function, variant). Devices and other functions are not looked at here.
"""

from enum import IntEnum

from msgspec import Struct

from stoker.control import keeping, rollout, scaling, slo_scaling, unfit
from stoker.control.draft import Draft
from stoker.control.planning import Pair
from stoker.control.scaling import Size
from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.reasons import Reason


class Rank(IntEnum):
    """How far a want reaches."""

    ENTITLED = 0
    """Demand with no replica, minReplicas, or an update's first replica: idle replicas of others give way."""
    SCALE_OUT = 1
    """More demand than replicas: idle replicas of others give way if they are worth less."""
    WEAK = 2
    """A wake: free devices only."""


class Want(Struct, frozen=True, kw_only=True):
    """One replica that a pair wants started now."""

    pair: Pair
    function: Function
    rank: Rank
    since_us: int
    updates: bool = False
    """It is of a new revision whose old replicas may make room for it."""
    backlogged: bool = False
    """There is demand and no replica: the quantum rule applies."""
    extra: bool = False
    """It replaces one that serves on a sick device: nobody waits for it."""
    promised: bool = False
    """It is one of minReplicas, or of a window."""


MAX_STARTS_PER_PLAN = 32
"""Replicas of one pair that one plan starts at most; the next plan goes on."""


def shape(draft: Draft, function: Function, variant: Variant) -> list[Want]:
    """Drain what the pair has too much of, and say what it wants."""
    pair = (function.key, variant)
    wanted = draft.wanted(function.key)
    memory = draft.memory[function.key]
    size = _size(draft, function, pair, draft.load(pair))
    if size.weak_until_us is not None:
        draft.due(size.weak_until_us)
    updating = rollout.is_updating(memory, wanted.revision)
    if not draft.fleet.all_of(pair) and not (updating and draft.board.claims_of(pair)):
        goal = min(size.weak, 1) if updating else size.weak
        return _wants(draft, pair, wanted, size, goal, updates=updating)
    keep = _size(draft, function, pair, draft.whole_load(pair)).weak
    _drop_superseded(draft, pair, wanted.revision)
    live = draft.fleet.live(pair)
    old = [r for r in live if r.spec.revision != wanted.revision]
    new = [r for r in live if r.spec.revision == wanted.revision]
    warm_new = sum(r.state is ReplicaState.WARM for r in new)

    goal = size.weak
    if old or (updating and draft.board.claims_of(pair)):
        # Something serves, or served until it made room: the update is verified even without demand.
        goal = max(goal, min(1, size.most))
    if not warm_new and (old or updating):
        goal = min(goal, 1)
    poor = [] if old else [r for r in new if unfit.is_poor(draft, r)]
    extra = 0
    if poor and not updating and goal > 0:
        extra = unfit.replace_poor(draft, pair, new, poor, max(goal, keep))
        new = [r for r in new if r.spec.id not in draft.fleet.leaving]
    # A replacement on its way keeps nobody from being needed.
    beside = 1 if poor and any(r.state is ReplicaState.STARTING for r in new) else 0
    least = max(keep, goal if old else 0) + beside
    _drain_idle(draft, function, new, least, size, most=size.most + (1 if poor else 0))
    if old and warm_new:
        surplus = len(old) - max(0, keep - warm_new)
        for replica in scaling.least_loss_first(old)[: max(0, surplus)]:
            draft.drain(replica, Reason.REVISION_REPLACED)
    else:
        _drain_idle(draft, function, old, keep, size, most=size.most)
    wants = _wants(draft, pair, wanted, size, goal, updates=bool(old) or updating)
    if extra and not wants and not _backs_off(draft, pair, wanted.revision):
        # More than the spec allows, while the two stand beside each other; a free device only.
        since_us = draft.waiting_since_us(pair)
        wants = [Want(pair=pair, function=wanted, rank=Rank.WEAK, since_us=since_us, extra=True)]
    return wants


def _size(draft: Draft, function: Function, pair: Pair, load: int) -> Size:
    woken_us, lasts_us = draft.last_wake_us(pair), draft.params.wake_us
    if woken_us is not None:
        lasts_us = max(lasts_us, keeping.stays_us(draft, function, pair))
    sized = slo_scaling.sized(draft, pair, load)
    return scaling.size_of(function, pair[1], load, woken_us, draft.now_us, lasts_us, draft.forecast(pair), sized)


def _drop_superseded(draft: Draft, pair: Pair, revision: str) -> None:
    """A revision that is not wanted and not ready has nothing to give; a failed one goes whatever its state."""
    failed = draft.memory[pair[0]].failed
    for replica in draft.fleet.staying(pair):
        if replica.spec.revision == revision:
            continue
        if failed is not None and replica.spec.revision == failed.revision:
            if replica.state is ReplicaState.STARTING:
                draft.kill(replica, Reason.ROLLOUT_FAILED, failed.detail, failed=False)
            else:
                draft.drain(replica, Reason.ROLLOUT_FAILED)
        elif replica.state is ReplicaState.STARTING:
            draft.drain(replica, Reason.REVISION_REPLACED)


def _drain_idle(
    draft: Draft, function: Function, replicas: list[ReplicaStatus], keep: int, size: Size, *, most: int
) -> None:
    """Take away what is over the bound, and what has been idle for the keep-alive beyond `keep`."""
    over = scaling.least_loss_first(replicas)[: max(0, len(replicas) - most)]
    for replica in over:
        draft.drain(replica, Reason.SCALED_DOWN)
    left = [r for r in replicas if r not in over]
    spare = max(0, len(left) - keep)
    homeless = [r for r in left if scaling.is_homeless(r)]
    for replica in [*homeless, *scaling.longest_idle_first(left)]:
        if len(left) <= size.least:
            break
        stays_us = keeping.stays_us(draft, function, (function.key, replica.spec.variant), replica)
        until_us = scaling.keep_until_us(replica, stays_us, draft.params.wake_us)
        if until_us is None:
            continue
        if until_us <= draft.now_us and spare > 0:
            spare -= 1
            draft.drain(replica, Reason.IDLE)
        draft.due(until_us)


def _wants(draft: Draft, pair: Pair, wanted: Function, size: Size, goal: int, *, updates: bool) -> list[Want]:
    live = draft.fleet.live(pair)
    new = [r for r in live if r.spec.revision == wanted.revision]
    count = goal - len(new)
    # An update may have one replica more than the spec allows while both revisions run.
    count = min(count, size.most + (1 if len(live) > len(new) else 0) - len(live), MAX_STARTS_PER_PLAN)
    backlogged = size.strong > 0 and not live
    if count <= 0 or _backs_off(draft, pair, wanted.revision):
        draft.set_waiting(pair, waits=False)
        return []
    if not backlogged:
        draft.set_waiting(pair, waits=False)
    wants = []
    for index in range(count):
        promised = len(live) + index < size.least
        if promised or (index == 0 and (backlogged or updates)):
            rank = Rank.ENTITLED
        else:
            rank = Rank.SCALE_OUT if len(live) + index < size.strong or updates else Rank.WEAK
        wants.append(
            Want(
                pair=pair,
                function=wanted,
                rank=rank,
                since_us=draft.waiting_since_us(pair),
                updates=updates,
                backlogged=backlogged and index == 0,
                promised=promised,
            )
        )
    return wants


def _backs_off(draft: Draft, pair: Pair, revision: str) -> bool:
    entry = draft.memory[pair[0]].back_off.get(pair[1])
    if entry is None or entry.revision != revision or entry.not_before_us <= draft.now_us:
        return False
    draft.due(entry.not_before_us)
    return True
