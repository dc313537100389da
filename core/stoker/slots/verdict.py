"""Whether an agent takes a request, and what it promises of it. Pure.

Schedule-based (DESIGN section 6): it is taken if the policy's own schedule, with what runs, what is queued and this
request in its place, keeps every promise of the same or higher priority, and the objective of this one. The bound on a
finish time is the sum of the mean executions before it and a margin that is calibrated on whole finish times. A request
of higher priority may take the place of what is queued below it: the least first. Where the policy has no fixed order
the wait is an estimate, nothing is guarded, and the answer says so.

Utilisation threshold: it is taken while what runs and waits on its slots, with it, is at most THRESHOLD_PERCENT of what
they can do within its objective; an estimate too.
"""

from msgspec import Struct

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Entry, Place
from stoker.policies.queueing.interface import QueuePolicy
from stoker.policies.queueing.lanes import Room
from stoker.reasons import Reason
from stoker.slots.contention import WINDOW_US
from stoker.slots.forecast import Rule, Sight, wait_us
from stoker.wire.agent import Refusal, refuse

RETRY_MIN_US = 50_000
"""Nobody is told to come back sooner."""
THRESHOLD_PERCENT = 80
"""Of the utilisation threshold (ours): the rest is for what runs longer than its mean."""
MOST_SHED = 64
"""Queued requests that one of higher priority may push out at most."""
_ONE = 1_000_000


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What becomes of a request."""

    refusal: Refusal | None = None
    """None: it is taken."""
    finish_us: int | None = None
    """Predicted time from now to its end, without the margin; None: nobody looked."""
    promise_us: int = 0
    """Until when it must start so that what was promised is kept; 0: nothing is promised."""
    late: bool = False
    """It is taken although it is predicted to miss, or to make others miss."""
    behind: bool = False
    """It runs behind everything that can be on time."""
    shed: tuple[str, ...] = ()
    """Queued requests that give way to it."""
    explores: bool = False
    """It is taken to learn how long it takes, whatever is predicted."""
    unheeded: Reason | None = None
    """Why it would have been refused, were the mode not Observe."""
    estimated: bool = False


def bind(request: QueuedRequest, verdict: Verdict) -> None:
    """Write into a request that is taken what was promised of it: queueing policies go by that."""
    request.promise_us = verdict.promise_us
    request.behind = verdict.behind
    request.finish_us = verdict.finish_us or 0
    if not verdict.promise_us:
        # Nobody looked, nothing is enforced, or it was taken against what was seen: then it is also served late.
        request.late_ok = True


class _Fit(Struct, frozen=True):
    """How a request fits in."""

    finish_us: int
    promise_us: int
    late_by_us: int
    """At most 0: it is on time, with the margin."""
    over_us: int
    """At most 0: its function may have so much queued."""
    estimated: bool


def judge(request: QueuedRequest, sight: Sight | None, *, policy: QueuePolicy, accepting: bool) -> Verdict:
    """On a request that comes now (its `arrival_us`), or came `sight.ago_us` ago. Refused while the agent drains (not
    `accepting`).

    `sight` is what it finds; None: it is taken without a promise. Changes nothing, also not the policy.
    """
    if not accepting:
        return Verdict(refusal=refuse(Reason.DRAINING, "the agent drains and takes no new requests", request.id))
    if sight is None:
        return Verdict()
    fit = _fit(request, sight, policy)
    shed: tuple[str, ...] | None = ()
    scheduled = bool(sight.rooms) and sight.rule is Rule.SCHEDULE
    if scheduled and policy.commitments is not None:
        shed = _room_for(request, sight, policy.commitments, policy.place(request), fit)
    elif fit.late_by_us > 0 or fit.over_us > 0:
        shed = None
    if shed is not None:
        return Verdict(
            finish_us=fit.finish_us,
            promise_us=0 if sight.observes else fit.promise_us,
            shed=() if sight.observes else shed,
            estimated=fit.estimated,
        )
    reason = Reason.OVER_SHARE if fit.over_us > 0 >= fit.late_by_us else Reason.PREDICTED_MISS
    if sight.observes:
        return Verdict(finish_us=fit.finish_us, unheeded=reason, estimated=fit.estimated)
    if sight.free and sight.explores:
        return Verdict(finish_us=fit.finish_us, explores=True, behind=scheduled, estimated=fit.estimated)
    if sight.takes_late:
        return Verdict(finish_us=fit.finish_us, late=True, behind=scheduled, estimated=fit.estimated)
    refusal = _refusal(request, sight, fit, reason)
    if scheduled and policy.commitments is not None:
        refusal.closed_us = _closed_us(sight, fit, dict(sight.rooms)[policy.commitments.lanes[request.flow]])
    return Verdict(refusal=refusal, finish_us=fit.finish_us, estimated=fit.estimated)


def _now_us(request: QueuedRequest, sight: Sight) -> int:
    return request.arrival_us + sight.ago_us


def _fit(request: QueuedRequest, sight: Sight, policy: QueuePolicy) -> _Fit:
    exec_us, commitments = request.predicted_exec_us, policy.commitments
    remaining_us = request.objective_us - _now_us(request, sight)
    estimated = False
    if sight.free:
        start_us = 0
    elif sight.rooms and commitments is not None and sight.rule is Rule.SCHEDULE:
        room = dict(sight.rooms)[commitments.lanes[request.flow]]
        start_us = room.start_us(commitments.ahead_us(request.flow, policy.place(request)) + sight.promised_us)
    else:
        start_us = wait_us(request, sight, policy)
        estimated = True
    finish_us = start_us + exec_us
    margin_us = finish_us * sight.margin_ppm // _ONE
    over_us = 0
    if sight.limit_us is not None and not sight.free:
        over_us = policy.queued_us((request.flow,)) + sight.reserved_us + exec_us - sight.limit_us
    if sight.rule is Rule.UTILISATION:
        late_by_us = _above_threshold_us(request, sight, policy)
    else:
        late_by_us = finish_us + margin_us - remaining_us
    # Others may still be let in before it, until it ends at its objective but for the margin of that whole time.
    may_us = remaining_us * _ONE // (_ONE + sight.margin_ppm) - exec_us
    return _Fit(finish_us, max(1, _now_us(request, sight) + may_us), late_by_us, over_us, estimated)


def _above_threshold_us(request: QueuedRequest, sight: Sight, policy: QueuePolicy) -> int:
    """For how long the slots have to work until the request may be taken; at most 0: it may be now."""
    servers = max(1, sight.servers or sight.starting)
    work_us = sum(sight.remaining_us) + policy.queued_us(sight.flows or (request.flow,)) + sight.promised_us
    if sight.free:
        work_us = 0
    may_us = (request.objective_us - _now_us(request, sight)) * servers * THRESHOLD_PERCENT // 100
    return (work_us + request.predicted_exec_us - may_us) // servers


def _room_for(
    request: QueuedRequest, sight: Sight, commitments: Commitments, place: Place, fit: _Fit
) -> tuple[str, ...] | None:
    """What has to be shed so that the request fits in; None: it does not, whatever is shed."""
    if fit.over_us > 0:
        return None
    rooms, level, work_us = dict(sight.rooms), request.priority.level, request.predicted_exec_us + sight.promised_us
    room, now_us = rooms[commitments.lanes[request.flow]], _now_us(request, sight)

    def broken() -> list[str] | None:
        start_us = room.start_us(commitments.ahead_us(request.flow, place) + sight.promised_us)
        if now_us + start_us > fit.promise_us:
            return None
        return commitments.broken_by(request.flow, place, work_us, level, rooms, now_us)

    last = broken()
    if last == [] or level == 0:
        return () if last == [] else None
    taken: list[Entry] = []
    for request_id in commitments.sheddable(request.flow, level)[:MOST_SHED]:
        taken.append(commitments.take(request_id))
        last = broken()
        if last == []:
            break
    needed = []
    for entry in taken:
        commitments.put_back(entry)
        if last == [] and broken() != []:
            needed.append(commitments.take(entry.request_id))
    for entry in needed:
        commitments.put_back(entry)
    return tuple(entry.request_id for entry in needed) if last == [] else None


def _closed_us(sight: Sight, fit: _Fit, room: Room) -> int:
    """For how long a refusal speaks for those that come after it (Refusal.closed_us), if all goes as predicted; a
    gateway goes by it for a moment only.

    One that would be late stays late until the excess is worked off: the bound on a start falls by at most one unit a
    unit of time while all work before it needs slots of its lane. What a function has queued gets less, and a slot
    comes free for a trial or for a lane that others do not share, when the first run ends. Which promises a request
    would break depends on its place in the order: that says nothing of others.
    """
    late_us = fit.late_by_us * _ONE // (_ONE + sight.margin_ppm)
    if late_us > 0 and (sight.explores or len(sight.rooms) > 1):
        late_us = min(late_us, *(each.start_us(0) for _, each in sight.rooms))
    over_us = room.start_us(0) if fit.over_us > 0 else 0
    return max(0, late_us, over_us)


def _refusal(request: QueuedRequest, sight: Sight, fit: _Fit, reason: Reason) -> Refusal:
    if reason is Reason.OVER_SHARE:
        detail = "its devices are contended, and its function gets no more than its share of them"
        # What is over has to be worked off, at the rate of the share.
        retry_us = fit.over_us * WINDOW_US // sight.share_us if sight.share_us else WINDOW_US
    elif fit.late_by_us > 0:
        detail = _why_late(request, sight, fit)
        retry_us = fit.late_by_us
    else:
        detail = "it would make requests late that were promised to be on time"
        retry_us = request.predicted_exec_us
    return refuse(
        reason,
        detail,
        request.id,
        predicted_finish_us=fit.finish_us,
        retry_after_us=max(RETRY_MIN_US, retry_us),
        estimated=fit.estimated,
    )


def _why_late(request: QueuedRequest, sight: Sight, fit: _Fit) -> str:
    if sight.rule is Rule.UTILISATION:
        return f"with it, its slots would have to do more than {THRESHOLD_PERCENT} % of what they can by its objective"
    # The prediction that is told beside this has no margin: it may lie within the objective.
    margin = "with the margin for its percentile " if request.arrival_us + fit.finish_us <= request.objective_us else ""
    return f"{margin}it would end {-(-fit.late_by_us // 1000)} ms after its objective"
