"""`stoker explain`: why a request waited or was refused, or how a function stands, in plain words."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from stoker.cost.money import money
from stoker.decisions import RequestRecord
from stoker.explanation import explain as explain_record
from stoker_cli.console import CommandFailed, listed, ms, percent
from stoker_cli.costs.cost_view import CostState
from stoker_cli.internal_client import get_json, get_view, unknown_function
from stoker_cli.state_file import choose, running
from stoker_cli.state_view import ConditionView, FunctionView, StateView


def explain(what: str, environ: Mapping[str, str], port: int | None) -> str:
    """The text for a request id or a function. Raises CommandFailed for what no instance knows."""
    newest = choose(environ, port)
    states = [newest] if port is not None else running(environ)
    views: list[StateView] = []
    silent: CommandFailed | None = None
    for state in states:
        # The newest one says what a name means; what it does not know an older one may, while any of them hangs.
        try:
            if "/" not in what:
                body = get_json(state, f"/v1/requests/{quote(what, safe='')}")
                if body is not None:
                    return explain_record(msgspec.json.decode(body, type=RequestRecord))
            views.append(get_view(state))
        except CommandFailed as err:
            silent = silent or err
    for view in views:
        key = view.key_of(what)
        if key is not None:
            return function_sentences(key, view.functions[key])
    if silent is not None:
        raise silent
    if "/" in what:
        raise unknown_function(views[0].url, what, {key for view in views for key in view.functions})
    raise CommandFailed(
        f"The platform at {newest.url} has no function {what!r} and remembers no request of that id: it keeps the "
        f"newest {views[0].records_kept} and has {views[0].records} now; the id is in the header Stoker-Request-Id "
        "of an answer."
    )


def function_sentences(key: str, view: FunctionView) -> str:
    """How a function stands, one sentence a line."""
    lines = [f"{key} (revision {view.revision}) is at {view.url}"]
    lines += [
        _condition(one) for one in view.conditions if one.type == "Ready" or (one.status and one.type != "Active")
    ]
    if view.updating:
        lines.append(f"Revision {view.updating} is on its way to replace it.")
    for variant, state in view.variants.items():
        replicas = listed(f"{count} {name}" for name, count in state.replicas.items()) or "no replica"
        lines.append(
            f"Its {variant} variant has {replicas}; {state.held} requests held, {state.queued} queued, "
            f"{state.running} running."
        )
    slo = view.slo
    if slo.offered:
        misses = listed(
            f"{count} {name}"
            for name, count in (
                ("late", slo.late),
                ("refused", slo.refused),
                ("expired", slo.expired),
                ("failed", slo.failed),
            )
            if count
        )
        lines.append(
            f"{percent(slo.on_time, slo.offered)} of {slo.offered} requests were on time for {ms(slo.latency_ms)}"
            f" (the objective is {slo.percentile:g} %)" + (f"; {misses}" if misses else "") + f"; {slo.cold} were cold."
        )
        if view.refusals:
            lines.append(f"Refused by reason: {_counted(view.refusals)}.")
        if view.diverted:
            lines.append(f"Ran on the CPU variant by reason: {_counted(view.diverted)}.")
    else:
        lines.append(f"No request has ended since the start; the objective is {ms(slo.latency_ms)}.")
    if view.cost is not None:
        lines.append(_spent(view.cost))
    return "\n".join(lines + view.warnings)


def _counted(counts: Mapping[str, int]) -> str:
    """`12 PredictedMiss, 3 QueueFull`: the most first."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _spent(cost: CostState) -> str:
    """What the last hour cost, beside what it may."""
    said = f"The last hour cost {money(cost.last_hour_micro)}"
    if cost.max_per_hour_micro is not None:
        said += f" of the {money(cost.max_per_hour_micro)} of slo.maxCostPerHour"
    if cost.requests:
        said += f", {money(1000 * cost.last_hour_micro // cost.requests)} a thousand requests"
    if cost.max_per_thousand_requests_micro is not None:
        said += f" (slo.maxCostPerThousandRequests is {money(cost.max_per_thousand_requests_micro)})"
    return f"{said}."


def _condition(condition: ConditionView) -> str:
    reason = "" if condition.reason in ("", condition.type) else f" ({condition.reason})"
    return f"{condition.type} is {str(condition.status).lower()}{reason}: {condition.message}"
