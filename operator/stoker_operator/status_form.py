"""A function's status as the API has it. Pure: told the time, it reads none.

Conditions keep the time of their last change of status; nothing else in here is a time, so a status that says the
same is the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.status import Condition, FunctionStatus
from stoker.reasons import Reason
from stoker.wire.cluster import API_VERSION
from stoker_operator.slo_board import WINDOW

MESSAGE_MAX = 1024
PLACEMENTS_MAX = 1000
OURS = frozenset(
    {"observedGeneration", "conditions", "url", "revision", "replicas", "placements", "slo", "profile", "cost"}
)
"""The fields of a status that are written here; others belong to others."""


class Figures(Struct, frozen=True, kw_only=True):
    """How it fares."""

    attainment: float | None = None
    """Percent, in WINDOW."""
    diverted: float | None = None
    """Percent of the offered requests that ran on the CPU variant although there is a GPU; None: none did."""
    slo_met: Condition | None = None
    cost: dict[str, Any] = {}
    """As in the status; empty: nothing is said."""
    profile: tuple[dict[str, Any], ...] = ()


class Extra(Struct, frozen=True, kw_only=True):
    """What is to be said of a function besides its plan."""

    url: str = ""
    invalid: str = ""
    """Why its newest generation cannot be served; the last good one is, where there is one."""
    conflicts: tuple[str, ...] = ()
    """Names that it wants and somebody else has, one sentence each."""
    figures: Figures = Figures()
    refused: tuple[Reason, str] | None = None
    """Why what stands beside its pods cannot be written."""
    images: tuple[Reason, str] | None = None
    """Why its images are not kept on nodes ahead of its pods; None where they are, or nobody wants that."""
    warnings: tuple[str, ...] = ()
    """Fields of it that are accepted and do not act, one sentence each."""


def status_of(
    *,
    generation: int,
    status: FunctionStatus | None,
    extra: Extra,
    before: Iterable[Mapping[str, Any]],
    now: str,
) -> dict[str, Any]:
    """`status` of the object; without a `status` the function is invalid. `before` are the conditions as last written,
    `now` is RFC 3339.
    """
    conditions = _conditions(status, extra)
    said: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": [_condition(each, before, generation, now) for each in conditions],
    }
    if extra.url:
        said["url"] = extra.url
    if status is None:
        return said
    figures = extra.figures
    if figures.attainment is not None:
        said["slo"] = {"attainment": figures.attainment, "window": WINDOW}
        if figures.diverted is not None:
            said["slo"]["diverted"] = figures.diverted
    if figures.cost:
        said["cost"] = figures.cost
    if figures.profile:
        said["profile"] = list(figures.profile)
    said["revision"] = {"current": status.revision}
    if status.updating is not None:
        said["revision"]["updating"] = status.updating
    counts = status.replicas.values()
    said["replicas"] = {
        "warm": sum(each.warm for each in counts),
        "hibernated": 0,
        "starting": sum(each.starting for each in counts),
        "draining": sum(each.draining for each in counts),
    }
    said["placements"] = [
        {"node": placement.node, "device": placement.device, "state": placement.state.value}
        for placement in status.placements[:PLACEMENTS_MAX]
        if placement.node
    ]
    return said


def is_flip(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a condition changed in more than its words: such a status is not kept waiting."""
    return _facts(before) != _facts(after)


def document(namespace: str, name: str, status: Mapping[str, Any]) -> dict[str, Any]:
    """The whole that a server-side apply of the status takes."""
    return {
        "apiVersion": API_VERSION,
        "kind": "GpuFunction",
        "metadata": {"namespace": namespace, "name": name},
        "status": status,
    }


def _conditions(status: FunctionStatus | None, extra: Extra) -> list[Condition]:
    if status is None:
        stalled = Condition(type="Stalled", status=True, reason=Reason.INVALID_SPEC, message=extra.invalid)
        ready = Condition(type="Ready", status=False, reason=Reason.INVALID_SPEC, message=extra.invalid)
        return [ready, stalled]
    found = list(status.conditions)
    # What a person must do something about is said under Stalled, the most telling first.
    if extra.invalid:
        message = f"the newest generation cannot be served, the one before is: {extra.invalid}"
        found = _stalled(found, Reason.INVALID_SPEC, message)
    elif extra.conflicts:
        found = _stalled(found, Reason.NAME_CONFLICT, "; ".join(extra.conflicts))
    elif extra.refused is not None and extra.refused[0] is not Reason.CONTROL_PLANE_UNAVAILABLE:
        found = _stalled(found, *extra.refused)
    elif extra.refused is not None:
        found = _noted(found, *extra.refused)
    elif extra.images is not None:
        # It is served all the same, only later than it could be.
        reason, message = extra.images
        found = _noted(found, reason, f"its images are not kept: {message}")
    if extra.warnings:
        found = [_warned(each, extra.warnings) for each in found]
    if extra.figures.slo_met is not None:
        found.append(extra.figures.slo_met)
    return found


def _stalled(conditions: list[Condition], reason: Reason, message: str) -> list[Condition]:
    if any(each.type == "Stalled" and each.status for each in conditions):
        return conditions
    rest = [each for each in conditions if each.type != "Stalled"]
    return [*rest, Condition(type="Stalled", status=True, reason=reason, message=message)]


def _noted(conditions: list[Condition], reason: Reason, message: str) -> list[Condition]:
    """Said in the same place, while nothing is stalled."""
    note = Condition(type="Stalled", status=False, reason=reason, message=message)
    return [note if each.type == "Stalled" and not each.status else each for each in conditions]


def _warned(condition: Condition, warnings: Iterable[str]) -> Condition:
    if condition.type != "Stalled" or condition.status:
        return condition
    return replace(condition, message=f"{condition.message}; {' '.join(warnings)}")


def _condition(condition: Condition, before: Iterable[Mapping[str, Any]], generation: int, now: str) -> dict[str, Any]:
    word = "True" if condition.status else "False"
    old = next((each for each in before if each.get("type") == condition.type), None)
    kept = old.get("lastTransitionTime") if old is not None and old.get("status") == word else None
    return {
        "type": condition.type,
        "status": word,
        "reason": condition.reason.value,
        "message": condition.message[:MESSAGE_MAX],
        "observedGeneration": generation,
        "lastTransitionTime": kept or now,
    }


def _facts(conditions: Iterable[Mapping[str, Any]]) -> set[tuple[Any, Any, Any]]:
    return {(each.get("type"), each.get("status"), each.get("reason")) for each in conditions}
