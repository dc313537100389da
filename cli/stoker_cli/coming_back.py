"""When a refused call may come back, and with what: for `stoker invoke --retry`. Reads headers, sends nothing."""

from http.client import HTTPMessage

from msgspec import Struct

from stoker.wire.agent import H_RETRY_AFTER_MS, H_TICKET
from stoker_cli.outgoing import Headers

_REFUSED = (429, 503)
_LEAST_S = 0.01
"""Nobody calls again sooner, whatever the answer says."""


class ComeBack(Struct, frozen=True):
    """What a refusal tells its client."""

    after_s: float
    ticket: str
    """Empty: no place is kept."""


def told(status: int, headers: HTTPMessage) -> ComeBack | None:
    """None: the answer is no refusal, or names no time."""
    if status not in _REFUSED:
        return None
    for name, per_s in ((H_RETRY_AFTER_MS, 1000), ("retry-after", 1)):
        value = (headers.get(name) or "").strip()
        if value.isascii() and value.isdigit():
            return ComeBack(max(_LEAST_S, int(value) / per_s), headers.get(H_TICKET) or "")
    return None


def with_ticket(headers: Headers, ticket: str) -> Headers:
    """The headers of the next call: the newest ticket and no older one. Without a new one the old one is as good as it
    was: whoever came too early keeps the place.
    """
    if not ticket:
        return headers
    return [(name, value) for name, value in headers if name.lower() != H_TICKET] + [(H_TICKET.title(), ticket)]
