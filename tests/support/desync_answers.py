"""Answers of a replica that two parsers read differently, or that carry a second answer for somebody else.

A replica is a tenant's program: it may be hostile or merely broken. Sources: A. Klein, HTTP Response Splitting (2004);
M. Doyhenard, Response Smuggling (DEF CON 29, 2021); RFC 9112 6.3 and RFC 9110 8.6, 15.2, 15.3.5 for which answers have
a body; B. Kallus and others, The HTTP Garden (2024), for sizes. The choice is ours.
"""

from msgspec import Struct

OK = b"HTTP/1.1 200 OK\r\n"
POISON = OK + b"x-poison: POISON\r\ncontent-length: 6\r\n\r\nPOISON"
"""What must reach no client."""
CHUNKED = b"transfer-encoding: chunked\r\n"
_HELLO = b"5\r\nhello\r\n"
_LAST = b"0\r\n\r\n"


class AnswerForm(Struct, frozen=True):
    """What a replica writes as the answer to one request."""

    name: str
    data: bytes
    method: bytes = b"GET"
    closes: bool = False
    """It hangs up behind it."""
    tolerated: bool = False
    """It is passed on in normal form, though a strict reader refuses it."""


def _length(value: bytes, body: bytes = b"hello") -> bytes:
    return OK + b"content-length: " + value + b"\r\n\r\n" + body


def _coding(value: bytes) -> bytes:
    return OK + b"transfer-encoding: " + value + b"\r\n\r\n" + _HELLO + _LAST


def _field(line: bytes) -> bytes:
    return OK + line + b"\r\ncontent-length: 5\r\n\r\nhello"


def _chunks(body: bytes) -> bytes:
    return OK + CHUNKED + b"\r\n" + body


def _line(line: bytes) -> bytes:
    return line + b"\r\ncontent-length: 5\r\n\r\nhello"


_FRAMING = {
    "two answers": _length(b"5") + POISON,
    "an answer and half of one": _length(b"5") + POISON[:20],
    "an answer and a line end": _length(b"5") + b"\r\n",
    "an answer and garbage": _length(b"5") + b"\x00\x01garbage",
    "CL short of the body": _length(b"2"),
    "CL 0 and an answer as the body": _length(b"0", POISON),
    "CL and TE": OK + b"content-length: 5\r\n" + CHUNKED + b"\r\n" + _HELLO + _LAST,
    "TE and CL": OK + CHUNKED + b"content-length: 5\r\n\r\n" + _HELLO + _LAST,
    "TE and CL 0": OK + CHUNKED + b"content-length: 0\r\n\r\n" + _HELLO + _LAST + POISON,
    "CL and TE that ends early": OK
    + b"content-length: %d\r\n" % (5 + len(POISON))
    + CHUNKED
    + b"\r\n"
    + _LAST
    + POISON,
    "TE identity and CL": OK + b"transfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
    "CL twice, same": OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "CL twice, 0 first": OK + b"content-length: 0\r\ncontent-length: 5\r\n\r\nhello",
    "CL twice, 0 last": OK + b"content-length: 5\r\ncontent-length: 0\r\n\r\nhello",
    "CL as a list": _length(b"5, 5"),
    "CL with a plus": _length(b"+5"),
    "CL negative": _length(b"-5"),
    "CL in hexadecimal": _length(b"0x5"),
    "CL with an underscore": _length(b"0_5"),
    "CL empty": _length(b""),
    "CL with a space inside": _length(b"0 5"),
    "CL with a letter behind": _length(b"5a"),
    "CL with a vertical tab": _length(b"\x0b5"),
    "CL in Arabic digits": _length(b"\xd9\xa5"),
    "CL of 2 to the 64 and 5": _length(b"18446744073709551621"),
    "CL folded": OK + b"content-length:\r\n 5\r\n\r\nhello",
    "CL behind a space": OK + b"content-length : 5\r\n\r\nhello",
    "CL by underscore": OK + b"content_length: 0\r\ncontent-length: 5\r\n\r\nhello",
    "TE xchunked": _coding(b"xchunked"),
    "TE gzip, chunked": _coding(b"gzip, chunked"),
    "TE chunked, gzip": _coding(b"chunked, gzip"),
    "TE chunked, chunked": _coding(b"chunked, chunked"),
    "TE with a vertical tab": _coding(b"\x0bchunked"),
    "TE with quotes": _coding(b'"chunked"'),
    "TE empty": _coding(b""),
    "TE with a comma": _coding(b"chunked,"),
    "TE folded": OK + b"transfer-encoding:\r\n chunked\r\n\r\n" + _HELLO + _LAST,
    "TE twice": OK + CHUNKED * 2 + b"\r\n" + _HELLO + _LAST,
    "TE cow then chunked": OK + b"transfer-encoding: cow\r\n" + CHUNKED + b"\r\n" + _HELLO + _LAST,
    "TE on HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n" + _HELLO + _LAST,
    "TE by underscore": OK + b"transfer_encoding: chunked\r\ncontent-length: 5\r\n\r\nhello",
    "TE in odd case": OK + b"Transfer-ENCODING: CHUNKED\r\n\r\n" + _HELLO + _LAST,
    "Connection names CL": OK + b"connection: content-length\r\ncontent-length: 5\r\n\r\nhello",
    "Connection names TE": OK + b"connection: transfer-encoding\r\n" + CHUNKED + b"\r\n" + _HELLO + _LAST,
}
_FRAMING_CLOSED = {
    "no length": OK + b"\r\nhello",
    "no length, an answer as the body": OK + b"\r\n" + b"hello" + POISON.replace(b"POISON", b"inside"),
    "no length on HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "CL beyond the body": _length(b"9"),
    "no last chunk": _chunks(_HELLO),
    "half a chunk": _chunks(b"9\r\nhello"),
    "half a head": OK + b"x: a",
    "nothing": b"",
    "interim only": b"HTTP/1.1 100 Continue\r\n\r\n",
}
_BODILESS = {
    "204 with a length": b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
    "204 with a length and a body": b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    "204 with a coding": b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n" + _LAST,
    "204 and an answer": b"HTTP/1.1 204 No Content\r\n\r\n" + POISON,
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    "304 with a body": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello",
    "304 with a chunked body": b"HTTP/1.1 304 Not Modified\r\n" + CHUNKED + b"\r\n" + _HELLO + _LAST,
    "304 and an answer": b"HTTP/1.1 304 Not Modified\r\ncontent-length: %d\r\n\r\n" % len(POISON) + POISON,
    "205 with a body": b"HTTP/1.1 205 Reset\r\ncontent-length: 5\r\n\r\nhello",
}
_TO_HEAD = {
    "HEAD with a length": _length(b"5", b""),
    "HEAD with a body": _length(b"5"),
    "HEAD with a coding": OK + CHUNKED + b"\r\n",
    "HEAD with a chunked body": OK + CHUNKED + b"\r\n" + _HELLO + _LAST,
    "HEAD with an answer as the body": _length(b"%d" % len(POISON), POISON),
    "HEAD with two answers": _length(b"0", b"") + POISON,
    "HEAD without a length": OK + b"\r\n",
    "HEAD, 204 with a length": b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
    "HEAD with half a chunk size": OK + CHUNKED + b"\r\n5\r",
    "HEAD, CL and TE": OK + b"content-length: 5\r\n" + CHUNKED + b"\r\n",
}
_INTERIM = {
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + _length(b"5"),
    "103 with fields": b"HTTP/1.1 103 Early\r\nlink: </a>\r\nset-cookie: a=b\r\n\r\n" + _length(b"5"),
    "100 with a length": b"HTTP/1.1 100 Continue\r\ncontent-length: 6\r\n\r\n" + _length(b"5"),
    "100 with a coding": b"HTTP/1.1 100 Continue\r\n" + CHUNKED + b"\r\n" + _length(b"5"),
    "100 with a body": b"HTTP/1.1 100 Continue\r\ncontent-length: 6\r\n\r\nPOISON" + _length(b"5"),
    "101": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" + POISON,
    "102 of the agent's kind": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + _length(b"5"),
    "20 of them": b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + _length(b"5"),
    "4000 of them": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + _length(b"5"),
    "interim behind the answer": _length(b"5") + b"HTTP/1.1 100 Continue\r\n\r\n" + POISON,
    "199": b"HTTP/1.1 199 Odd\r\n\r\n" + _length(b"5"),
}
_LINES = {
    "status 000": _line(b"HTTP/1.1 000 None"),
    "status 099": _line(b"HTTP/1.1 099 Low"),
    "status 600": _line(b"HTTP/1.1 600 High"),
    "status 999": _line(b"HTTP/1.1 999 High"),
    "status 1000": _line(b"HTTP/1.1 1000 Long"),
    "status 20": _line(b"HTTP/1.1 20 Short"),
    "status -200": _line(b"HTTP/1.1 -200 Minus"),
    "status in two words": _line(b"HTTP/1.1 2 00 OK"),
    "status without digits": _line(b"HTTP/1.1 OK"),
    "no reason": _line(b"HTTP/1.1 200 "),
    "no reason and no space": _line(b"HTTP/1.1 200"),
    "a long reason": _line(b"HTTP/1.1 200 " + b"a" * 4000),
    "a reason with CR": _line(b"HTTP/1.1 200 O\rK"),
    "a reason with NUL": _line(b"HTTP/1.1 200 O\x00K"),
    "a reason with a control byte": _line(b"HTTP/1.1 200 O\x01K"),
    "a reason with high bytes": _line(b"HTTP/1.1 200 \xc3\xa4"),
    "HTTP/1.2": _line(b"HTTP/1.2 200 OK"),
    "HTTP/2.0": _line(b"HTTP/2.0 200 OK"),
    "ICY": _line(b"ICY 200 OK"),
    "lower case": _line(b"http/1.1 200 OK"),
    "two spaces": _line(b"HTTP/1.1  200 OK"),
    "a line end first": b"\r\n" + _length(b"5"),
    "a space first": b" " + _length(b"5"),
    "a status line ended by LF": b"HTTP/1.1 200 OK\ncontent-length: 5\r\n\r\nhello",
    "a request": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
}
_FIELDS = {
    "bare LF in a value": _field(b"x: a\nset-cookie: a=b"),
    "bare CR in a value": _field(b"x: a\rset-cookie: a=b"),
    "NUL in a value": _field(b"x: a\x00b"),
    "a control byte in a value": _field(b"x: a\x01b"),
    "DEL in a value": _field(b"x: a\x7fb"),
    "NUL in a name": _field(b"x\x00: a"),
    "a fold": _field(b"x: a\r\n b"),
    "a fold that holds a field": _field(b"x: a\r\n content-length: 0"),
    "a space before the colon": _field(b"x : a"),
    "no colon": _field(b"broken"),
    "an empty name": _field(b": a"),
    "a space in a name": _field(b"x y: a"),
    "a leading space": _field(b" x: a"),
    "high bytes in a value": _field(b"x: \xc3\xa4\xff"),
    "lines that end with LF": _length(b"5").replace(b"\r\n", b"\n"),
    "a head that ends with LF": OK + b"content-length: 5\r\n\nhello",
    "300 fields": OK + b"x: a\r\n" * 300 + b"content-length: 5\r\n\r\nhello",
    "a field of 100 KiB": _field(b"x: " + b"a" * 102_400),
    "Stoker-* of its own": _field(b"stoker-dispatched: 0\r\nstoker-device: none\r\nstoker-outcome: refused"),
    "Stoker-* by underscore": _field(b"stoker_dispatched: 0\r\nSTOKER_OUTCOME: refused"),
    "a refusal like the agent's": b"HTTP/1.1 503 No\r\nstoker-dispatched: 0\r\n"
    b'content-type: application/problem+json\r\ncontent-length: 37\r\n\r\n{"status":503,"reason":"NoReplica"}\r\n',
    "hop-by-hop fields": _field(b"connection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: a\r\ntrailer: x"),
    "Connection: close": _field(b"connection: close"),
    "Connection twice": _field(b"connection: x-a\r\nconnection: x-b\r\nx-a: a\r\nx-b: b"),
    "Upgrade": _field(b"connection: upgrade\r\nupgrade: h2c"),
    "Server-Timing of its own": _field(b"server-timing: queue;dur=1e9, exec;dur=-1, x;dur=2"),
    "Date twice": _field(b"date: a\r\ndate: b"),
}
_CHUNKS = {
    "size with a plus": _chunks(b"+5\r\nhello\r\n" + _LAST),
    "size negative": _chunks(b"-5\r\nhello\r\n" + _LAST),
    "size with a prefix": _chunks(b"0x5\r\nhello\r\n" + _LAST),
    "size with a space before": _chunks(b" 5\r\nhello\r\n" + _LAST),
    "size with a space behind": _chunks(b"5 \r\nhello\r\n" + _LAST),
    "size with an underscore": _chunks(b"0_5\r\nhello\r\n" + _LAST),
    "size empty": _chunks(b"\r\nhello\r\n" + _LAST),
    "size of 2 to the 64 and 5": _chunks(b"10000000000000005\r\nhello\r\n" + _LAST),
    "size ended by LF": _chunks(b"5\nhello\r\n" + _LAST),
    "size ended by CR": _chunks(b"5\rhello\r\n" + _LAST),
    "data ended by LF": _chunks(b"5\r\nhello\n" + _LAST),
    "data ended by garbage": _chunks(b"5\r\nhelloXX" + _LAST),
    "data longer than its size": _chunks(b"3\r\nhello\r\n" + _LAST),
    "an extension": _chunks(b"5;a=b\r\nhello\r\n" + _LAST),
    "an extension with LF": _chunks(b"5;\n\r\nhello\r\n" + _LAST),
    "an extension with CR": _chunks(b"5;a\rb\r\nhello\r\n" + _LAST),
    "a last chunk ended by LF": _chunks(_HELLO + b"0\n\r\n"),
    "a trailer": _chunks(_HELLO + b"0\r\nx-trailer: a\r\n\r\n"),
    "a trailer Content-Length": _chunks(_HELLO + b"0\r\ncontent-length: 0\r\n\r\n"),
    "a trailer Set-Cookie": _chunks(_HELLO + b"0\r\nset-cookie: a=b\r\n\r\n"),
    "a trailer Stoker-Outcome": _chunks(_HELLO + b"0\r\nstoker-outcome: refused\r\n\r\n"),
    "a trailer without a colon": _chunks(_HELLO + b"0\r\nbroken\r\n\r\n"),
    "an answer behind the last chunk": _chunks(_HELLO + _LAST + POISON),
    "an answer in a chunk": _chunks(b"%x\r\n%b\r\n" % (len(POISON), POISON.replace(b"POISON", b"inside")) + _LAST),
}
_TOLERATED = frozenset(
    (
        "TE on HTTP/1.0",
        "204 with a length",
        "204 with a length and a body",
        "204 with a coding",
        "HEAD, 204 with a length",
        "100 with a length",
        "100 with a coding",
        "no reason and no space",
        "HTTP/2.0",
        "a line end first",
    )
)
"""llhttp reads them in one way, and they go on without what is wrong with them."""


def _forms(forms: dict[str, bytes], *, method: bytes = b"GET", closes: bool = False) -> list[AnswerForm]:
    return [AnswerForm(name, data, method, closes, name in _TOLERATED) for name, data in forms.items()]


ANSWERS: list[AnswerForm] = [
    *_forms(_FRAMING),
    *_forms(_FRAMING_CLOSED, closes=True),
    *_forms(_BODILESS),
    *_forms(_TO_HEAD, method=b"HEAD"),
    *_forms(_INTERIM),
    *_forms(_LINES),
    *_forms(_FIELDS),
    *_forms(_CHUNKS),
]
