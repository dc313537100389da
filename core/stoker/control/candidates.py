"""Which replicas may be taken away for a want, in the three ranks of stoker.control.allocation.Candidate.

Looks at other functions' demand and bounds; what a candidate is worth comes from the allocation policy. The cheapest
are offered first and the search ends when no dearer one could be part of a better eviction, so that hundreds that wait
for thousands of devices cost little.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import merge
from itertools import islice

from stoker.control import scaling, worth
from stoker.control.allocation import Candidate, Eviction, find_eviction
from stoker.control.capacity import Need
from stoker.control.draft import Draft
from stoker.control.holdings import Givers, Holder
from stoker.control.planning import Pair
from stoker.control.wants import Rank, Want
from stoker.model.function import Function
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.policies.allocation.interface import Wanting
from stoker.reasons import Reason


def find(draft: Draft, want: Want, need: Need, tenant: str | None) -> Eviction | None:
    """The cheapest eviction for the want; with a `tenant`, only that namespace gives."""
    board, pair = draft.board, want.pair
    taken: list[Candidate] = []
    offered = _offers(draft, want, need, tenant)
    size, found = 0, None
    following: Candidate | None = None
    avoid = draft.avoided(pair)
    while True:
        if taken or size == 0:
            found = find_eviction(board, need, pair, taken, draft.fleet.leaving, draft.freed(), avoid, tenant=tenant)
        if found is not None and (following is None or found.price <= _least_price(following)):
            return found
        size = 8 if size == 0 else size * 8
        batch = [] if following is None else [following]
        batch += islice(offered, size)
        following = next(offered, None)
        if not batch:
            return found
        taken += batch


def _least_price(candidate: Candidate) -> tuple[int, int, float]:
    """What an eviction costs at least that this candidate, or a dearer one, is part of."""
    return (int(candidate.rank == 2), int(candidate.rank == 1), candidate.cost)


def _offers(draft: Draft, want: Want, need: Need, tenant: str | None) -> Iterator[Candidate]:
    """All that may give way to the want, in order of price; each pair in one rank only, so bounds count once."""
    givers = _givers(draft)
    classes = sorted(draft.board.classes_for((need,)))
    policy = draft.policy
    entitled = want.rank is not Rank.SCALE_OUT or want.updates
    wanting = worth.wanting(draft, want, (need,)) if policy.asks or not entitled else None
    seen: set[Pair] = set()
    if policy.own_first:
        namespace = want.pair[0].partition("/")[0]
        yield from _idle(draft, want, need, namespace if tenant is None else tenant, seen, givers, classes, own=True)
    yield from _idle(draft, want, need, tenant, seen, givers, classes, wanting=wanting)
    if want.updates:
        yield from _own_old(draft, want)
    if want.backlogged or (policy.shares and want.rank is not Rank.WEAK):
        yield from _turns(draft, want, need, tenant, givers, classes, wanting)


def _idle(  # noqa: PLR0917  one want's facts
    draft: Draft,
    want: Want,
    need: Need,
    tenant: str | None,
    seen: set[Pair],
    givers: Givers,
    classes: list[int],
    *,
    wanting: Wanting | None = None,
    own: bool = False,
) -> Iterator[Candidate]:
    """Idle replicas that give way, and those that no node takes; `own`: of the tenant, before all others.

    Without `wanting` each of them may be taken.
    """
    policy = draft.policy
    limit = math.inf if wanting is None else policy.limit(wanting, draft.now_us)
    for value, pair in merge(*(givers.idle[c] for c in classes if c in givers.idle)):
        if value >= limit:
            break
        if pair in seen or not _may_give(pair, want, tenant):
            continue
        holder = _holder(draft, pair)
        if holder is None or (wanting is not None and not policy.may_take(wanting, holder.resident)):
            continue
        seen.add(pair)
        cost = 0.0 if own else value
        for replica in holder.homeless:
            if _is_in_the_way(draft, replica, need):
                yield Candidate(replica_id=replica.spec.id, rank=0, cost=cost, reason=Reason.WAITING_FOR_NODE)
        idle = [r for r in holder.idle if _is_in_the_way(draft, r, need)][: holder.idle_spare]
        for replica in idle:
            yield Candidate(replica_id=replica.spec.id, rank=0, cost=cost, reason=Reason.GIVES_WAY)


def _turns(  # noqa: PLR0917  one want's facts
    draft: Draft,
    want: Want,
    need: Need,
    tenant: str | None,
    givers: Givers,
    classes: list[int],
    wanting: Wanting | None,
) -> Iterator[Candidate]:
    """The quantum rule: replicas that have had their turn, once the want has waited for its own; where the policy
    trades shares, earlier than that.
    """
    policy, quantum_us = draft.policy, draft.params.quantum_us
    ready = [givers.first_ready_us[c] for c in classes if c in givers.first_ready_us]
    if not ready:
        return
    if want.backlogged:
        turn_us = draft.waiting_since_us(want.pair) + worth.turn_of(draft, want.pair)
        soonest_us = max(turn_us, min(ready) + quantum_us)
        if soonest_us > draft.now_us:
            if not policy.asks:
                draft.expect_turn(want.pair, soonest_us)
            draft.due(soonest_us)
            if not policy.shares:
                return
    kind = None if wanting is None else _kind(want, wanting, tenant, classes)
    if kind in draft.unserved:
        return
    seen: set[Pair] = set()
    for negative_greed, pair in merge(*(givers.busy[c] for c in classes if c in givers.busy)):
        if pair in seen or not _may_give(pair, want, tenant):
            continue
        holder = _holder(draft, pair)
        if holder is None or (holder.idle_spare and any(_is_in_the_way(draft, r, need) for r in holder.idle)):
            continue
        if wanting is not None and not policy.may_turn(wanting, holder.resident):
            continue
        kind = None
        seen.add(pair)
        over = 0
        for replica in holder.warm:
            if over == holder.warm_spare:
                break
            if not _is_in_the_way(draft, replica, need):
                continue
            over_us = (replica.ready_us or 0) + quantum_us
            if want.backlogged:
                draft.expect_turn(want.pair, over_us)
            else:
                draft.due(over_us)
            if over_us > draft.now_us:
                break  # the others have been warm for less
            over += 1
            yield Candidate(replica_id=replica.spec.id, rank=2, cost=negative_greed, reason=Reason.QUANTUM_OVER)
    if kind is not None:
        draft.unserved.add(kind)


def _kind(want: Want, wanting: Wanting, tenant: str | None, classes: list[int]) -> tuple[object, ...] | None:
    """What may_turn() can tell a want with no replica by from others of its variant; None for one that has some."""
    mine = wanting.resident
    if mine.devices:
        return None
    return (
        want.pair[1], mine.namespace, mine.lead_us, mine.weight, wanting.patient, wanting.turn_us, wanting.tenant_holds,
        tenant, *classes,
    )  # fmt: skip


def _may_give(pair: Pair, want: Want, tenant: str | None) -> bool:
    return pair[0] != want.pair[0] and pair[1] is want.pair[1] and (tenant is None or pair[0].startswith(f"{tenant}/"))


def _is_in_the_way(draft: Draft, replica: ReplicaStatus, need: Need) -> bool:
    """Whether it holds a device that would do."""
    return any(draft.board.suits((need,), d) for d in draft.devices_of(replica))


def _givers(draft: Draft) -> Givers:
    """The index, brought up to date with what this plan has taken since it was last used."""
    givers = draft.givers
    if givers is None:
        givers = draft.givers = Givers()
        stale = set(draft.fleet.pairs())
    else:
        stale = draft.stale_givers
    for pair in stale:
        for table, number, key in givers.entered.pop(pair, ()):
            ranked = table[number]
            del ranked[bisect_left(ranked, (key, pair))]
        holder = _holder(draft, pair)
        if holder is None:
            continue
        entries = givers.entered[pair] = []
        giving = (*holder.homeless, *(holder.idle if holder.idle_spare else ()))
        if giving:
            for number in _classes(draft, giving):
                insort(givers.idle.setdefault(number, []), (holder.value, pair))
                entries.append((givers.idle, number, holder.value))
        for number in _classes(draft, holder.warm):
            insort(givers.busy.setdefault(number, []), (-holder.greed, pair))
            entries.append((givers.busy, number, -holder.greed))
            first_us = min(r.ready_us or 0 for r in holder.warm)
            givers.first_ready_us[number] = min(first_us, givers.first_ready_us.get(number, first_us))
    draft.stale_givers = set()
    return givers


def _classes(draft: Draft, replicas: tuple[ReplicaStatus, ...]) -> set[int]:
    return {draft.board.class_of(d) for r in replicas for d in draft.devices_of(r)}


def _holder(draft: Draft, pair: Pair) -> Holder | None:
    """What the pair could give; None where its function is gone or nothing can be spared."""
    if pair in draft.holders:
        return draft.holders[pair]
    function = draft.observed.functions.get(pair[0])
    holder = None
    if function is not None and pair[1] in function.variants:
        holder = _look_at(draft, pair, function)
    draft.holders[pair] = holder
    return holder


def _look_at(draft: Draft, pair: Pair, function: Function) -> Holder | None:
    live = draft.fleet.live(pair)
    stale = [r for r in live if _is_stale_start(draft, r, pair)]
    homeless = [r for r in stale if scaling.is_homeless(r)]
    bound = len(live) - draft.least(function, pair)
    if bound <= 0 and not homeless:
        return None
    load = draft.load(pair)
    warm = draft.fleet.warm(pair)
    spare = len(warm) - -(-load // function.concurrency_of(pair[1]))
    idle = scaling.longest_idle_first(live) if draft.queued(pair) == 0 else []
    if not load:
        # A start that nobody waits for any more must not hold a device until startupTimeout.
        settling = [r for r in stale if r not in homeless]
        idle += settling
        spare += len(settling)
    turning = [r for r in warm if r.ready_us is not None] if bound > 0 else []
    resident = worth.resident(draft, pair, idle[0] if idle else None)
    return Holder(
        function=function,
        idle=tuple(idle),
        idle_spare=max(0, min(bound, spare)),
        homeless=tuple(homeless),
        resident=resident,
        value=draft.policy.value(resident, draft.now_us),
        warm=tuple(sorted(turning, key=lambda r: (r.ready_us or 0, r.spec.id))),
        warm_spare=bound,
        greed=draft.policy.greed(resident),
    )


def _is_stale_start(draft: Draft, replica: ReplicaStatus, pair: Pair) -> bool:
    if replica.state is not ReplicaState.STARTING:
        return False
    patience_us = max(draft.params.quantum_us, 3 * draft.start_us(pair))
    draft.due(replica.started_us + patience_us)
    return draft.now_us - replica.started_us >= patience_us


def _own_old(draft: Draft, want: Want) -> list[Candidate]:
    """Old replicas may make room for the new revision, one after the other: none while a new one is on its way."""
    if draft.is_starting(want.pair) or draft.board.claims_of(want.pair):
        return []
    old = [r for r in draft.fleet.live(want.pair) if r.spec.revision != want.function.revision]
    return [
        Candidate(replica_id=r.spec.id, rank=1, cost=float(index), reason=Reason.REVISION_REPLACED)
        for index, r in enumerate(scaling.least_loss_first(old))
    ]
