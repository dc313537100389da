"""What the agent writes to a gateway: refusals of its own, and heads of answers that replicas gave."""

from http import HTTPStatus

import msgspec

from stoker.reasons import HTTP_STATUS, Reason
from stoker.wire.agent import Refusal
from stoker_runtime.http_client import ResponseHead

PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
GRANTED = b"HTTP/1.1 200 OK\r\nstoker-dispatched: 0\r\ncontent-length: 0\r\n\r\n"

_ENCODER = msgspec.json.Encoder()
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}
_REFUSAL_HEAD = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\nstoker-dispatched: %d\r\n%bcontent-length: %d\r\n\r\n"
)
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    )
)


def refuse(
    reason: Reason,
    detail: str,
    request_id: str = "",
    *,
    predicted_finish_us: int | None = None,
    retry_after_us: int | None = None,
    estimated: bool = False,
) -> Refusal:
    """A refusal as a value; times become whole milliseconds, rounded up."""
    return Refusal(
        status=HTTP_STATUS[reason],
        reason=reason.value,
        detail=detail,
        predicted_finish_ms=None if predicted_finish_us is None else -(-predicted_finish_us // 1000),
        retry_after_ms=None if retry_after_us is None else -(-retry_after_us // 1000),
        estimated=estimated,
        request_id=request_id,
    )


def refusal_bytes(refusal: Refusal, *, dispatched: bool, close: bool, bodiless: bool = False) -> bytes:
    """A whole answer. `close` says that the connection ends with it; `bodiless` leaves the body out (HEAD)."""
    body = _ENCODER.encode(refusal)
    phrase = _PHRASES.get(refusal.status, "Refused").encode()
    head = _REFUSAL_HEAD % (refusal.status, phrase, dispatched, b"connection: close\r\n" if close else b"", len(body))
    return head if bodiless else head + body


def answer_lines(head: ResponseHead, *, device: bytes, queue_us: int, exec_us: int) -> list[bytes]:
    """Status line and headers of a replica's answer for the gateway, without framing and the empty line.

    `Stoker-*` is the platform's to say: a replica's own headers of that name are dropped, hop-by-hop ones too.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    named = _named_by_connection(head)
    for name, value in head.headers:
        if name not in _HOP_BY_HOP and not name.startswith(b"stoker-") and name not in named:
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(
        b"stoker-dispatched: 1\r\nstoker-device: %b\r\nserver-timing: queue;dur=%.3f, exec;dur=%.3f\r\n"
        % (device, queue_us / 1000, exec_us / 1000)
    )
    return lines


def _named_by_connection(head: ResponseHead) -> frozenset[bytes]:
    """Headers that the answer's Connection header declares to be for this hop only."""
    value = head.get(b"connection")
    if value is None or value.lower() in (b"keep-alive", b"close"):
        return frozenset()
    return frozenset(token.strip().lower() for token in value.split(b","))
