"""Conditions of a function from a finished draft: each second that somebody waits has a reason. Decides nothing.

The sentences (stoker.control.sentences) answer the person whose request waits: for what, since when, for how long.
"""

from collections.abc import Sequence

from stoker.control import pacing, rollout, sentences
from stoker.control.draft import Draft
from stoker.control.planning import BackOff, Pair
from stoker.control.unfit import is_poor
from stoker.model.function import Function
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.model.status import Condition, FunctionStatus, Placement, ReplicaCounts
from stoker.reasons import Reason

_NO_STALL = Condition(type="Stalled", status=False, reason=Reason.READY, message="nothing stands in the way")
_NONE_WARM = Condition(type="Active", status=False, reason=Reason.SCALED_TO_ZERO, message="no replica is warm")
_NO_COUNTS = ReplicaCounts()

_NEEDS_SOMEBODY = frozenset({Reason.POD_REFUSED, Reason.NAME_CONFLICT, Reason.IMAGE_NEEDS_ROOT})
"""Failures that trying again does not heal: somebody must change something."""

Said = tuple[Reason, str]


def describe(draft: Draft, function: Function) -> FunctionStatus:
    """The status of one function after the plan."""
    memory = draft.memory[function.key]
    wanted = draft.wanted(function.key)
    fleet = draft.fleet
    updating = rollout.is_updating(memory, wanted.revision) or any(
        r.spec.revision != wanted.revision for v in function.variants for r in fleet.live((function.key, v))
    )
    pair = (function.key, function.primary)
    warm = fleet.warm(pair)
    # Nobody waits for a variant that a bound on cost spares since the other one will do.
    spared = None if warm or draft.is_starting(pair) else pacing.spared(draft, pair, wanted)
    pending = _pending(draft, function, wanted, pair) if spared is None else None
    zero = _at_zero(draft, pair) if spared is None else (Reason.SCALED_TO_ZERO, spared)
    reason, sentence = _warm(draft, warm) if warm else pending or zero
    ready = bool(warm) or reason is Reason.SCALED_TO_ZERO
    if updating:
        serving = memory.last_ready.revision if memory.last_ready is not None else wanted.revision
        coming = sentence if pending is None else pending[1]
        progress = Condition(
            type="Reconciling",
            status=True,
            reason=Reason.ROLLING_OUT,
            message=f"revision {wanted.revision} replaces {serving}: {coming}",
        )
    else:
        serving = wanted.revision
        waits = pair in draft.waiting and spared is None
        moving = draft.is_starting(pair) or waits or bool(fleet.blockers(pair))
        why, what = (pending or (reason, sentence)) if moving else (reason, sentence)
        progress = Condition(type="Reconciling", status=moving, reason=why, message=what)
    active = _NONE_WARM
    if warm:
        active = Condition(type="Active", status=True, reason=Reason.READY, message=f"{len(warm)} warm")
    return FunctionStatus(
        function=function.key,
        revision=serving,
        updating=wanted.revision if updating else None,
        conditions=(
            Condition(type="Ready", status=ready, reason=reason, message=sentence),
            active,
            progress,
            _stalled(draft, function, wanted, pair),
        ),
        replicas={variant: _counts(fleet.all_of((function.key, variant))) for variant in function.variants},
        placements=tuple(_placement(draft, r) for r in fleet.of_function(function.key)),
        why_waiting=sentence,
    )


def _warm(draft: Draft, warm: Sequence[ReplicaStatus]) -> Said:
    """What serves a request now."""
    many = "replica is" if len(warm) == 1 else "replicas are"
    sentence = f"{len(warm)} {many} warm"
    poor = [r for r in warm if is_poor(draft, r)]
    if len(poor) < len(warm):
        return Reason.READY, sentence
    return Reason.QUARANTINED, f"{sentence}, {sentences.on_sick_device(draft, poor[0])}"


def _pending(draft: Draft, function: Function, wanted: Function, pair: Pair) -> Said | None:
    """Why the next replica of the primary variant is not there, most telling first; None where none is coming."""
    misfit = draft.misfit(wanted)
    if misfit is not None:
        return Reason.NO_FITTING_DEVICE, misfit
    back_off = draft.memory[function.key].back_off.get(pair[1])
    if back_off is not None and back_off.revision != wanted.revision:
        back_off = None
    before = sentences.failed_before(back_off)
    starting = [r for r in draft.fleet.live(pair) if r.state is ReplicaState.STARTING]
    if starting or draft.fleet.started.get(pair):
        reason, sentence = _starting(draft, pair, starting)
        return reason, sentence + before
    if back_off is not None and back_off.not_before_us > draft.now_us:
        return _failure_reason(back_off), f"{sentences.next_start(draft, back_off)}{before}"
    if pair in draft.waiting:
        reason, sentence = _waiting(draft, wanted, pair)
        return reason, sentence + before
    if back_off is not None:
        return _failure_reason(back_off), f"its next request starts it again{before}"
    return None


def _starting(draft: Draft, pair: Pair, starting: Sequence[ReplicaStatus]) -> Said:
    if not starting:
        return Reason.INITIALISING, sentences.starts_now(draft, pair)
    first = min(starting, key=lambda r: (r.started_us, r.spec.id))
    sentence = sentences.starting(draft, pair, first)
    if first.waiting is None:
        return Reason.INITIALISING, sentence
    return first.waiting, f"{sentence}: {first.waiting_detail}" if first.waiting_detail else sentence


def _waiting(draft: Draft, wanted: Function, pair: Pair) -> Said:
    """Why a wanted replica is not even started."""
    denial = draft.purse.denial(pair)
    if denial is not None:
        return Reason.COST_BOUND, denial
    if pair in draft.over_quota:
        return Reason.QUOTA_EXCEEDED, sentences.over_quota(draft, pair)
    blockers = draft.fleet.blockers(pair)
    found = sentences.holding(draft, draft.needs(wanted, pair[1]))
    sentence = sentences.waiting(draft, pair, found)
    if blockers:
        reason = blockers[0].waiting or Reason.UNFIT_DEVICE
        return (
            reason,
            f"replica {blockers[0].spec.ordinal} is on a device that it may not use: {blockers[0].unfit}; {sentence}",
        )
    avoided = draft.avoided(pair)
    if avoided and not sentences.sound_elsewhere(draft, wanted, pair, avoided):
        return Reason.UNFIT_DEVICE, f"{sentences.tried_again(draft, pair, avoided)}; {sentence}"
    if found.devices and not found.sound:
        return Reason.QUARANTINED, sentence
    return Reason.WAITING_FOR_NODE if found.on_cluster and not wanted.spec.gpu else Reason.WAITING_FOR_GPU, sentence


def _at_zero(draft: Draft, pair: Pair) -> Said:
    blockers = draft.fleet.blockers(pair)
    if blockers:
        return blockers[0].waiting or Reason.UNFIT_DEVICE, blockers[0].unfit
    denial = draft.purse.denial(pair)
    if denial is not None:
        return Reason.COST_BOUND, denial
    return Reason.SCALED_TO_ZERO, sentences.at_zero(draft, pair)


def _failure_reason(back_off: BackOff) -> Reason:
    if back_off.failures > 1 and back_off.reason in (Reason.START_FAILED, Reason.REPLICA_FAILED):
        return Reason.CRASH_LOOP
    return Reason.START_FAILED if back_off.reason is Reason.REPLICA_FAILED else back_off.reason


def _stalled(draft: Draft, function: Function, wanted: Function, pair: Pair) -> Condition:
    memory = draft.memory[function.key]
    if memory.failed is not None and memory.last_ready is not None:
        message = (
            f"revision {memory.failed.revision} was given up: {memory.failed.detail}; "
            f"revision {wanted.revision} serves until the function is changed again"
        )
        return Condition(type="Stalled", status=True, reason=Reason.ROLLOUT_FAILED, message=message)
    misfit = draft.misfit(wanted)
    if misfit is not None:
        return Condition(type="Stalled", status=True, reason=Reason.NO_FITTING_DEVICE, message=misfit)
    back_off = memory.back_off.get(pair[1])
    if back_off is not None and (back_off.failures >= draft.params.max_crashes or _is_refused(draft, pair, back_off)):
        message = sentences.failed_before(back_off).removeprefix("; ")
        return Condition(type="Stalled", status=True, reason=_failure_reason(back_off), message=message)
    return _NO_STALL


def _is_refused(draft: Draft, pair: Pair, back_off: BackOff) -> bool:
    """Whether its last replica could not even be made, for a reason that stands, and none was made since."""
    # The API tells when a pod was made to the second only.
    made_since = any(r.started_us > back_off.at_us - 1_000_000 for r in draft.fleet.live(pair))
    return back_off.reason in _NEEDS_SOMEBODY and not made_since


def _counts(replicas: Sequence[ReplicaStatus]) -> ReplicaCounts:
    if not replicas:
        return _NO_COUNTS
    states = [r.state for r in replicas]
    return ReplicaCounts(
        warm=states.count(ReplicaState.WARM),
        starting=states.count(ReplicaState.STARTING),
        draining=states.count(ReplicaState.DRAINING),
    )


def _placement(draft: Draft, replica: ReplicaStatus) -> Placement:
    spec = replica.spec
    node = draft.board.node_of(spec.devices[0]) if spec.devices else ""
    return Placement(
        replica=spec.id,
        variant=spec.variant,
        revision=spec.revision,
        device=sentences.device_labels(draft, replica),
        state=replica.state,
        node=node,
    )
