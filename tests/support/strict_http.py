"""A strict reader of HTTP/1.1 streams, for tests: it takes what RFC 9112 and 9110 allow a sender to send, and no more.

Written from the grammar and from nothing else, so that it is independent of every parser that Stoker runs on. What it
reads is what any correct peer reads; what it refuses, two peers may read differently. No leniency is offered (RFC 9112
2.2 permits some): whoever wants some reads with another reader.
"""

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])" % TOKEN)
"""Origin-form only: the one form that an origin server is sent (RFC 9112 3.2.1). Printable bytes that no URI may hold
(`|`, `{` ...) are allowed, as every server does: they end no word and no line."""
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD = re.compile(
    rb"(%b):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*" % TOKEN
)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (TOKEN, TOKEN, _QUOTED))

INCOMPLETE = "the stream ends within a message"


class Message(Struct, frozen=True):
    """One request (method, target) or answer (status) with its fields and its body without framing."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case; trailers are not among them."""
    body: bytes = b""
    version: int = 1
    """The minor one."""

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field (name in lower case)."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that comes once."""
        return next(iter(self.all(name)), None)

    @property
    def core(self) -> tuple[bytes, bytes, bytes]:
        """What a request is for: method, target, body."""
        return self.method, self.target, self.body


class Stream(Struct, frozen=True):
    """The whole messages of a stream, and why it was read no further; "" where it ends with a message."""

    messages: tuple[Message, ...]
    problem: str = ""
    used: int = 0
    """Bytes of the whole messages."""

    @property
    def incomplete(self) -> bool:
        """More bytes could still make a message of the rest."""
        return self.problem == INCOMPLETE


class Malformed(Exception):  # noqa: N818  never leaves the readers
    """The stream is not HTTP/1.1 from here on."""


class Short(Exception):  # noqa: N818  never leaves the readers
    """The stream ends within a message."""


def read_requests(data: bytes) -> Stream:
    """All requests of one direction of a connection."""
    messages: list[Message] = []
    at = 0
    try:
        while at < len(data):
            message, at = _request(data, at)
            messages.append(message)
    except Malformed as exc:
        return Stream(tuple(messages), str(exc) or "malformed", at)
    except Short:
        return Stream(tuple(messages), INCOMPLETE, at)
    return Stream(tuple(messages), "", at)


def read_answers(data: bytes, methods: Sequence[bytes], *, closed: bool) -> Stream:
    """The final answers to requests with these methods, without the interim ones. `closed`: no more will come."""
    messages: list[Message] = []
    at = 0
    try:
        while at < len(data):
            if len(messages) == len(methods):
                return Stream(tuple(messages), "an answer that nobody asked for", at)
            message, at = _answer(data, at, methods[len(messages)], closed=closed)
            if message is not None:
                messages.append(message)
    except Malformed as exc:
        return Stream(tuple(messages), str(exc) or "malformed", at)
    except Short:
        return Stream(tuple(messages), INCOMPLETE, at)
    return Stream(tuple(messages), "", at)


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    """The line that begins here, without its CRLF. Stops at the first byte that no line may hold."""
    end = data.find(b"\n", at)
    line = data[at:] if end < 0 else data[at:end]
    whole = line[:-1] if line.endswith(b"\r") else line
    if b"\r" in whole or (end >= 0 and whole == line):
        raise Malformed("a bare CR or LF")
    if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", whole):
        raise Malformed("a control byte in a line")
    if end < 0:
        raise Short
    return whole, end + 1


def _fields(data: bytes, at: int) -> tuple[tuple[tuple[bytes, bytes], ...], int]:
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, at = _line(data, at)
        if not line:
            return tuple(fields), at
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Malformed(f"not a field line: {line[:60]!r}")
        fields.append((field[1].lower(), field[2]))


def _request(data: bytes, at: int) -> tuple[Message, int]:
    line, at = _line(data, at)
    parts = _REQUEST_LINE.fullmatch(line)
    if parts is None:
        raise Malformed(f"not a request line: {line[:60]!r}")
    fields, at = _fields(data, at)
    head = Message(parts[1], parts[2], 0, fields, b"", int(parts[3]))
    hosts = head.all(b"host")
    if len(hosts) > 1 or (head.version and not hosts) or not all(_HOST.fullmatch(host) for host in hosts):
        raise Malformed("not one Host")
    length = _length(head)
    body, at = _chunked(data, at) if length is None else _exactly(data, at, length)
    return Message(head.method, head.target, 0, fields, body, head.version), at


def _answer(data: bytes, at: int, method: bytes, *, closed: bool) -> tuple[Message | None, int]:
    line, at = _line(data, at)
    parts = _STATUS_LINE.fullmatch(line)
    if parts is None:
        raise Malformed(f"not a status line: {line[:60]!r}")
    fields, at = _fields(data, at)
    status = int(parts[2])
    head = Message(b"", b"", status, fields, b"", int(parts[1]))
    framed = head.get(b"content-length") is not None or head.get(b"transfer-encoding") is not None
    if status < 200 or status == 204:
        if framed:
            raise Malformed(f"a {status} names a length (RFC 9110 8.6, RFC 9112 6.1)")
        if status == 101:
            raise Malformed("101, which nobody asked for")
        return (None if status < 200 else head), at
    length = _length(head) if framed else -1
    if method == b"HEAD" or status == 304:
        return head, at
    if length is None:
        body, at = _chunked(data, at)
    elif length >= 0:
        body, at = _exactly(data, at, length)
    elif closed:
        body, at = data[at:], len(data)
    else:
        raise Short
    return Message(b"", b"", status, fields, body, head.version), at


def _length(head: Message) -> int | None:
    """Bytes of the body; None for a chunked one."""
    codings, lengths = head.all(b"transfer-encoding"), head.all(b"content-length")
    if codings:
        if lengths or not head.version or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Malformed("a Transfer-Encoding that is not the only framing, or not chunked alone")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise Malformed("not one Content-Length")
    return int(lengths[0])


def _exactly(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    if len(data) - at < count:
        raise Short
    return data[at : at + count], at + count


def _chunked(data: bytes, at: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        line, at = _line(data, at)
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            raise Malformed(f"not a chunk: {line[:60]!r}")
        size = int(chunk[1], 16)
        if not size:
            _, at = _fields(data, at)
            return b"".join(parts), at
        part, at = _exactly(data, at, size)
        parts.append(part)
        if not b"\r\n".startswith(data[at : at + 2]):
            raise Malformed("a chunk that does not end where it says")
        _, at = _exactly(data, at, 2)


def cores(messages: Iterable[Message]) -> list[tuple[bytes, bytes, bytes]]:
    """What the requests are for."""
    return [message.core for message in messages]
