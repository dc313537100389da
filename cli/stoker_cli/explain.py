"""`stoker explain`: why a request waited or was refused, or how a function stands, in plain words."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from stoker.decisions import RequestRecord
from stoker.explanation import explain as explain_record
from stoker_cli.console import CommandFailed, listed, ms, percent
from stoker_cli.internal_client import get_json
from stoker_cli.state_file import ServeState, choose, running
from stoker_cli.state_view import ConditionView, FunctionView, StateView


def explain(what: str, environ: Mapping[str, str], port: int | None) -> str:
    """The text for a request id or NAMESPACE/FUNCTION. Raises CommandFailed for what no instance knows."""
    newest = choose(environ, port)
    states = [newest] if port is not None else running(environ)
    if "/" in what:
        return _explain_function(what.strip("/"), states)
    for state in states:
        body = get_json(state, f"/v1/requests/{quote(what, safe='')}")
        if body is not None:
            return explain_record(msgspec.json.decode(body, type=RequestRecord))
    view = _view(newest)
    if f"default/{what}" in view.functions:
        return _explain_function(f"default/{what}", states)
    raise CommandFailed(
        f"The platform at {newest.url} remembers no request {what}: it keeps the newest {view.records_kept} and has "
        f"{view.records} now; the id is in the header Stoker-Request-Id of an answer."
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
    else:
        lines.append(f"No request has ended since the start; the objective is {ms(slo.latency_ms)}.")
    return "\n".join(lines + view.warnings)


def _condition(condition: ConditionView) -> str:
    reason = "" if condition.reason in ("", condition.type) else f" ({condition.reason})"
    return f"{condition.type} is {str(condition.status).lower()}{reason}: {condition.message}"


def _explain_function(key: str, states: list[ServeState]) -> str:
    known: list[str] = []
    for state in states:
        view = _view(state)
        if key in view.functions:
            return function_sentences(key, view.functions[key])
        known += view.functions
    has = f"its functions are {listed(sorted(known))}" if known else "it has no function now"
    raise CommandFailed(f"The platform at {states[0].url} has no function {key}; {has}.")


def _view(state: ServeState) -> StateView:
    body = get_json(state, "/v1/state")
    if body is None:
        raise CommandFailed(f"{state.internal} is not the internal listener of a stoker serve of this version.")
    return msgspec.json.decode(body, type=StateView)
