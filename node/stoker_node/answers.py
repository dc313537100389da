"""What the agent writes to a gateway: refusals of its own, and heads of answers that replicas gave."""

import msgspec

from stoker.model.request import QueuedRequest
from stoker.wire.agent import H_PROMISED, H_TICKET, Refusal
from stoker_runtime.http_head import HOP_BY_HOP, PHRASES, ResponseHead, named_by_connection

_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
_GRANTED = b"HTTP/1.1 200 OK\r\nstoker-dispatched: 0\r\ncontent-length: 0\r\n\r\n"

_ENCODER = msgspec.json.Encoder()
_REFUSAL_HEAD = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\nstoker-dispatched: %d\r\n%bcontent-length: %d\r\n\r\n"
)
_PROMISED = H_PROMISED.encode() + b": %b\r\n"
_DROPPED = HOP_BY_HOP | {b"content-length"}
_OURS = (b"stoker-", b"stoker_")


def processing(redemption: str) -> bytes:
    """The request is dispatched now. `redemption`: what came of the place that it named; empty: it named none."""
    return _PROCESSING if not redemption else _with_redemption(_PROCESSING, redemption)


def granted(redemption: str) -> bytes:
    """The admission that was asked for. As above."""
    return _GRANTED if not redemption else _with_redemption(_GRANTED, redemption)


def refusal_bytes(refusal: Refusal, *, dispatched: bool, close: bool, bodiless: bool = False) -> bytes:
    """A whole answer. `close` says that the connection ends with it; `bodiless` leaves the body out (HEAD)."""
    body = _ENCODER.encode(refusal)
    phrase = PHRASES.get(refusal.status, b"Refused")
    head = _REFUSAL_HEAD % (refusal.status, phrase, dispatched, b"connection: close\r\n" if close else b"", len(body))
    return head if bodiless else head + body


def promise_of(request: QueuedRequest, *, estimated: bool) -> bytes:
    """What was promised of it, as H_PROMISED says it; empty: nothing was."""
    if not request.promise_us:
        return b""
    # The margin is what the promise keeps back of the objective.
    margin_us = request.objective_us - request.predicted_exec_us - request.promise_us
    words = b"predicted=%.3f, latest=%.3f" % (request.finish_us / 1000, (request.finish_us + margin_us) / 1000)
    return words + b", estimated" if estimated else words


def answer_lines(
    head: ResponseHead, *, device: bytes, queue_us: int, exec_us: int, promise: bytes = b""
) -> list[bytes]:
    """Status line and headers of a replica's answer for the gateway, without framing and the empty line.

    `Stoker-*` is the platform's to say: a replica's own headers of that name are dropped, hop-by-hop ones too.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    named = named_by_connection(head.joined(b"connection"))
    for name, value in head.headers:
        if name not in _DROPPED and not name.startswith(_OURS) and name not in named:
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(
        b"stoker-dispatched: 1\r\nstoker-device: %b\r\nserver-timing: queue;dur=%.3f, exec;dur=%.3f\r\n"
        % (device, queue_us / 1000, exec_us / 1000)
    )
    if promise:
        lines.append(_PROMISED % promise)
    return lines


def _with_redemption(head: bytes, redemption: str) -> bytes:
    return head[:-2] + b"%b: %b\r\n\r\n" % (H_TICKET.encode(), redemption.encode())
