"""Desync forms: several requests on one connection, expectations, upgrades, and what stands before or behind a request.

Sources: J. Kettle, HTTP Desync Attacks (2019): a request inside a body; HTTP/1.1 must die (2025): Expect, plain and
obfuscated, and early answers (0.CL). J. Miller, h2c smuggling (Bishop Fox, 2020). RFC 9112 9.3.2: pipelining. The
choice is ours.
"""

from desync_parts import CHUNKED, GET, LAST, POST, SMUGGLED, Form, family, with_length

_HEAD = GET.replace(b"GET", b"HEAD")


def pipelines() -> list[Form]:
    """A request, and what comes behind it."""
    forms = {
        "two requests": GET + b"\r\n" + SMUGGLED,
        "ten requests": (GET + b"\r\n") * 10,
        "three methods": GET + b"\r\n" + _HEAD + b"\r\n" + POST + with_length(b"hello"),
        "a request in the body of GET, then a request": GET + with_length(SMUGGLED) + GET + b"\r\n",
        "a request in the body of POST": POST + with_length(SMUGGLED) + SMUGGLED,
        "a request in a chunk": POST + CHUNKED + b"\r\n%x\r\n%b\r\n%b" % (len(SMUGGLED), SMUGGLED, LAST) + SMUGGLED,
        "a request in a field": GET + b"X: " + SMUGGLED.strip().replace(b"\r\n", b" ") + b"\r\n\r\n",
        "HEAD with a body": _HEAD + with_length(b"hello"),
        "HEAD with a chunked body": _HEAD + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST,
        "HEAD, then a request": _HEAD + b"\r\n" + SMUGGLED,
        "HEAD to nobody, then a request": b"HEAD /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + SMUGGLED,
        "GET to nobody, then a request": b"GET /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + SMUGGLED,
        "POST to nobody with a request as its body": b"POST /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + with_length(SMUGGLED),
        "POST to nobody, chunked": b"POST /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + CHUNKED
        + b"\r\n"
        + LAST
        + SMUGGLED,
        "DELETE with a body, then a request": GET.replace(b"GET", b"DELETE") + with_length(b"hello") + SMUGGLED,
        "a request, then garbage": GET + b"\r\n" + b"\x00\x01garbage\r\n\r\n",
        "a request, then half of one": GET + b"\r\n" + SMUGGLED[:20],
        "a request, then LF and one more": GET + b"\r\n\n" + SMUGGLED,
        "a request, then line ends and one more": GET + b"\r\n" + b"\r\n" * 3 + SMUGGLED,
        "a request, then a space and one more": GET + b"\r\n " + SMUGGLED,
        "a body, then a line end and one more": POST + with_length(b"hello") + b"\r\n" + SMUGGLED,
        "a chunked body, then a line end and one more": POST + CHUNKED + b"\r\n" + LAST + b"\r\n" + SMUGGLED,
        "a request, then a refused one, then one more": GET + b"\r\n" + GET + b"Upgrade: h2c\r\n\r\n" + SMUGGLED,
        "an unknown class, then a request": GET + b"Stoker-Class: none\r\n\r\n" + SMUGGLED,
        "an unknown class with a request as its body": POST + b"Stoker-Class: none\r\n" + with_length(SMUGGLED),
        "a request, then CL with TE": GET
        + b"\r\n"
        + POST
        + b"Content-Length: 5\r\n"
        + CHUNKED
        + b"\r\n"
        + LAST
        + SMUGGLED,
        "an answer behind a request": GET + b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    }
    tolerated = (
        "a request, then LF and one more",
        "a request, then line ends and one more",
        "a body, then a line end and one more",
    )
    return family("pipeline", forms, tolerated=tolerated)


def expectations() -> list[Form]:
    """Expect, with and without the body that it announces."""
    expect = b"Expect: 100-continue\r\n"
    values = {
        "unknown": b"Expect: 200-ok\r\n",
        "a list": b"Expect: 100-continue, 100-continue\r\n",
        "a word before": b"Expect: y 100-continue\r\n",
        "a word behind": b"Expect: 100-continue y\r\n",
        "empty": b"Expect:\r\n",
        "odd case": b"eXPECT: 100-CONTINUE\r\n",
        "by underscore": b"Expect_: 100-continue\r\n",
        "quotes": b'Expect: "100-continue"\r\n',
        "parameter": b"Expect: 100-continue;a=b\r\n",
        "vertical tab": b"Expect:\x0b100-continue\r\n",
        "folded": b"Expect:\r\n 100-continue\r\n",
        "behind a space": b"Expect : 100-continue\r\n",
        "no hyphen": b"Expect: 100continue\r\n",
        "twice": expect * 2,
        "with the body": expect,
    }
    forms = {f"Expect {key}": POST + value + with_length(b"hello") + SMUGGLED for key, value in values.items()}
    forms |= {
        "Expect without the body": POST + expect + b"Content-Length: 5\r\n\r\n",
        "Expect, a request for the body": POST + expect + b"Content-Length: 5\r\n\r\n" + SMUGGLED,
        "Expect chunked": POST + expect + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST + SMUGGLED,
        "Expect chunked, broken": POST + expect + CHUNKED + b"\r\n5;\n\r\nhello\r\n" + LAST + SMUGGLED,
        "Expect of a body of none": POST + expect + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
        "Expect on GET": GET + expect + b"\r\n" + SMUGGLED,
        "Expect on HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + expect + with_length(b"hello"),
        "Expect on HEAD with a body": _HEAD + expect + with_length(SMUGGLED),
        "Expect to nobody": b"POST /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n" + expect + with_length(SMUGGLED),
        "Expect to nobody, then no body": b"POST /none/none HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + expect
        + b"Content-Length: 60\r\n\r\n"
        + SMUGGLED,
    }
    return family("Expect", forms)


def upgrades() -> list[Form]:
    """Other protocols on this connection."""
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    websocket = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n"
    values = {
        "h2c": h2c,
        "websocket": websocket,
        "websocket of the old kind": b"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key1: 4\r\n",
        "TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "no Connection": b"Upgrade: h2c\r\n",
        "Connection only": b"Connection: upgrade\r\n",
        "Connection names the settings": b"Connection: http2-settings\r\n",
        "settings only": b"HTTP2-Settings: AAMA\r\n",
        "empty": b"Connection: upgrade\r\nUpgrade:\r\n",
        "odd case": b"cONNECTION: uPGRADE\r\nuPGRADE: H2C\r\n",
        "by underscore": b"Connection: keep-alive\r\nUpgrade_: h2c\r\n",
        "a list": b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n",
        "twice": b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    }
    forms = {f"Upgrade {key}": GET + value + b"\r\n" + SMUGGLED for key, value in values.items()}
    forms["Upgrade with a body"] = POST + h2c + with_length(b"hello") + SMUGGLED
    forms["Upgrade with a chunked body"] = POST + h2c + CHUNKED + b"\r\n" + LAST + SMUGGLED
    return family("Upgrade", forms)
