"""Other readers of HTTP/1.1 request streams, for tests: what a replica or a proxy may read out of the same bytes.

Each takes the bytes of one direction of a connection and says which whole requests it sees. `llhttp`, `pure` (aiohttp
without its C parser) and `stdlib` are programs that people run; `forgiving` is the worst one that was ever reported:
it ends lines at LF, trims every control byte, takes `_` for `-`, and finds `chunked` and digits wherever they stand
(behaviours collected by B. Jabiyev and others, T-Reqs, CCS 2021, and B. Kallus and others, The HTTP Garden, 2024).
Bytes on which all of them and the strict reader agree leave nothing to smuggle with.
"""

import re
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

import httptools
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from strict_http import INCOMPLETE, Message, Stream

Reader = Callable[[bytes], Stream]


class _Llhttp:
    """Collects what httptools calls back."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.open = False
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> str:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            return str(exc) or "malformed"
        return INCOMPLETE if self.open else ""

    def on_message_begin(self) -> None:
        self.open, self._target, self._body, self._in_head = True, b"", b"", True
        self._fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        minor = int(self._parser.get_http_version()[-1])
        self.messages.append(
            Message(self._parser.get_method(), self._target, 0, tuple(self._fields), self._body, minor)
        )
        self.open = False


def llhttp(data: bytes) -> Stream:
    """The parser of Node.js and of the agent."""
    collector = _Llhttp()
    problem = collector.feed(data)
    return Stream(tuple(collector.messages), problem)


def stdlib(data: bytes) -> Stream:
    """Python's http.server, with a body reader as people write it."""
    rfile = BytesIO(data)
    messages: list[Message] = []
    while rfile.tell() < len(data):
        handler: Any = object.__new__(_Handler)
        handler.rfile, handler.wfile, handler.client_address = rfile, BytesIO(), ("", 0)
        handler.raw_requestline = rfile.readline(65537)
        if not handler.raw_requestline.endswith(b"\n"):
            return Stream(tuple(messages), INCOMPLETE)
        if not handler.parse_request():
            return Stream(tuple(messages), "refused")
        body = _plain_body(rfile, handler.headers)
        if body is None:
            return Stream(tuple(messages), INCOMPLETE)
        fields = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1").strip(b" \t"))
            for name, value in handler.headers.items()
        )
        method, target = handler.command.encode("latin-1"), handler.raw_requestline.split()[1]
        messages.append(Message(method, target, 0, fields, body, int(handler.request_version[-1])))
    return Stream(tuple(messages))


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silent."""


def _plain_body(rfile: BytesIO, headers: Any) -> bytes | None:
    """None: it is cut short."""
    if "chunked" in headers.get("Transfer-Encoding", ""):
        parts: list[bytes] = []
        while (line := rfile.readline()).strip():
            size = int(line.split(b";")[0], 16)
            if not size:
                while line := rfile.readline():
                    if not line.strip():
                        return b"".join(parts)
                return None
            parts.append(rfile.read(size))
            rfile.readline()
        return None
    count = int(headers.get("Content-Length", 0))
    body = rfile.read(count)
    return body if len(body) == count else None


_LOOP: Any = object()
"""aiohttp's parsers want a loop for who waits for a body; nobody does here."""


def parsed(segments: Iterable[bytes], parser_class: Any = HttpRequestParser) -> tuple[list[tuple[Any, bytes]], str]:
    """The whole requests as aiohttp has them (by the limits of the gateway's listener) with their bodies, and why no
    more was read. A head that does not end is no problem here: it is no message yet.
    """
    parser = parser_class(
        BaseProtocol(_LOOP),
        _LOOP,
        2**30,
        max_line_size=16 * 1024,
        max_field_size=16 * 1024,
        max_headers=128,
        auto_decompress=False,
    )
    found: list[tuple[Any, Any]] = []
    problem = ""
    try:
        for segment in segments:
            messages, upgraded, _ = parser.feed_data(segment)
            found += messages
            if upgraded:
                problem = "upgraded"
                break
    except HttpProcessingError as exc:
        problem = str(exc) or "malformed"
    whole: list[tuple[Any, bytes]] = []
    for message, payload in found:
        if payload.exception() is not None:
            problem = problem or "the body is broken"
        elif payload.is_eof():
            whole.append((message, b"".join(getattr(payload, "_buffer", ()))))
        else:
            problem = problem or INCOMPLETE
    return whole, problem


def _by_aiohttp(parser_class: Any, segments: Iterable[bytes]) -> Stream:
    whole, problem = parsed(segments, parser_class)
    return Stream(tuple(_of_aiohttp(message, body) for message, body in whole), problem)


def _of_aiohttp(message: Any, body: bytes) -> Message:
    fields = tuple((name.lower(), value.strip(b" \t")) for name, value in message.raw_headers)
    target = (message.path or "").encode("utf-8", "surrogateescape")
    return Message(message.method.encode(), target, 0, fields, body, message.version.minor)


def as_the_gateway(*segments: bytes) -> Stream:
    """By the parser of the gateway's listener, as `parsed`."""
    return _by_aiohttp(HttpRequestParser, segments)


def pure(data: bytes) -> Stream:
    """aiohttp where its C parser is missing."""
    return _by_aiohttp(HttpRequestParserPy, (data,))


_TRIM = bytes(range(0x21)) + b"\x7f\x85\xa0\xff"


def forgiving(data: bytes) -> Stream:
    """See the module."""
    messages: list[Message] = []
    at = 0
    while at < len(data):
        if data[at : at + 1] in (b"\r", b"\n"):
            at += 1
            continue
        end = re.compile(rb"\r?\n\r?\n").search(data, at)
        if end is None:
            return Stream(tuple(messages), INCOMPLETE)
        lines = re.split(rb"\r?\n|\r", data[at : end.start()])
        words = lines[0].split()
        fields = []
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            fields.append((name.strip(_TRIM).lower().replace(b"_", b"-"), value.strip(_TRIM)))
        at = end.end()
        codings = [value for name, value in fields if name == b"transfer-encoding" and b"chunked" in value.lower()]
        lengths = [
            found[0] for name, value in fields if name == b"content-length" and (found := re.findall(rb"\d+", value))
        ]
        body: bytes | None
        if codings:
            rest = BytesIO(data[at:])
            body = _plain_body(rest, {"Transfer-Encoding": "chunked"})
            at += rest.tell()
        else:
            count = int(lengths[-1]) if lengths else 0
            body = data[at : at + count] if len(data) - at >= count else None
            at += count
        if body is None:
            return Stream(tuple(messages), INCOMPLETE)
        target = words[1] if len(words) > 1 else b""
        messages.append(Message(words[0], target, 0, tuple(fields), body, 1))
    return Stream(tuple(messages))


READERS: dict[str, Reader] = {"llhttp": llhttp, "stdlib": stdlib, "pure": pure, "forgiving": forgiving}
