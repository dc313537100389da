"""Desync forms: chunked bodies. Sizes, extensions, line ends, data that does not fit, trailers.

Sources: J. B. Weikop, Funky chunks (2025): terminators in chunk extensions and bytes between chunks (TERM.EXT,
EXT.TERM, TERM.SPILL, SPILL.TERM). B. Kallus and others, The HTTP Garden (2024): sizes with signs, prefixes,
underscores, overflow; garbage behind a chunk (h11, CVE-2025-43859). M. Grenfeldt and others, Attacking Websites Using
HTTP Request Smuggling (EDOC 2021): extensions and NUL. RFC 9110 6.5.1: fields that no trailer may hold. The choice is
ours.
"""

from desync_parts import CHUNKED, GET, LAST, POST, SMUGGLED, Form, family

_HEAD = POST + CHUNKED + b"\r\n"
_LARGE = 70_000
"""More than the gateway keeps of a body before it lets a request go on (INLINE_BYTES): the streamed way."""


def sizes() -> list[Form]:
    """Chunk sizes that integer parsers take."""
    bad = {
        "plus": b"+5",
        "minus": b"-5",
        "minus zero last": b"5\r\nhello\r\n-0\r\n\r\n",
        "hexadecimal prefix": b"0x5",
        "upper-case prefix": b"0X5",
        "octal prefix": b"0o5",
        "leading space": b" 5",
        "leading tab": b"\t5",
        "trailing space": b"5 ",
        "trailing tab": b"5\t",
        "space inside": b"0 5",
        "underscore": b"0_5",
        "decimal point": b"5.0",
        "comma": b"5,",
        "quotes": b'"5"',
        "letter beyond f": b"5g",
        "empty": b"",
        "NUL": b"5\x00",
        "vertical tab": b"\x0b5",
        "form feed": b"5\x0c",
        "high byte": b"5\xa0",
        "2 to the 64": b"10000000000000000",
        "2 to the 64 and 5": b"10000000000000005",
        "2 to the 63": b"8000000000000000",
        "2 to the 32 and 5": b"100000005",
        "forty digits": b"f" * 40,
        "CR inside": b"\r5",
    }
    forms = {f"size with {key}": _HEAD + (v if b"\n" in v else v + b"\r\nhello\r\n" + LAST) for key, v in bad.items()}
    forms |= {
        "size with leading zeros": _HEAD + b"0005\r\nhello\r\n" + LAST,
        "size with very many zeros": _HEAD + b"0" * 60 + b"5\r\nhello\r\n" + LAST,
        "size in upper case": _HEAD + b"A\r\nhellohello\r\n" + LAST,
        "last chunk of many zeros": _HEAD + b"5\r\nhello\r\n00000\r\n\r\n",
        "last chunk with an x": _HEAD + b"5\r\nhello\r\n0x0\r\n\r\n",
        "chunk of one byte each": _HEAD + b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + LAST,
    }
    return family("chunk size", forms, tolerated=("size with very many zeros",))


def extensions() -> list[Form]:
    """Chunk extensions: what ends the line, and for whom."""
    values = {
        "token": b";a=b",
        "name only": b";a",
        "two": b";a=b;c=d",
        "quoted": b';a="b c"',
        "quoted semicolon": b';a=";0"',
        "empty name": b";",
        "empty names": b";;",
        "no semicolon": b" a",
        "bad white space": b" ; a = b",
        "space before": b" ;a",
        "quote that never ends": b';a="b',
        "quoted pair": b';a="\\""',
        "number like a size": b";5",
        "NUL": b";a\x00b",
        "control byte": b";a\x01",
        "high bytes": b";\xe2\x98\x83",
        "long": b";a=" + b"b" * 3000,
        "too long": b";a=" + b"b" * 40_000,
        "bare CR": b";a\rb",
        "bare CR at the end": b";a\r",
        "bare LF (TERM.EXT)": b";\n",
        "bare LF and a size": b";a\n5",
        "bare LF in quotes": b';a="\n"',
        "line end in quotes": b';a="\r\n"',
        "LF CR": b";\n\r",
        "CR CR": b";\r",
    }
    forms = {f"extension {key}": _HEAD + b"5%b\r\nhello\r\n" % value + LAST for key, value in values.items()}
    forms |= {
        "extension on the last chunk": _HEAD + b"5\r\nhello\r\n0;a=b\r\n\r\n",
        "extension with a smuggled request": _HEAD + b"5;\n%b\r\nhello\r\n" % SMUGGLED.replace(b"\r\n", b" ") + LAST,
        "extension with LF on the last chunk": _HEAD + b"5\r\nhello\r\n0;\n\r\n" + SMUGGLED,
        "extension with a size in it": _HEAD + b"2;\nxx\r\n47\r\n0\r\n\r\n" + SMUGGLED,
    }
    return family("chunk extension", forms)


def line_ends() -> list[Form]:
    """What ends a size, the data, and the body."""
    return family(
        "chunk line end",
        {
            "LF behind the size": _HEAD + b"5\nhello\r\n" + LAST,
            "CR behind the size": _HEAD + b"5\rhello\r\n" + LAST,
            "LF behind the data": _HEAD + b"5\r\nhello\n" + LAST,
            "CR behind the data": _HEAD + b"5\r\nhello\r" + LAST,
            "nothing behind the data": _HEAD + b"5\r\nhello" + LAST,
            "two bytes of garbage behind the data": _HEAD + b"5\r\nhelloXX" + LAST,
            "a space behind the data": _HEAD + b"5\r\nhello \r\n" + LAST,
            "two line ends behind the data": _HEAD + b"5\r\nhello\r\n\r\n" + LAST,
            "LF everywhere": _HEAD + b"5\nhello\n0\n\n",
            "LF behind the last size": _HEAD + b"5\r\nhello\r\n0\n\r\n",
            "LF behind the last chunk": _HEAD + b"5\r\nhello\r\n0\r\n\n",
            "CR only behind the last chunk": _HEAD + b"5\r\nhello\r\n0\r\n\r" + SMUGGLED,
            "no line end behind the last chunk": _HEAD + b"5\r\nhello\r\n0\r\n" + SMUGGLED,
            "a line end before the first size": _HEAD + b"\r\n5\r\nhello\r\n" + LAST,
            "data shorter than its size": _HEAD + b"9\r\nhello\r\n" + LAST,
            "data longer than its size": _HEAD + b"3\r\nhello\r\n" + LAST,
            "data that runs into the last chunk": _HEAD + b"c\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
            "no last chunk": _HEAD + b"5\r\nhello\r\n" + SMUGGLED,
            "no last chunk, the end": _HEAD + b"5\r\nhello\r\n",
            "no chunk at all": _HEAD,
            "half a size": _HEAD + b"5",
            "a body that is not chunked": _HEAD + SMUGGLED,
            "data behind the last chunk": _HEAD + b"5\r\nhello\r\n" + LAST + b"5\r\nhello\r\n" + LAST,
            "two last chunks": _HEAD + b"5\r\nhello\r\n" + LAST * 2,
        },
    )


def trailers() -> list[Form]:
    """Fields behind the last chunk: of no effect, whatever they say."""
    values = {
        "plain": b"X-Trailer: a\r\n",
        "Content-Length": b"Content-Length: 5\r\n",
        "Transfer-Encoding": b"Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding identity": b"Transfer-Encoding: identity\r\n",
        "Host": b"Host: other\r\n",
        "Stoker-Request-Id": b"Stoker-Request-Id: forged\r\n",
        "Stoker-Deadline-Ms": b"Stoker-Deadline-Ms: 1\r\n",
        "Stoker-Function": b"Stoker-Function: ns/g\r\n",
        "Connection": b"Connection: close\r\n",
        "Upgrade": b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Authorization": b"Authorization: Bearer x\r\n",
        "Expect": b"Expect: 100-continue\r\n",
        "a smuggled request": b"GET /ns/f/smuggled HTTP/1.1\r\n",
        "no colon": b"broken\r\n",
        "space before the colon": b"X : a\r\n",
        "fold": b"X: a\r\n b\r\n",
        "bare LF": b"X: a\n",
        "bare CR": b"X: a\rY: b\r\n",
        "NUL": b"X: a\x00\r\n",
        "empty name": b": a\r\n",
        "leading space": b" X: a\r\n",
        "200 of them": b"X: a\r\n" * 200,
        "20 KiB": b"X: " + b"a" * 20_480 + b"\r\n",
    }
    forms = {f"trailer {key}": _HEAD + b"5\r\nhello\r\n0\r\n%b\r\n" % value for key, value in values.items()}
    forms["trailer announced"] = (
        POST + CHUNKED + b"Trailer: Content-Length\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"
    )
    forms["trailer without the end"] = _HEAD + b"5\r\nhello\r\n0\r\nX: a\r\n" + SMUGGLED
    forms["trailer and a second request"] = _HEAD + b"5\r\nhello\r\n0\r\nX: a\r\n\r\n" + SMUGGLED
    return family("trailer", forms)


def streamed() -> list[Form]:
    """The same faults behind more bytes than the gateway keeps: the request has gone on by then."""
    large = b"%x\r\n%b\r\n" % (_LARGE, b"a" * _LARGE)
    ends = {
        "whole": LAST,
        "a bad size": b"0x5\r\nhello\r\n" + LAST,
        "garbage behind the data": b"5\r\nhelloXX" + LAST,
        "LF in an extension": b"5;\n\r\nhello\r\n" + LAST,
        "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n" + LAST,
        "a broken trailer": b"0\r\nbroken\r\n\r\n",
        "no end": b"5\r\nhello\r\n",
        "a second request": LAST + SMUGGLED,
        "a second request without the last chunk": SMUGGLED,
    }
    forms = {f"streamed, {key}": _HEAD + large + end for key, end in ends.items()}
    whole = b"Content-Length: %d\r\n\r\n" % _LARGE + b"a" * _LARGE
    forms |= {
        "streamed by length": POST + whole,
        "streamed by length, a second request": POST + whole + SMUGGLED,
        "streamed by length, cut short": POST + whole[:-1],
        "streamed by length, GET": GET + whole + SMUGGLED,
        "streamed after 100-continue": POST + b"Expect: 100-continue\r\n" + whole + SMUGGLED,
    }
    return family("streamed", forms)
