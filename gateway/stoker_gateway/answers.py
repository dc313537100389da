"""Bytes that a gateway writes to clients: its own answers, and the heads of answers that replicas gave.

Every answer says who it answers (`Stoker-Request-Id`), how it ended, whether it waited for a start, where it ran and
how long each part took. Only bytes are made here; nothing is decided or sent.
"""

import re
import time
from http import HTTPStatus

import msgspec
from msgspec import Struct

from stoker.reasons import DeviceReason, Outcome
from stoker.wire.agent import Refusal
from stoker_gateway.visit import Visit
from stoker_runtime.http_head import HOP_BY_HOP, PHRASES, ResponseHead

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBLEM_TYPE = b"application/problem+json"

_ENCODER = msgspec.json.Encoder()
_OUTCOMES = {outcome: outcome.value.encode() for outcome in Outcome}
_WHY_THERE: dict[DeviceReason | None, bytes] = {
    None: b"none",
    **{reason: reason.value.encode() for reason in DeviceReason},
}
_PARTS = re.compile(rb"(queue|exec);dur=([0-9]{1,12}(?:\.[0-9]{1,6})?)")
_NO_BODY = frozenset((204, 304))

# Headers of an agent's answer that do not go to the client as they are.
_DROP, _DEVICE, _TIMING, _DISPATCHED, _DATE, _TYPE, _COST, _PROMISED = range(8)
_OURS: dict[bytes, int] = {
    **dict.fromkeys(HOP_BY_HOP, _DROP),
    b"server": _DROP,
    b"content-length": _DROP,
    b"stoker-request-id": _DROP,
    b"stoker-outcome": _DROP,
    b"stoker-cold-start": _DROP,
    b"stoker-device": _DEVICE,
    b"stoker-device-reason": _DROP,
    b"server-timing": _TIMING,
    b"stoker-dispatched": _DISPATCHED,
    b"stoker-ticket": _DROP,
    b"date": _DATE,
    b"content-type": _TYPE,
    b"stoker-cost-micro": _COST,
    b"stoker-promised": _PROMISED,
}


class AgentHead(Struct, gc=False):
    """What matters of a final head from an agent."""

    lines: list[bytes]
    """Header lines that go on to the client."""
    device: bytes = b""
    """Empty: the agent itself answers, no replica."""
    timing: bytes = b""
    cost_micro: int | None = None
    dispatched: bool = False
    problem: bool = False
    dated: bool = False
    promise: bytes = b""
    """What was promised of it (stoker.wire.agent.H_PROMISED)."""


def read_agent_head(head: ResponseHead) -> AgentHead:
    """Sort the headers of a final head."""
    lines: list[bytes] = []
    read = AgentHead(lines)
    for name, value in head.headers:
        kind = _OURS.get(name)
        if kind is None:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == _TYPE:
            read.problem = value == PROBLEM_TYPE
            lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == _DEVICE:
            read.device = value
        elif kind == _TIMING:
            read.timing = b"%b, %b" % (read.timing, value) if read.timing else value
        elif kind == _DISPATCHED:
            read.dispatched = value == b"1"
        elif kind == _COST and value.isdigit():
            read.cost_micro = int(value)
            lines.append(b"stoker-cost-micro: %b\r\n" % value)
        elif kind == _PROMISED:
            read.promise = value
            lines.append(b"stoker-promised: %b\r\n" % value)
        elif kind == _DATE:
            read.dated = True
            lines.append(b"date: %b\r\n" % value)
    return read


def read_timing(value: bytes) -> tuple[int | None, int | None]:
    """Microseconds of `queue` and `exec` in a Server-Timing header. The agent's come last, so a replica's own of the
    same name do not count.
    """
    found: dict[bytes, bytes] = dict(_PARTS.findall(value))
    queue, run = found.get(b"queue"), found.get(b"exec")
    return None if queue is None else round(float(queue) * 1000), None if run is None else round(float(run) * 1000)


def answer_head(visit: Visit, head: ResponseHead, read: AgentHead, *, close: bool) -> tuple[bytes, bool]:
    """The head of a replica's answer for the client, and whether its body goes out chunked."""
    message = visit.inbound.message
    chunked = False
    if message.method == "HEAD" or head.status in _NO_BODY:
        framing = b"" if head.content_length is None else b"content-length: %d\r\n" % head.content_length
    elif head.content_length is not None:
        framing = b"content-length: %d\r\n" % head.content_length
    elif message.version == (1, 1):
        chunked = True
        framing = b"transfer-encoding: chunked\r\n"
    else:
        framing = b""  # Ends with the connection.
    return (
        b"HTTP/1.1 %d %b\r\n%b%b%b%b\r\n"
        % (
            head.status,
            head.reason or PHRASES.get(head.status, b""),
            b"".join(read.lines),
            b"" if read.dated else _date_line(),
            framing,
            _platform_lines(visit, Outcome.SERVED, close=close),
        ),
        chunked,
    )


def problem_answer(visit: Visit, outcome: Outcome, refusal: Refusal, *, close: bool) -> bytes:
    """A whole answer of the platform itself (application/problem+json)."""
    body = _ENCODER.encode(refusal)
    retry = b""
    if refusal.retry_after_ms is not None:
        seconds = -(-refusal.retry_after_ms // 1000)
        retry = b"retry-after: %d\r\nstoker-retry-after-ms: %d\r\n" % (seconds, refusal.retry_after_ms)
    if refusal.ticket and refusal.ticket_window_ms is not None:
        retry += b"stoker-ticket: %b\r\nstoker-ticket-window-ms: %d\r\n" % (
            refusal.ticket.encode(),
            refusal.ticket_window_ms,
        )
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        retry = b'www-authenticate: Bearer realm="stoker"\r\n'
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%b%b%b\r\n" % (
        refusal.status,
        PHRASES.get(refusal.status, b"Refused"),
        len(body),
        retry,
        _date_line(),
        _platform_lines(visit, outcome, close=close),
    )
    return head if visit.inbound.message.method == "HEAD" else head + body


def _platform_lines(visit: Visit, outcome: Outcome, *, close: bool) -> bytes:
    start = b"start;dur=%.1f" % (visit.start_us / 1000)
    return (
        b"server: stoker\r\nstoker-request-id: %b\r\nstoker-outcome: %b\r\nstoker-cold-start: %d\r\n"
        b"stoker-device: %b\r\nstoker-device-reason: %b\r\nserver-timing: %b\r\n%b"
        % (
            visit.id,
            _OUTCOMES[outcome],
            visit.cold,
            visit.device,
            b"none" if visit.device == b"none" else _WHY_THERE[visit.device_reason],
            b"%b, %b" % (visit.timing or b"queue;dur=0, exec;dur=0", start),
            b"connection: close\r\n" if close else b"",
        )
    )


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_date: tuple[int, bytes] = (0, b"")


def _date_line() -> bytes:
    """`Date`, made once a second and free of the locale."""
    global _date  # noqa: PLW0603  a cache of a pure function of the clock
    now_s = int(time.time())
    if _date[0] != now_s:
        t = time.gmtime(now_s)
        text = (
            f"date: {_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
            f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT\r\n"
        )
        _date = (now_s, text.encode())
    return _date[1]
