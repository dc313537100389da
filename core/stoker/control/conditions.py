"""Conditions and plain sentences of a function, from a finished draft. Decides nothing.

The sentences answer the question of a person whose request waits: for what, since when, and for how long.
"""

from collections.abc import Sequence

from stoker.control import rollout
from stoker.control.capacity import needs_of
from stoker.control.draft import Draft
from stoker.control.planning import BackOff, Pair
from stoker.model.fitting import fits_any
from stoker.model.function import Function, Variant
from stoker.model.quantity import format_duration
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.model.status import Condition, FunctionStatus, Placement, ReplicaCounts
from stoker.reasons import Reason


def describe(draft: Draft, function: Function) -> FunctionStatus:
    """The status of one function after the plan."""
    memory = draft.memory[function.key]
    wanted = draft.wanted(function.key)
    updating = rollout.is_updating(memory, wanted.revision) or any(
        r.spec.revision != wanted.revision for v in function.variants for r in draft.fleet.live((function.key, v))
    )
    pair = (function.key, function.primary)
    reason, sentence = _serving(draft, function, wanted, pair)
    ready = reason in (Reason.READY, Reason.SCALED_TO_ZERO)
    warm = len(draft.fleet.warm(pair))
    moving = updating or draft.is_starting(pair) or pair in draft.waiting
    if updating:
        serving = memory.last_ready.revision if memory.last_ready is not None else wanted.revision
        progress = Condition(
            type="Reconciling",
            status=True,
            reason=Reason.ROLLING_OUT,
            message=f"revision {wanted.revision} replaces {serving}: {sentence}",
        )
    else:
        serving = wanted.revision
        progress = Condition(type="Reconciling", status=moving, reason=reason, message=sentence)
    return FunctionStatus(
        function=function.key,
        revision=serving,
        updating=wanted.revision if updating else None,
        conditions=(
            Condition(type="Ready", status=ready, reason=reason, message=sentence),
            Condition(
                type="Active",
                status=warm > 0,
                reason=Reason.READY if warm else Reason.SCALED_TO_ZERO,
                message=f"{warm} warm" if warm else "no replica is warm",
            ),
            progress,
            _stalled(draft, function, wanted, pair),
        ),
        replicas={variant: _counts(draft.fleet.all_of((function.key, variant))) for variant in function.variants},
        placements=tuple(_placement(draft, r) for r in draft.fleet.of_function(function.key)),
        why_waiting=sentence,
    )


def _serving(draft: Draft, function: Function, wanted: Function, pair: Pair) -> tuple[Reason, str]:
    """What a request for the primary variant finds, most telling first."""
    warm = draft.fleet.warm(pair)
    if warm:
        many = "replica is" if len(warm) == 1 else "replicas are"
        return Reason.READY, f"{len(warm)} {many} warm"
    unfit = fits_any(wanted, draft.observed.devices)
    if unfit is not None:
        return Reason.NO_FITTING_DEVICE, unfit
    back_off = draft.memory[function.key].back_off.get(pair[1])
    if back_off is not None and back_off.revision != wanted.revision:
        back_off = None
    starting = [r for r in draft.fleet.live(pair) if r.state is ReplicaState.STARTING]
    if starting or draft.fleet.started.get(pair):
        return Reason.INITIALISING, _starting_sentence(draft, pair, starting) + _failed_before(back_off)
    if back_off is not None and back_off.not_before_us > draft.now_us:
        left = format_duration(back_off.not_before_us - draft.now_us)
        return _failure_reason(back_off), f"the next start is in {left}{_failed_before(back_off)}"
    if pair in draft.waiting:
        return Reason.WAITING_FOR_GPU, _waiting_sentence(draft, wanted, pair) + _failed_before(back_off)
    if back_off is not None:
        return _failure_reason(back_off), f"its next request starts it again{_failed_before(back_off)}"
    known = draft.known_start_us(pair)
    usually = f" (usually {format_duration(known)})" if known is not None else ""
    return Reason.SCALED_TO_ZERO, f"it is scaled to zero; the next request starts a replica{usually}"


def _starting_sentence(draft: Draft, pair: Pair, starting: Sequence[ReplicaStatus]) -> str:
    known = draft.known_start_us(pair)
    usually = f", usually {format_duration(known)}" if known is not None else ""
    if not starting:
        return f"a replica starts now{usually}"
    first = min(starting, key=lambda r: (r.started_us, r.spec.id))
    since = format_duration(max(0, draft.now_us - first.started_us))
    return f"replica {first.spec.ordinal} is starting on {_device_labels(draft, first)} ({since} so far{usually})"


def _failed_before(back_off: BackOff | None) -> str:
    if back_off is None:
        return ""
    times = "once" if back_off.failures == 1 else f"{back_off.failures} times"
    return f"; it has failed {times}, last because {back_off.detail}"


def _failure_reason(back_off: BackOff) -> Reason:
    if back_off.failures > 1 and back_off.reason in (Reason.START_FAILED, Reason.REPLICA_FAILED):
        return Reason.CRASH_LOOP
    return Reason.START_FAILED if back_off.reason is Reason.REPLICA_FAILED else back_off.reason


def _waiting_sentence(draft: Draft, wanted: Function, pair: Pair) -> str:
    needs = needs_of(wanted, pair[1])
    usable = [d for d in draft.board.devices.values() if any(need.could_use(d) for need in needs)]
    what = "GPU" if pair[1] is Variant.GPU else "CPU cores"
    sick = [f"{d.label} is not healthy ({d.reason})" for d in usable if not d.healthy]
    holders = {
        draft.fleet.by_id[r.replica_id].spec.function
        for d in usable
        for r in draft.board.held[d.id]
        if r.replica_id in draft.fleet.by_id
    }
    names = ", ".join(sorted(key.partition("/")[2] for key in holders))
    held = sum(bool(draft.board.held[d.id]) for d in usable if d.healthy)
    parts = [f"waiting for a {what}" if what == "GPU" else f"waiting for {what}"]
    if held:
        verb = "hold" if held > 1 else "holds"
        replicas = f"replicas of {names}" if names else "replicas that are ending"
        parts.append(f": {held} of {len(usable)} {verb} {replicas}")
    parts += [f"; {sentence}" for sentence in sick]
    claims = draft.board.claims_of(pair)
    if claims:
        where = " + ".join(draft.board.devices[d].label for d in claims[0].devices)
        parts.append(f"; it gets {where} as soon as the work there has ended")
    elif pair in draft.turn_us:
        left = max(0, draft.turn_us[pair] - draft.now_us)
        parts.append(f"; its turn comes within ~{format_duration(max(1_000_000, left))}")
    return "".join(parts)


def _stalled(draft: Draft, function: Function, wanted: Function, pair: Pair) -> Condition:
    memory = draft.memory[function.key]
    if memory.failed is not None and memory.last_ready is not None:
        message = (
            f"revision {memory.failed.revision} was given up: {memory.failed.detail}; "
            f"revision {wanted.revision} serves until the function is changed again"
        )
        return Condition(type="Stalled", status=True, reason=Reason.ROLLOUT_FAILED, message=message)
    unfit = fits_any(wanted, draft.observed.devices)
    if unfit is not None:
        return Condition(type="Stalled", status=True, reason=Reason.NO_FITTING_DEVICE, message=unfit)
    back_off = memory.back_off.get(pair[1])
    if back_off is not None and back_off.failures >= draft.params.max_crashes:
        message = _failed_before(back_off).removeprefix("; ")
        return Condition(type="Stalled", status=True, reason=_failure_reason(back_off), message=message)
    return Condition(type="Stalled", status=False, reason=Reason.READY, message="nothing stands in the way")


def _counts(replicas: Sequence[ReplicaStatus]) -> ReplicaCounts:
    states = [r.state for r in replicas]
    return ReplicaCounts(
        warm=states.count(ReplicaState.WARM),
        starting=states.count(ReplicaState.STARTING),
        draining=states.count(ReplicaState.DRAINING),
    )


def _placement(draft: Draft, replica: ReplicaStatus) -> Placement:
    spec = replica.spec
    return Placement(
        replica=spec.id,
        variant=spec.variant,
        revision=spec.revision,
        device=_device_labels(draft, replica),
        state=replica.state,
    )


def _device_labels(draft: Draft, replica: ReplicaStatus) -> str:
    devices = draft.board.devices
    return " + ".join(devices[d].label if d in devices else d for d in replica.spec.devices)
