"""Who may call a function (spec.access). Pure; how a caller proves who it is, is somebody else's business.

`Cluster`: everybody who reaches the gateway, unless `allow` names callers. `Namespace`: the function's own namespace
and those that `allow` names. `Public`: everybody, also by its own hostnames.
"""

from typing import Protocol

from msgspec import Struct

from stoker.model.function import Function, Visibility
from stoker.reasons import Reason


class Caller(Struct, frozen=True):
    """A proven service account."""

    namespace: str
    account: str


class Denied(Struct, frozen=True):
    """Why a request stays outside."""

    reason: Reason
    detail: str


class Prover(Protocol):
    """Finds out who calls."""

    async def caller(self, token: bytes) -> Caller | Denied:
        """Who showed this token. Never raises, and answers within seconds."""


def open_to_all(function: Function) -> bool:
    """Whether nobody has to prove anything."""
    access = function.spec.access
    return access.visibility is Visibility.PUBLIC or (access.visibility is Visibility.CLUSTER and not access.allow)


def refusal_of(function: Function, caller: Caller) -> Denied | None:
    """Why this caller may not call the function; None where it may."""
    allow = function.spec.access.allow
    account = f"{caller.namespace}/{caller.account}"
    if caller.namespace == function.namespace or caller.namespace in allow or account in allow:
        return None
    return Denied(
        Reason.ACCESS_DENIED,
        f"The function {function.key} does not serve {account}: its spec.access.allow must name it or its namespace.",
    )


def unproven(function: Function) -> Denied:
    """For a request without a token to a function that is not open to all."""
    return Denied(
        Reason.UNAUTHENTICATED,
        f"The function {function.key} serves known callers only: send a service account token for the audience stoker "
        "in the header Stoker-Authorization: Bearer TOKEN.",
    )


async def denial(prover: Prover | None, function: Function, token: bytes) -> Denied | None:
    """Why the sender of this token may not call a function that is not open to all; None where it may."""
    if not token:
        return unproven(function)
    assert prover is not None
    caller = await prover.caller(token)
    return caller if isinstance(caller, Denied) else refusal_of(function, caller)
