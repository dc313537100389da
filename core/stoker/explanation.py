"""The text of `stoker explain`: what became of a request and why, for the person who sent it.

One headline, one line on where the time went, the timeline, and a hint where something can be done. It reads a
RequestRecord and nothing else. Clients write paths and replicas write details, so no character of theirs reaches a
terminal as a control character.
"""

import re
from collections.abc import Iterator

from stoker.cost.money import money
from stoker.decisions import RequestRecord
from stoker.model.quantity import format_duration
from stoker.reasons import DeviceReason, Outcome, Reason
from stoker.tickets import TicketOutcome

_TEXT_MAX = 300
"""Characters of a foreign text that are shown."""

_WHY: dict[Reason, str] = {
    Reason.QUEUE_FULL: "as many requests of the function as its queue allows were waiting already",
    Reason.PREDICTED_MISS: "it could not have met its objective, or not without breaking what others were promised",
    Reason.OVER_SHARE: (
        "more is asked of its devices than they have, and its function gets no more than its share of them"
    ),
    Reason.COST_BOUND: "serving it would cost more than the function, or its namespace, may cost",
    Reason.SHED: "it had been taken, and gave way to a request of higher priority before it ran",
    Reason.HOLD_FULL: "the gateway holds as many waiting requests, over all functions or of its namespace, as it may",
    Reason.NO_FITTING_DEVICE: "no device of this platform can ever hold a replica of the function",
    Reason.SCALED_TO_ZERO: "the function is at zero, and this path does not wake it (noWakePaths)",
    Reason.CONTROL_PLANE_UNAVAILABLE: "the gateway had no connection to what starts replicas",
    Reason.TIMEOUT: "its timeout passed",
    Reason.REPLICA_FAILED: "the replica that ran it ended or closed the connection",
    Reason.BAD_REPLICA_ANSWER: "the replica answered with something that is not HTTP",
    Reason.BODY_TOO_SLOW: "its body came too slowly",
    Reason.FUNCTION_NOT_FOUND: "there is no such function",
    Reason.MALFORMED_REQUEST: "it is not valid HTTP",
    Reason.UNKNOWN_CLASS: "the function has no class of the name given in Stoker-Class",
    Reason.HEADERS_TOO_LARGE: "its headers are larger than the gateway takes",
    Reason.MISDIRECTED: "the host name does not say the namespace",
    Reason.UNAUTHENTICATED: "the function serves known callers only, and it did not prove who sent it",
    Reason.ACCESS_DENIED: "the function does not serve its sender (access)",
    Reason.CLIENT_GONE: "the client closed the connection first",
    Reason.NO_REPLICA: "the last replica of the function went before the request could run",
    Reason.DRAINING: "the platform was shutting down",
}
"""By each reason that a request can end with."""

_HINT: dict[Reason, str] = {
    Reason.QUEUE_FULL: "raise scaling.maxReplicas, or queue.maxRequests if clients can wait longer",
    Reason.PREDICTED_MISS: (
        "raise slo.latency or scaling.maxReplicas, add a cpuVariant, or add ServeLate to onPredictedMiss"
    ),
    Reason.OVER_SHARE: "raise fairShare, its namespace's weight or scaling.maxReplicas, or add a cpuVariant",
    Reason.COST_BOUND: "raise slo.maxCostPerHour or maxCostPerThousandRequests; `stoker cost` shows what was spent",
    Reason.SHED: "raise priority, as far as its namespace may",
    Reason.HOLD_FULL: "keep replicas of the busiest functions warm (scaling.minReplicas)",
    Reason.NO_FITTING_DEVICE: "lower gpu.memory or widen gpu.products; `stoker doctor` lists the devices",
    Reason.SCALED_TO_ZERO: "send a request to another path, or set scaling.minReplicas to 1",
    Reason.TIMEOUT: "raise timeout (or Stoker-Deadline-Ms), or keep a replica warm (scaling.minReplicas)",
    Reason.REPLICA_FAILED: "read the replica's last lines of output in the log of the platform",
    Reason.CONTROL_PLANE_UNAVAILABLE: "look at /readyz and at the log of the platform",
    Reason.NO_REPLICA: "send it again: a replica is started",
    Reason.DRAINING: "send it to another gateway, or when the platform is back",
    Reason.HEADERS_TOO_LARGE: "send fewer or shorter headers",
    Reason.BAD_REPLICA_ANSWER: "check that container.port is the port of an HTTP/1.1 server",
    Reason.BODY_TOO_SLOW: "send the body faster; a request holds a slot while its body comes",
    Reason.FUNCTION_NOT_FOUND: "check the namespace and the name in the URL; `stoker top` lists the functions",
    Reason.UNKNOWN_CLASS: "name the class under slo.classes, or leave Stoker-Class out",
    Reason.UNAUTHENTICATED: (
        "send a service account token for the audience stoker in the header Stoker-Authorization: Bearer TOKEN"
    ),
    Reason.ACCESS_DENIED: "name the caller's namespace, or NAMESPACE/SERVICEACCOUNT, under access.allow",
    Reason.MISDIRECTED: "call the URL NAMESPACE/FUNCTION in full",
}
"""What the reader can do, where there is something."""


_COLD_MISS_HINT = (
    "keep a replica warm (scaling.minReplicas, scaling.preWarm), raise slo.coldLatency (or timeout, where it is not "
    "set), or add ServeLate to onPredictedMiss"
)
"""Of a predicted miss that waited for no slot but for a start."""

_PROMISE = re.compile(r"predicted=(-?[0-9.]{1,20}), latest=(-?[0-9.]{1,20})(, estimated)?")

_WHY_THERE: dict[DeviceReason | None, str] = {
    None: "",
    DeviceReason.ONLY_VARIANT: "",
    DeviceReason.NOT_WARM_ELSEWHERE: "",
    DeviceReason.CHOSEN: ": the device-choice policy sent it there",
    DeviceReason.PREDICTED_MISS: ": it was predicted to miss its objective on the GPU",
    DeviceReason.OVER_SHARE: ": its function had used up its share of the GPUs",
    DeviceReason.COST_BOUND: ": a bound on its cost does not pay for a GPU now",
    DeviceReason.SERVED_LATE: ": a miss was predicted, and late requests are served",
}


def explain(record: RequestRecord) -> str:
    """A few lines without a trailing newline."""
    about = (f"{record.method} {record.path}".strip(), record.function, record.arrived_at)
    lines = [f"Request {_clean(record.id)}: {', '.join(_clean(part) for part in about if part)}", _headline(record)]
    if record.detail:
        lines.append(f"Detail: {_sentence(_clean(record.detail))}")
    if promised := _promised(record):
        lines.append(promised)
    if phases := _phases(record):
        lines.append(phases)
    lines += _timeline(record)
    if hint := _hint(record):
        lines.append(f"Hint: {hint}.")
    return "\n".join(lines)


def _headline(record: RequestRecord) -> str:
    after = "" if record.total_us is None else f" after {format_duration(record.total_us)}"
    match record.outcome:
        case Outcome.SERVED:
            return _served(record)
        case Outcome.REFUSED:
            return f"Refused{_code(record)}: {_why(record)}.{_prediction(record)}"
        case Outcome.EXPIRED:
            return f"Expired{after}{_code(record)}: {_why(record)} {_where_it_expired(record)}."
        case Outcome.FAILED:
            return f"Failed{after}{_code(record)}: {_why(record)}."
        case Outcome.UNKNOWN:
            return (
                f"Outcome unknown{_code(record)}: the connection was lost{after}, when the request had been dispatched."
                " The work may have been done, so it was not tried again."
            )
        case None:
            return f"Not ended yet{after}: {_where_it_is(record)}."


def _served(record: RequestRecord) -> str:
    where = _where(record)
    after_start = " after a cold start" if record.cold else ""
    if record.total_us is None:
        return f"Served{after_start}{where}."
    took = format_duration(record.total_us)
    latency = format_duration(record.latency_us)
    if record.on_time:
        return f"Served on time{after_start}{where}: {took} of the {latency} allowed by slo.latency."
    if record.cold:
        miss = f"It counts as a miss of slo.latency ({latency})"
        if record.total_us <= record.objective_us:
            objective = format_duration(record.objective_us)
            return f"Served after a cold start{where}: {took}, within the {objective} that a cold one may take. {miss}."
        over = format_duration(record.total_us - record.objective_us)
        return f"Served late after a cold start{where}: {took}, {over} more than a cold one may take. {miss}."
    if record.on_time is None:
        return f"Served{where} in {took}."
    # The objective may bound the first byte, which the total time does not tell.
    if record.total_us <= record.latency_us:
        return f"Served late{where}: {took} in all."
    over = format_duration(record.total_us - record.latency_us)
    return f"Served late{where}: {took}, {over} over the {latency} allowed by slo.latency."


def _where(record: RequestRecord) -> str:
    if not record.device:
        return ""
    diverted = f" (diverted to the CPU variant{_WHY_THERE[record.device_reason]})" if record.diverted else ""
    return f" on {_clean(record.device)}{diverted}"


def _promised(record: RequestRecord) -> str:
    """What its agent promised of it, beside what became of that."""
    found = _PROMISE.fullmatch(record.promise)
    if found is None:
        return f"Nothing was promised of it: {_why_unpromised(record)}." if _is_unpromised(record) else ""
    *figures, estimated = found.groups()
    predicted, latest = (format_duration(round(float(figure) * 1000)) for figure in figures)
    said = f"an end after {predicted}, with the margin of its percentile after {latest}."
    if record.outcome is Outcome.SERVED and record.on_time is False and not record.cold:
        said += " It was not kept."
    if estimated:
        return f"Estimated at the agent, and guarded by no schedule: {said}"
    return f"Promised at the agent: {said}"


def _is_unpromised(record: RequestRecord) -> bool:
    return record.outcome is Outcome.SERVED and record.on_time is not None and not record.promise


def _why_unpromised(record: RequestRecord) -> str:
    if record.ticket == TicketOutcome.HONOURED:
        return "it had a place, kept by its ticket"
    if record.device_reason is DeviceReason.SERVED_LATE:
        return "it was predicted to miss its objective, and late requests are served"
    if record.cold:
        return "it waited for a start"
    return "it was taken to learn how long it takes, or by a policy that promises nothing (GpuPolicy spec.admission)"


def _code(record: RequestRecord) -> str:
    words = [*([str(record.status)] if record.status else []), *([record.reason.value] if record.reason else [])]
    return f" ({' '.join(words)})" if words else ""


def _why(record: RequestRecord) -> str:
    return "no reason was recorded" if record.reason is None else _WHY.get(record.reason, record.reason.value)


def _prediction(record: RequestRecord) -> str:
    if record.predicted_finish_us is None:
        return ""
    how = ""
    if record.estimated:
        how = " (an estimate from means)"
    elif record.reason is Reason.PREDICTED_MISS and record.predicted_finish_us <= record.objective_us:
        # What is compared with the objective is the prediction with its margin.
        how = ", or later by the margin for its percentile"
    objective = format_duration(record.objective_us)
    may = f"a cold one may take {objective}" if _is_cold_miss(record) else f"its objective was {objective}"
    return f" It would have ended after {format_duration(record.predicted_finish_us)}{how}; {may}."


def _is_cold_miss(record: RequestRecord) -> bool:
    """It found no warm replica and was refused for the time that a start takes."""
    return record.reason is Reason.PREDICTED_MISS and record.objective_us > record.latency_us


def _where_it_expired(record: RequestRecord) -> str:
    if record.exec_us is not None or record.dispatched:
        return "while it ran"
    if record.queue_us is not None:
        return "while it was queued for a busy replica"
    if record.cold:
        return "while it waited for a replica to start"
    return "before it ran"


def _where_it_is(record: RequestRecord) -> str:
    if record.dispatched:
        return "a replica runs it"
    if record.cold and not record.start_us:
        return "it waits for a replica to start"
    return "it waits in a queue, or its body is on its way"


def _phases(record: RequestRecord) -> str:
    parts = (
        ("waited for a warm replica", record.start_us),
        ("queued", record.queue_us),
        ("ran", record.exec_us),
    )
    said = [f"{what} {format_duration(us)}" for what, us in parts if us is not None]
    cost = "" if record.cost_micro is None else f" Its run was charged {money(record.cost_micro)}."
    return f"Time: {', '.join(said)}.{cost}" if said else ""


def _timeline(record: RequestRecord) -> Iterator[str]:
    steps = sorted(record.steps, key=lambda step: step.at_us)
    offsets = [f"+{format_duration(step.at_us)}" for step in steps]
    width = max(map(len, offsets), default=0)
    for offset, step in zip(offsets, steps, strict=True):
        yield f"  {offset:>{width}}  {_clean(step.what)}"


def _hint(record: RequestRecord) -> str:
    hints = []
    if record.retry_after_ms is not None:
        retry = f"try again in {format_duration(record.retry_after_ms * 1000)}"
        if record.ticket_window_ms is not None:
            window = format_duration(record.ticket_window_ms * 1000)
            retry += f" with its ticket (Stoker-Ticket), for which a place is kept from then on for {window}"
        hints.append(retry)
    if _is_cold_miss(record):
        hints.append(_COLD_MISS_HINT)
    elif record.reason in _HINT:
        hints.append(_HINT[record.reason])
    return "; or ".join(hints)


def _sentence(text: str) -> str:
    """As a sentence: platforms write parts of one, replicas what they like."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "...")) else ".")


def _clean(text: str) -> str:
    shown = text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
