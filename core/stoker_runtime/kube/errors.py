"""What a Kubernetes API server may answer instead of the object, and what it means when it does not answer.

One type per answer that callers tell apart, so that an expected one is one `except`. Knows no request.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from stoker.errors import StokerError

_MAX_TEXT = 300
"""Characters of an answer that is no Status: proxies answer whole pages."""


class Cause(Struct, frozen=True):
    """One of the reasons that an object was refused for. `field` is a path as in `spec.containers[0].image`."""

    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(Struct, frozen=True, rename="camel"):
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int = 0


class Status(Struct, frozen=True):
    """The API's own form of a failure; it also travels inside a watch as the object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = field(default=None)


class KubeError(StokerError):
    """Root of what the client raises."""


class BadKubeConfig(KubeError):  # noqa: N818  the name states the fact
    """How to reach the API server cannot be read from the pod's files or from the kubeconfig."""


class Unreachable(KubeError):  # noqa: N818  the name states the fact
    """No whole answer came. A write may have been done all the same, unless `unsent`."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class ApiError(KubeError):
    """The API server answered, and refused. `reason` is its word for it (`AlreadyExists`), `message` its sentence."""

    def __init__(self, what: str, status: int, reason: str, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(f"{what} was answered {status} {reason or 'without a reason'}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after_s: float | None = None
        """Seconds after which the server wants to be asked again; None when it did not say."""


class BadRequest(ApiError):  # noqa: N818
    """400: the request itself is malformed, an unknown field for example."""


class Unauthorized(ApiError):  # noqa: N818
    """401: the credentials are not valid (any more)."""


class Forbidden(ApiError):  # noqa: N818
    """403: RBAC, an admission policy or a quota refuses it."""


class NotFound(ApiError):  # noqa: N818
    """404: there is no such object, or no such kind."""


class Conflict(ApiError):  # noqa: N818
    """409: a precondition (uid, resourceVersion) does not hold, or another manager owns a field."""


class AlreadyExists(ApiError):  # noqa: N818
    """409 to a create: the name is taken, perhaps by an object that is being deleted."""


class Gone(ApiError):  # noqa: N818
    """410: this resourceVersion or continue token is too old. List again."""


class Invalid(ApiError):  # noqa: N818
    """422: the object violates its schema or a rule; `causes` says where."""


class TooManyRequests(ApiError):  # noqa: N818
    """429: the server sheds load, or an eviction is not allowed now."""


class ServerFailed(ApiError):  # noqa: N818
    """5xx: the server could not. A write may have been done all the same."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
_STATUS = msgspec.json.Decoder(Status)


def error_of(what: str, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error for an answer. `what` names the request in it. Never raises, whatever the body is."""
    try:
        said = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = Status(message=body[:_MAX_TEXT].decode("utf-8", "replace").strip() or "(no text)")
    error = error_of_status(what, said, status)
    asked = headers.get("Retry-After", "")
    if asked.isdecimal():
        error.retry_after_s = float(asked)
    return error


def error_of_status(what: str, said: Status, status: int = 0) -> ApiError:
    """The error for a Status, with the HTTP status where there was one."""
    code = status or said.code
    kind = _BY_STATUS.get(code, ServerFailed if code >= 500 else ApiError)
    if code == 409 and said.reason == "AlreadyExists":
        kind = AlreadyExists
    details = said.details or _Details()
    error = kind(what, code, said.reason, said.message, details.causes or ())
    if details.retry_after_seconds > 0:
        error.retry_after_s = float(details.retry_after_seconds)
    return error
