"""plan(): from what is observed to what is done, over all functions at once. Pure and level-triggered.

The order: fold in what happened, end what is broken, remove what was deleted, let each pair say what it wants (wants),
then give devices away: entitled wants first, the longest waiting first, then scale-outs, then wakes. A want that finds
no free device may have one freed (allocation); that device is claimed for it until it starts. Planned again on a world
in which the actions show, it orders nothing new; any action that was lost is ordered again.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from stoker.control import allocation, candidates, pacing, quota, resting, rollout, shares, slo_scaling, unfit, worth
from stoker.control.conditions import describe
from stoker.control.draft import Draft
from stoker.control.fleet import is_blocker
from stoker.control.planning import (
    Claim,
    Credit,
    Failure,
    FunctionMemory,
    Observed,
    Pair,
    Plan,
    PlanMemory,
    PlanParams,
    Stop,
    Usage,
)
from stoker.control.wants import Rank, Want, shape
from stoker.model.device import DeviceKind
from stoker.model.function import Function, Variant
from stoker.model.quantity import format_duration
from stoker.model.replica import ReplicaState
from stoker.reasons import PLATFORM_WAITS, Reason


def plan(observed: Observed, now_us: int, params: PlanParams, *, describes: bool = True) -> Plan:
    """What to do at `now_us`. Raises UnknownName for an allocation policy that does not exist, nothing else.

    Not `describes`: no statuses are made. They change no action, and a simulation has nobody who reads them.
    """
    draft = Draft(observed, now_us, params)
    awake = _fold(draft)
    _kill_broken(draft)
    _remove_deleted(draft)
    draft.purse.enforce()
    wants = [want for function in awake for variant in function.variants for want in shape(draft, function, variant)]
    draft.board.set_claims(_standing_claims(draft, wants))
    _serve(draft, wants)
    _settle_shares(draft)
    unfit.release_blockers(draft)
    _stop_drained(draft)
    for function in awake:
        for variant in function.variants:
            _charge(draft, (function.key, variant))
    bounds = draft.purse.bounds()
    busy = bool(draft.fleet.by_id or draft.waiting or draft.actions)
    return Plan(
        actions=tuple(draft.actions),
        statuses={key: describe(draft, function) for key, function in observed.functions.items()} if describes else {},
        memory=PlanMemory(
            functions=draft.memory, claims=tuple(draft.board.claims), clocks=draft.clocks, shares=draft.shares
        ),
        bounds=bounds,
        next_due_us=draft.next_due_us(busy=busy),
    )


def _fold(draft: Draft) -> list[Function]:
    """Bring memory up to date; the functions that are not at rest."""
    observed, now_us = draft.observed, draft.now_us
    if draft.policy.shares:
        for which, held in observed.memory.shares.items():
            used = ((key, of.usage.get(which, Usage())) for key, of in observed.memory.functions.items())
            draft.shares[which] = shares.charge(held, now_us, used, observed.functions, observed.namespace_weights)
    failures: dict[str, list[Failure]] = {}
    for failure in observed.failures:
        failures.setdefault(failure.function, []).append(failure)
    stirred = resting.stirred(draft)
    awake: list[Function] = []
    for key, function in observed.functions.items():
        known = observed.memory.functions.get(key)
        memory = draft.memory[key] = known or FunctionMemory()
        if known is not None and key not in stirred and resting.is_at_rest(draft, function):
            continue
        awake.append(function)
        live = [r for r in draft.fleet.of_function(key) if r.spec.id not in draft.fleet.leaving and not is_blocker(r)]
        memory = rollout.observe(memory, function, live, now_us, draft.params)
        for failure in failures.get(key, ()):
            memory = rollout.count_failure(memory, function, failure, draft.params)
        memory = unfit.count(draft, memory, key)
        memory = rollout.check_progress(memory, function, now_us)
        if rollout.is_updating(memory, function.revision) and memory.failed is None:
            misfit = draft.misfit(function)
            if misfit is not None and not _may_come(draft, function):
                memory = rollout.give_up(memory, function.revision, misfit)
        if memory.trying_since_us is not None:
            draft.due(memory.trying_since_us + function.spec.progress_deadline_us)
        credit = {}
        for variant in function.variants:
            pair = (key, variant)
            before = memory.credit.get(variant, Credit())
            credit[variant] = allocation.grow_credit(before, draft.fleet.all_of(pair), draft.clocks.get(variant, 0.0))
        draft.memory[key] = memory if credit == memory.credit else replace(memory, credit=credit)
        draft.look_ahead(function)
        pacing.look_ahead(draft, function)
        slo_scaling.learn(draft, function)
    return awake


def _may_come(draft: Draft, function: Function) -> bool:
    """Whether devices for the function may appear: on Kubernetes nodes come and go, and so do all their GPUs."""
    devices = draft.observed.devices
    kinds = {device.kind for device in devices}
    kind = DeviceKind.GPU if function.primary is Variant.GPU else DeviceKind.CPU
    return kind not in kinds and (not devices or any(device.node for device in devices))


def _charge(draft: Draft, pair: Pair) -> None:
    """Bring usage up to date; what this plan starts or ends is charged from its next look on."""
    memory = draft.memory[pair[0]]
    if pair[1] not in memory.usage and not draft.fleet.all_of(pair):
        return
    usage = draft.usage(pair)
    draft.memory[pair[0]] = replace(memory, usage={**memory.usage, pair[1]: usage})


def _kill_broken(draft: Draft) -> None:
    """End replicas that hang (the bound on "a slot is free at the true end") or never get ready."""
    for replica in list(draft.fleet.by_id.values()):
        function = draft.observed.functions.get(replica.spec.function)
        if replica.spec.id in draft.observed.killed:
            continue
        if replica.overdue_us is not None:
            grace_us = 0
            if function is not None:
                grace_us = function.container_of(replica.spec.variant).termination_grace_us
            if replica.overdue_us > grace_us:
                over = format_duration(replica.overdue_us)
                draft.kill(
                    replica, Reason.REPLICA_HUNG, f"a request went on for {over} after its timeout; it was killed"
                )
            else:
                draft.due(draft.now_us + grace_us - replica.overdue_us + 1)
        elif replica.state is ReplicaState.STARTING and function is not None:
            if replica.spec.id in draft.fleet.leaving or replica.spec.variant not in function.variants:
                continue
            if is_blocker(replica) or replica.waiting in PLATFORM_WAITS:
                continue  # its own process has not begun
            if replica.waiting is Reason.IMAGE_NEEDS_ROOT:
                # The kubelet tries for ever. The next pod is made as the namespace's podSecurity is then.
                draft.kill(replica, replica.waiting, replica.waiting_detail)
                continue
            limit_us = function.container_of(replica.spec.variant).startup_timeout_us
            if draft.now_us - replica.started_us > limit_us:
                limit = format_duration(limit_us)
                draft.kill(replica, Reason.START_TIMEOUT, f"it was not ready within startupTimeout {limit}")
            else:
                draft.due(replica.started_us + limit_us + 1)


def _remove_deleted(draft: Draft) -> None:
    """Drain what belongs to no function or to a variant that its function no longer has."""
    for pair in draft.fleet.pairs():
        function = draft.observed.functions.get(pair[0])
        if function is not None and pair[1] in function.variants:
            continue
        for replica in draft.fleet.staying(pair):
            draft.drain(replica, Reason.DELETING if function is None else Reason.REVISION_REPLACED)


def _standing_claims(draft: Draft, wants: Iterable[Want]) -> list[Claim]:
    """The claims whose pair still wants a device badly enough, and whose devices will fit it."""
    open_wants: dict[Pair, int] = {}
    for want in wants:
        if want.rank is not Rank.WEAK and not draft.purse.denies(want.pair, want.function, promised=want.promised):
            open_wants[want.pair] = open_wants.get(want.pair, 0) + 1
    standing = []
    for claim in draft.board.claims:
        pair = (claim.function, claim.variant)
        if open_wants.get(pair, 0) > 0 and draft.board.is_viable(claim, draft.fleet.leaving):
            open_wants[pair] -= 1
            standing.append(claim)
    return standing


def _serve(draft: Draft, wants: list[Want]) -> None:
    """Give devices to wants, in order; free some where that is due."""
    refused: set[Pair] = set()
    pending: dict[Pair, int] = {}
    for want in _in_order(draft, wants):
        pair = want.pair
        if pair in refused:
            continue
        if draft.purse.denies(pair, want.function, promised=want.promised):
            draft.waiting.add(pair)
            refused.add(pair)
            continue
        if _start(draft, want):
            if want.backlogged:
                draft.set_waiting(pair, waits=False)
            continue
        if want.extra:
            continue
        draft.waiting.add(pair)
        if want.rank is not Rank.WEAK and pair not in draft.over_quota:
            draft.lacking.add(pair)
        if want.backlogged:
            draft.set_waiting(pair, waits=True)
        waits_for = pending.get(pair, 0)
        if waits_for < len(draft.board.claims_of(pair)):
            pending[pair] = waits_for + 1
        elif want.rank is Rank.WEAK or not _free_devices(draft, want):
            refused.add(pair)
        else:
            pending[pair] = waits_for + 1


def _in_order(draft: Draft, wants: list[Want]) -> list[Want]:
    """The order in which wants are served: by rank, and within one as the allocation policy says. Where it is one of
    shares that goes before rank: else the first replicas of a side that is ahead would for ever come before what the
    other one scales out by. What is promised comes first and what is only woken last, whatever anybody's share.
    """
    policy = draft.policy
    if policy.fifo:
        return sorted(wants, key=lambda want: (want.rank, want.since_us, want.pair))
    urgency: dict[Pair, float] = {}
    for want in wants:
        if want.pair not in urgency:
            urgency[want.pair] = policy.urgency(worth.wanting(draft, want, draft.needs(want.function, want.pair[1])))
    if policy.shares:

        def place(want: Want) -> tuple[int, float, int, int, Pair]:
            step = 0 if want.promised else 2 if want.rank is Rank.WEAK else 1
            return (step, urgency[want.pair], want.rank, want.since_us, want.pair)

        return sorted(wants, key=place)
    return sorted(wants, key=lambda want: (want.rank, urgency[want.pair], want.since_us, want.pair))


def _settle_shares(draft: Draft) -> None:
    """Remember who lacks a device, where the allocation policy is one of shares. What no device of the fleet would do
    for is not lacking any.
    """
    if not draft.policy.shares:
        return
    could = [
        pair for pair in sorted(draft.lacking) if draft.board.classes_for(draft.needs(draft.wanted(pair[0]), pair[1]))
    ]
    for variant in Variant:
        after = shares.settle(draft.shares.get(variant), draft.now_us, could, variant)
        if after is None:
            draft.shares.pop(variant, None)
        else:
            draft.shares[variant] = after


def _start(draft: Draft, want: Want) -> bool:
    pair = want.pair
    avoid = draft.avoided(pair)
    for need in draft.purse.in_order(pair, want.function, draft.needs(want.function, pair[1])):
        if quota.exceeds(draft, pair, need):
            draft.over_quota.add(pair)
            continue
        devices = draft.board.place(need, pair, avoid)
        if devices is not None and draft.purse.pays(pair, want.function, need, devices, promised=want.promised):
            draft.over_quota.discard(pair)
            draft.start(pair, want.function, need, devices)
            return True
    return False


def _free_devices(draft: Draft, want: Want) -> bool:
    """Claim devices for the want, draining who must give way; False when nothing can be freed now."""
    pair = want.pair
    tenant = pair[0].partition("/")[0] if pair in draft.over_quota else None
    needs = draft.purse.in_order(pair, want.function, draft.needs(want.function, pair[1]))
    eviction = next((e for need in needs if (e := candidates.find(draft, want, need, tenant)) is not None), None)
    if eviction is None:
        return False
    for victim in eviction.victims:
        replica = draft.fleet.by_id[victim.replica_id]
        if victim.reason is Reason.WAITING_FOR_NODE:
            since = format_duration(draft.now_us - replica.started_us)
            draft.kill(replica, victim.reason, f"no node took its pod within {since}: {replica.waiting_detail}")
            continue
        draft.drain(replica, victim.reason, pair[0])
        if victim.rank == 0 and draft.policy.ages:
            draft.clocks[pair[1]] = max(draft.clocks.get(pair[1], 0.0), victim.cost)
    draft.claim(pair, eviction.need, eviction.devices)
    return True


def _stop_drained(draft: Draft) -> None:
    """Stop what is drained and what nobody is taking care of: a step of its ending was lost."""
    for replica in draft.fleet.by_id.values():
        if (
            replica.state is ReplicaState.DRAINING
            and replica.in_flight == 0
            and replica.spec.id not in draft.observed.leaving
        ):
            draft.actions.append(Stop(replica_id=replica.spec.id))
