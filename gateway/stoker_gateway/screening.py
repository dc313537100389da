"""What comes in at the public listener, judged and stripped before anything else sees it.

aiohttp's parser has refused most malformed requests by now. This refuses what it lets through and two HTTP parsers
could read differently (any Transfer-Encoding but a lone `chunked`, upgrades, absolute-form, odd hosts ...), takes
out hop-by-hop headers and all `Stoker-*` that a client may not say, and writes down the rest as lines for the next
hop. Pure: bytes in, values out.
"""

import re
from collections.abc import Iterable

from aiohttp.http_parser import RawRequestMessage

from stoker.reasons import Reason
from stoker_runtime.http_head import HOP_BY_HOP, named_by_connection

_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BEARER = re.compile(rb"[Bb]earer ([\x21-\x7e]{1,8192})")
_RTSP = frozenset(
    (
        "ANNOUNCE",
        "DESCRIBE",
        "FLUSH",
        "GET_PARAMETER",
        "PAUSE",
        "PLAY",
        "RECORD",
        "REDIRECT",
        "SETUP",
        "SET_PARAMETER",
        "TEARDOWN",
    )
)
"""Known to aiohttp's parser (llhttp), which reads RTSP too, and refused by parsers that read HTTP only."""
_DEADLINE_MS = re.compile(rb"[0-9]{1,9}")

_PASS, _DROP, _READ, _REFUSE = range(4)
_KNOWN: dict[bytes, int] = {
    **dict.fromkeys(HOP_BY_HOP, _DROP),
    b"accept": _PASS,
    b"accept-encoding": _PASS,
    b"content-type": _PASS,
    b"user-agent": _PASS,
    b"host": _READ,
    b"connection": _READ,
    b"content-length": _READ,
    b"transfer-encoding": _READ,
    b"expect": _READ,
    b"x-forwarded-for": _READ,
    b"idempotency-key": _READ,
    b"stoker-deadline-ms": _READ,
    b"stoker-class": _READ,
    b"stoker-ticket": _READ,
    b"stoker-request-id": _READ,
    b"stoker-authorization": _READ,
    b"x-forwarded-proto": _DROP,
    b"x-forwarded-host": _DROP,
    b"forwarded": _DROP,
    b"upgrade": _REFUSE,
    b"http2-settings": _REFUSE,
}


class Screened:
    """One request that may be looked at further, or `refusal` set."""

    __slots__ = (
        "deadline_ms",
        "expects_continue",
        "forwarded_for",
        "host",
        "idempotency_key",
        "length",
        "lines",
        "refusal",
        "request_id",
        "slo_class",
        "ticket",
        "token",
    )

    def __init__(self) -> None:
        self.refusal: tuple[Reason, str] | None = None
        self.lines: list[bytes] = []
        """Header lines for the next hop, each ended by CRLF; Host and X-Forwarded-* are added by the hop."""
        self.host = b""
        self.length = 0
        """Bytes of the body; -1 for a chunked one."""
        self.expects_continue = False
        self.forwarded_for: list[bytes] = []
        self.idempotency_key = False
        self.request_id = b""
        """Only one that is fit for headers and logs; empty otherwise."""
        self.deadline_ms: int | None = None
        self.slo_class: str | None = None
        self.ticket = ""
        """Whatever it holds: only a good one counts (stoker_gateway.ticketing)."""
        self.token = b""
        """By which the caller proves who it is; empty: it did not say. Never goes on to a function or into a log."""


def screen(message: RawRequestMessage, max_head_bytes: int) -> Screened:
    """Judge and strip a parsed head. `refusal` in the result means that nothing of it may be used but `request_id`."""
    screened = Screened()
    try:
        _fill(screened, message, max_head_bytes)
    except _Refused as refused:
        screened.refusal = (refused.reason, str(refused))
    return screened


class _Refused(Exception):  # noqa: N818  never leaves this module
    def __init__(self, message: str, reason: Reason = Reason.MALFORMED_REQUEST) -> None:
        super().__init__(message)
        self.reason = reason


def _fill(screened: Screened, message: RawRequestMessage, max_head_bytes: int) -> None:
    seen: dict[bytes, bytes] = {}
    lines = screened.lines
    size = len(message.path)
    for name, value in message.raw_headers:
        size += len(name) + len(value) + 4
        lower = name.lower()
        action = _KNOWN.get(lower, _PASS)
        if action == _PASS:
            if not lower.startswith(b"stoker-") and not (b"_" in lower and _means_another(lower)):
                lines.append(b"%b: %b\r\n" % (name, value))
        elif action == _READ:
            if lower == b"x-forwarded-for":
                screened.forwarded_for.append(value)
            elif lower in seen:
                raise _Refused(f"The header {lower.decode('latin-1')} came twice; send it once.")
            else:
                seen[lower] = value
        elif action == _REFUSE:
            raise _Refused("Protocol upgrades are not supported; call with plain HTTP/1.1.")
    request_id = seen.get(b"stoker-request-id")
    if request_id is not None and _REQUEST_ID.fullmatch(request_id):
        screened.request_id = request_id
    if size > max_head_bytes:
        raise _Refused(f"The headers are larger than {max_head_bytes} bytes; send fewer.", Reason.HEADERS_TOO_LARGE)
    _check_line(message)
    _check_host(screened, seen, message.version[1])
    if named := named_by_connection(seen.get(b"connection")):
        if named & {b"upgrade", b"http2-settings"}:
            raise _Refused("Protocol upgrades are not supported; call with plain HTTP/1.1.")
        lines[:] = [line for line in lines if line.partition(b":")[0].lower() not in named]
    _check_framing(screened, seen, message)
    if len(seen) > 1:
        _read_wishes(screened, seen, named)


def _means_another(lower: bytes) -> bool:
    """Whether CGI-like servers, to which `_` and `-` are one, read it as a name that is not the client's to pass on:
    `Stoker_Variant`, `Content_Length`, `X_Forwarded_For`.
    """
    meant = lower.replace(b"_", b"-")
    return meant.startswith(b"stoker-") or _KNOWN.get(meant, _PASS) != _PASS


def _check_line(message: RawRequestMessage) -> None:
    if message.version not in ((1, 1), (1, 0)):
        raise _Refused("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if message.method == "CONNECT":
        raise _Refused("This is no proxy: CONNECT is refused.")
    if message.method in _RTSP:
        raise _Refused("Only HTTP is spoken here, and this is a method of RTSP.")
    if not _TARGET.fullmatch(message.path):
        raise _Refused("The request target must be a path that starts with a slash, in printable ASCII.")
    if "#" in message.path:
        raise _Refused("The request target holds a fragment; leave out everything from # on.")


def _check_host(screened: Screened, seen: dict[bytes, bytes], minor: int) -> None:
    host = seen.get(b"host")
    if host is None:
        if minor:
            raise _Refused("The Host header is missing.")
        return
    if not _HOST.fullmatch(host):
        raise _Refused("The Host header is not a host name or address with an optional port.")
    screened.host = host


def _check_framing(screened: Screened, seen: dict[bytes, bytes], message: RawRequestMessage) -> None:
    coding = seen.get(b"transfer-encoding")
    length = seen.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise _Refused("A request has Content-Length or Transfer-Encoding, not both.")
        if coding.lower() != b"chunked":
            raise _Refused("The only Transfer-Encoding is chunked.")
        if message.version == (1, 0):
            raise _Refused("HTTP/1.0 knows no Transfer-Encoding.")
        screened.length = -1
    elif length is not None:
        if not length.isdigit() or len(length) > 18:
            raise _Refused("Content-Length is not a number of bytes.")
        screened.length = int(length)
    expect = seen.get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise _Refused("The only expectation that can be met is 100-continue.")
        screened.expects_continue = message.version == (1, 1) and screened.length != 0


def _read_wishes(screened: Screened, seen: dict[bytes, bytes], named: Iterable[bytes]) -> None:
    """Headers by which a client tells the platform what it wants; only Idempotency-Key goes on to the function."""
    key = seen.get(b"idempotency-key")
    if key and b"idempotency-key" not in named:
        screened.lines.append(b"idempotency-key: %b\r\n" % key)
        screened.idempotency_key = True
    deadline = seen.get(b"stoker-deadline-ms")
    if deadline is not None:
        if not _DEADLINE_MS.fullmatch(deadline) or int(deadline) == 0:
            raise _Refused("Stoker-Deadline-Ms must be a whole number of milliseconds from 1 to 999999999.")
        screened.deadline_ms = int(deadline)
    shown = seen.get(b"stoker-authorization")
    if shown is not None:
        bearer = _BEARER.fullmatch(shown)
        if bearer is None:
            raise _Refused("Stoker-Authorization must be: Bearer TOKEN.")
        screened.token = bearer[1]
    screened.ticket = seen.get(b"stoker-ticket", b"").decode("latin-1")
    slo_class = seen.get(b"stoker-class")
    if slo_class is not None:
        screened.slo_class = slo_class.decode("latin-1")
