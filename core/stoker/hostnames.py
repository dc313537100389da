"""Own hostnames of functions: who gets which, and why the others do not. Pure; knows no Ingress and no policy."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from stoker.model.function import Function
from stoker.reasons import Reason


class Conflict(Struct, frozen=True, kw_only=True):
    """A hostname that a function asks for and does not get."""

    hostname: str
    reason: Reason
    detail: str
    """One sentence that says what to do."""


def owners(
    functions: Iterable[Function], suffixes: Callable[[str], tuple[str, ...]]
) -> tuple[dict[str, str], dict[str, tuple[Conflict, ...]]]:
    """The function (key) of each hostname, and what each function does not get.

    The first one wins: `functions` come in the order of their creation. `suffixes(namespace)` are what the names of
    that namespace may be or end in after a dot; none: no own hostnames there.
    """
    taken: dict[str, str] = {}
    conflicts: dict[str, tuple[Conflict, ...]] = {}
    for function in functions:
        lost = []
        allowed = tuple(suffix.lower().strip(".") for suffix in suffixes(function.namespace))
        for hostname in dict.fromkeys(name.lower().rstrip(".") for name in function.spec.access.hostnames):
            detail = _obstacle(hostname, function, allowed, taken)
            if detail is None:
                taken[hostname] = function.key
            else:
                lost.append(Conflict(hostname=hostname, reason=Reason.NAME_CONFLICT, detail=detail))
        if lost:
            conflicts[function.key] = tuple(lost)
    return taken, conflicts


def _obstacle(hostname: str, function: Function, allowed: tuple[str, ...], taken: dict[str, str]) -> str | None:
    """Why the function does not get the name; None where it does."""
    if not any(suffix and (hostname == suffix or hostname.endswith(f".{suffix}")) for suffix in allowed):
        if not allowed:
            return (
                f"GpuPolicy allows namespace {function.namespace} no hostnames; remove {hostname} or ask for a suffix"
            )
        ends = " or ".join(allowed)
        return f"GpuPolicy allows namespace {function.namespace} hostnames under {ends} only; {hostname} is none"
    holder = taken.get(hostname)
    # Another tenant's function is not named to this one.
    if holder is not None and holder.partition("/")[0] == function.namespace:
        return f"{hostname} belongs to {holder}, which was created earlier; choose another"
    return None if holder is None else f"{hostname} belongs to a function of another namespace; choose another"
