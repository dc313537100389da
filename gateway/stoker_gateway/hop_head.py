"""Request heads for the hop to an agent: the client's headers, where they came from, and what the platform says.

The client's part is built once per request and reused for each try; only the platform's numbers change.
"""

from stoker.wire.agent import ADMIT_PATH, RUN_PREFIX
from stoker_gateway.visit import VariantState, Visit

_BODILESS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))
_RUN = RUN_PREFIX.encode()
_ADMIT = b"POST %b HTTP/1.1\r\nhost: agent\r\n" % ADMIT_PATH.encode()


def run_head(visit: Visit, variant: VariantState, now_us: int, body_bytes: int, *, late_ok: bool) -> bytes:
    """The head of the request itself. `body_bytes` -1: chunked."""
    if body_bytes < 0:
        framing = b"transfer-encoding: chunked\r\n\r\n"
    elif body_bytes or visit.inbound.message.method not in _BODILESS:
        framing = b"content-length: %d\r\n\r\n" % body_bytes
    else:
        framing = b"\r\n"
    client = visit.hop_head or _client_part(visit)
    return b"%b%b%b" % (client, _platform_lines(visit, variant, now_us, body_bytes, late_ok=late_ok), framing)


def admit_head(visit: Visit, variant: VariantState, now_us: int, body_bytes: int, *, late_ok: bool) -> bytes:
    """The head of the body-less request for admission that goes before a body that cannot be sent twice."""
    lines = _platform_lines(visit, variant, now_us, body_bytes, late_ok=late_ok)
    return b"%b%bcontent-length: 0\r\n\r\n" % (_ADMIT, lines)


def _platform_lines(visit: Visit, variant: VariantState, now_us: int, body_bytes: int, *, late_ok: bool) -> bytes:
    return (
        b"%bstoker-request-id: %b\r\nstoker-objective-ms: %d\r\nstoker-timeout-ms: %d\r\nstoker-cold: %d\r\n"
        b"stoker-late-ok: %d\r\nstoker-body-bytes: %d\r\n%b%b"
        % (
            variant.lines,
            visit.id,
            (visit.objective_at_us - now_us) // 1000,
            max(1, (visit.timeout_at_us - now_us) // 1000),
            visit.cold,
            late_ok,
            body_bytes,
            b"" if visit.wakes else b"stoker-profile: 0\r\n",
            b"stoker-ticket: %b\r\n" % visit.place if visit.place else b"",
        )
    )


def _client_part(visit: Visit) -> bytes:
    screened = visit.screened
    connection = visit.inbound.protocol
    came_by = b", ".join((*screened.forwarded_for, connection.peer)) if screened.forwarded_for else connection.peer
    head = b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%bx-forwarded-for: %b\r\nx-forwarded-host: %b\r\n%b" % (
        visit.inbound.message.method.encode(),
        _RUN,
        visit.target.encode(),
        screened.host,
        b"".join(screened.lines),
        came_by,
        screened.host,
        connection.forwarded,
    )
    lines = len(screened.lines) + 5
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        # The parser and the screening refuse these; this is the last place where one could smuggle a request.
        raise ValueError("a header that passed the screening holds CR, LF or NUL")
    visit.hop_head = head
    return head
