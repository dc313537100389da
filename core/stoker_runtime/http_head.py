"""Heads of HTTP/1.1 messages on the hops inside the platform, their framing, and what can go wrong with an answer."""

from collections.abc import Iterable

from msgspec import Struct

from stoker.reasons import TITLES

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers (lower case) that speak of one connection and are never passed on; Connection may name more."""
PHRASES = {status: title.encode() for status, title in TITLES.items()}
"""Reason phrases by status."""


class ConnectionLost(ConnectionError):  # noqa: N818  the name states the fact
    """The connection ended before the answer did."""

    def __init__(self, message: str, *, had_answer: bool) -> None:
        super().__init__(message)
        self.had_answer = had_answer
        """Whether any byte of an answer had arrived. False on a reused connection: it was probably stale."""


class BadAnswer(Exception):  # noqa: N818  the name states the fact
    """The peer sent something that is not an HTTP/1.1 answer, or more of it than is allowed."""


class ResponseHead(Struct, frozen=True, gc=False):
    """Status line and headers of one interim or final answer; header names are in lower case."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    content_length: int | None
    chunked: bool

    def get(self, name: bytes) -> bytes | None:
        """The first value of the header (name in lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def joined(self, name: bytes) -> bytes | None:
        """Every value of a header that is a list, as one list (RFC 9110 5.3); None where there is none."""
        values = [value for key, value in self.headers if key == name]
        return b",".join(values) if values else None


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A serialised request head. ValueError if any part holds CR, LF or NUL: it could smuggle a second request."""
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("a request line or header holds CR, LF or NUL; refuse it where it comes from")
    return head + b"\r\n\r\n"


def named_by_connection(value: bytes | None) -> frozenset[bytes]:
    """The headers (lower case) that the value of a Connection header declares to be for this hop only."""
    if value is None or value.lower() in (b"keep-alive", b"close"):
        return frozenset()
    return frozenset(token.strip().lower() for token in value.split(b","))


def framed(chunk: bytes) -> bytes:
    """One chunk of a chunked body. Never of an empty one: that would end the body."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body, without trailers."""
