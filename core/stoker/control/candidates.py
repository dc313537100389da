"""Which replicas may be taken away for a want, in the three ranks of stoker.control.allocation.Candidate.

Looks at other functions' demand and bounds; what a candidate is worth comes from the allocation policy.
"""

from stoker.control import scaling
from stoker.control.allocation import Candidate, Holder
from stoker.control.capacity import needs_of
from stoker.control.draft import Draft
from stoker.control.planning import Pair
from stoker.control.wants import Rank, Want
from stoker.model.function import Function, Sharing
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.policies.allocation.interface import Resident
from stoker.reasons import Reason


def candidates_for(draft: Draft, want: Want) -> list[Candidate]:
    """All that may give way to the want; each pair in one rank only, so that bounds are counted once."""
    found: list[Candidate] = []
    own_value = _value(draft, want.pair) if want.rank is Rank.SCALE_OUT and not want.updates else None
    usable = draft.board.usable(needs_of(want.function, want.pair[1]))
    for pair in draft.fleet.pairs():
        if pair[0] == want.pair[0] or pair[1] is not want.pair[1]:
            continue
        holder = _holder(draft, pair)
        if holder is None:
            continue
        idle = [r for r in holder.idle if not usable.isdisjoint(r.spec.devices)][: holder.idle_spare]
        if idle:
            if own_value is None or holder.value < own_value:
                found += [
                    Candidate(replica_id=r.spec.id, rank=0, cost=holder.value, reason=Reason.GIVES_WAY) for r in idle
                ]
        elif want.backlogged and holder.warm:
            found += _turn_over(draft, want, holder, usable)
    if want.updates:
        found += _own_old(draft, want)
    return found


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
    bound = len(live) - function.min_replicas_of(pair[1])
    if bound <= 0:
        return None
    load = draft.load(pair)
    warm = draft.fleet.warm(pair)
    spare = len(warm) - -(-load // function.concurrency_of(pair[1]))
    idle = scaling.longest_idle_first(live) if draft.queued(pair) == 0 else []
    if not load:
        # A start that nobody waits for any more must not hold a device until startupTimeout.
        stale = [r for r in live if _is_stale_start(draft, r, pair)]
        idle += stale
        spare += len(stale)
    return Holder(
        function=function,
        idle=tuple(idle),
        idle_spare=max(0, min(bound, spare)),
        value=_value(draft, pair),
        warm=tuple(sorted((r for r in warm if r.ready_us is not None), key=lambda r: (r.ready_us or 0, r.spec.id))),
        warm_spare=bound,
        greed=draft.usage(pair).value_us / max(1, function.spec.fair_share),
    )


def _is_stale_start(draft: Draft, replica: ReplicaStatus, pair: Pair) -> bool:
    if replica.state is not ReplicaState.STARTING:
        return False
    patience_us = max(draft.params.quantum_us, 3 * draft.start_us(pair))
    draft.due(replica.started_us + patience_us)
    return draft.now_us - replica.started_us >= patience_us


def _turn_over(draft: Draft, want: Want, holder: Holder, usable: frozenset[str]) -> list[Candidate]:
    """The quantum rule: replicas that have had their turn, once the want has waited for its own."""
    quantum_us = draft.params.quantum_us
    # A start-up that was never measured does not lengthen the wait: a guess must not starve anybody.
    patience_us = max(quantum_us, 3 * (draft.known_start_us(want.pair) or 0))
    turn_us = draft.waiting_since_us(want.pair) + patience_us
    over = []
    for replica in holder.warm:
        if usable.isdisjoint(replica.spec.devices):
            continue
        over_us = max(turn_us, (replica.ready_us or 0) + quantum_us)
        draft.expect_turn(want.pair, over_us)
        if over_us > draft.now_us:
            break  # the others have been warm for less
        over.append(replica)
    return [
        Candidate(replica_id=r.spec.id, rank=2, cost=-holder.greed, reason=Reason.QUANTUM_OVER)
        for r in over[: holder.warm_spare]
    ]


def _own_old(draft: Draft, want: Want) -> list[Candidate]:
    """Old replicas may make room for the new revision, one after the other: none while a new one is on its way."""
    if draft.is_starting(want.pair) or draft.board.claims_of(want.pair):
        return []
    old = [r for r in draft.fleet.live(want.pair) if r.spec.revision != want.function.revision]
    return [
        Candidate(replica_id=r.spec.id, rank=1, cost=float(index), reason=Reason.REVISION_REPLACED)
        for index, r in enumerate(scaling.least_loss_first(old))
    ]


def _value(draft: Draft, pair: Pair) -> float:
    """What the allocation policy gives for keeping a replica of the pair."""
    function = draft.observed.functions[pair[0]]
    credit = draft.memory[pair[0]].credit[pair[1]]
    need = needs_of(function, pair[1])[0]
    memory_mib = need.memory_mib
    if need.sharing is Sharing.EXCLUSIVE:
        # It keeps everybody else off the whole device, however little of it it asked for.
        held = {d for r in draft.fleet.all_of(pair) for d in r.spec.devices}
        memory_mib = max([d.memory_mib for d in draft.board.devices.values() if d.id in held], default=memory_mib)
    return draft.policy.value(
        Resident(
            function=pair[0],
            frequency=credit.frequency,
            start_us=draft.start_us(pair),
            memory_mib=memory_mib * need.count,
            clock=credit.clock,
        )
    )
