"""Desync forms: whom a request is for, what Connection names, and what only the platform may say.

Sources: K. Shen and others, HDiff (DSN 2022): Host ambiguities. N. Davison, Abusing HTTP hop-by-hop request headers
(2019): Connection that names end-to-end fields. CGI (RFC 3875 4.1.18) and httpoxy (2016): underscores for hyphens, and
fields that become variables. The choice is ours.
"""

from desync_parts import GET, HOST, POST, SMUGGLED, Form, family, with_length


def hosts() -> list[Form]:
    """Whom a request is for."""
    line = b"GET /ns/f/ HTTP/1.1\r\n"
    values = {
        "empty": b"",
        "a path": b"127.0.0.1/ns/g",
        "user info": b"a@127.0.0.1",
        "user info and password": b"a:b@127.0.0.1",
        "a list": b"127.0.0.1, other",
        "two words": b"127.0.0.1 other",
        "a port that is no number": b"127.0.0.1:a",
        "a port without digits": b"127.0.0.1:",
        "two ports": b"127.0.0.1:80:81",
        "a port beyond 65535": b"127.0.0.1:99999",
        "a negative port": b"127.0.0.1:-1",
        "a fragment": b"127.0.0.1#x",
        "a query": b"127.0.0.1?x",
        "NUL": b"127.0.0.1\x00other",
        "bytes above 127": b"\xc3\xa4",
        "a scheme": b"http://127.0.0.1",
        "brackets that never end": b"[::1",
        "an IPv6 zone": b"[fe80::1%25eth0]",
        "an IPv6 address": b"[::1]:80",
        "an IPv6 address without brackets": b"::1",
        "an encoded dot": b"127%2e0.0.1",
        "a backslash": b"127.0.0.1\\x",
        "a trailing dot": b"127.0.0.1.",
        "a vertical tab": b"\x0b127.0.0.1",
        "a comma": b"127.0.0.1,",
        "300 bytes": b"a" * 300,
        "another function": b"g.ns",
        "the function": b"f.ns",
    }
    forms = {f"Host: {key}": line + b"Host: %b\r\n\r\n" % value for key, value in values.items()}
    forms |= {
        "Host: absent": line + b"\r\n",
        "Host: absent, X-Forwarded-Host": line + b"X-Forwarded-Host: 127.0.0.1\r\n\r\n",
        "Host: twice, same": line + HOST * 2 + b"\r\n",
        "Host: twice, other": line + HOST + b"Host: other\r\n\r\n",
        "Host: twice, odd case": line + HOST + b"hOST: other\r\n\r\n",
        "Host: twice, one behind a space": line + HOST + b"Host : other\r\n\r\n",
        "Host: twice, one folded": line + HOST + b" Host: other\r\n\r\n",
        "Host: twice on HTTP/1.0": line.replace(b"/1.1", b"/1.0") + HOST + b"Host: other\r\n\r\n",
        "Host: folded": line + b"Host:\r\n 127.0.0.1\r\n\r\n",
        "Host: behind a bare CR": line + b"X: a\rHost: other\r\n" + HOST + b"\r\n",
        "Host: and X-Host": line + HOST + b"X-Host: other\r\nX-Forwarded-Host: other\r\nForwarded: host=other\r\n\r\n",
        "Host: and X_Forwarded_Host": line + HOST + b"X_Forwarded_Host: other\r\nX_FORWARDED_FOR: 1.2.3.4\r\n\r\n",
        "Host: another than the target's": b"GET http://127.0.0.1/ns/f/ HTTP/1.1\r\nHost: other\r\n\r\n",
    }
    return family("Host", forms)


def connections() -> list[Form]:
    """Connection that names what is not for this hop only, and fields that are."""
    names = (
        "content-length",
        "transfer-encoding",
        "host",
        "stoker-request-id",
        "stoker-deadline-ms",
        "x-forwarded-for",
        "x-forwarded-proto",
        "authorization",
        "cookie",
        "content-type",
        "connection",
        "idempotency-key",
        "te",
        "close, content-length",
        "keep-alive, host",
        "Content-Length ,,Host",
        "",
        ",",
        "x y",
        "*",
    )
    extra = b"Authorization: Bearer a\r\nCookie: a=b\r\nContent-Type: text/plain\r\nIdempotency-Key: k\r\n"
    forms = {
        f"Connection: {name or 'empty'}": POST + extra + b"Connection: %b\r\n" % name.encode() + with_length(b"hello")
        for name in names
    }
    hop = (
        b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nProxy-Authorization: Basic YQ==\r\n"
    )
    forms |= {
        "Connection: twice": POST + b"Connection: keep-alive\r\nConnection: content-length\r\n" + with_length(b"hello"),
        "Connection: close, then a request": GET + b"Connection: close\r\n\r\n" + SMUGGLED,
        "Connection: close in odd case": GET + b"cONNECTION: cLOSE\r\n\r\n" + SMUGGLED,
        "Connection: close and keep-alive": GET + b"Connection: close, keep-alive\r\n\r\n" + SMUGGLED,
        "hop-by-hop fields": GET + hop + b"\r\n",
        "hop-by-hop fields by underscore": GET + hop.replace(b"-", b"_") + b"\r\n",
        "Proxy": GET + b"Proxy: http://127.0.0.1:1\r\n\r\n",
    }
    return family("Connection", forms)


def spoofs() -> list[Form]:
    """What only the platform says to an agent or a replica."""
    names = (
        b"Stoker-Function: ns/g",
        b"Stoker-Variant: cpu",
        b"Stoker-Timeout-Ms: 999999999",
        b"Stoker-Objective-Ms: 1",
        b"Stoker-Late-Ok: 0",
        b"Stoker-Cold: 1",
        b"Stoker-Body-Bytes: 0",
        b"Stoker-Profile: 0",
        b"Stoker-Dispatched: 1",
        b"Stoker-Unknown: 1",
        b"Stoker-: 1",
        b"Stoker-Request-Id: a b",
        b"Stoker-Request-Id: fine-1",
        b"Stoker-Request-Id: " + b"a" * 65,
        b"Stoker-Deadline-Ms: 0x10",
        b"Stoker-Deadline-Ms: -1",
        b"Stoker-Deadline-Ms: 60000",
        b"Stoker-Class: a\tb",
        b"Stoker-Authorization: Bearer a",
    )
    forms = {}
    for line in names:
        shown_name = line[:40].decode()
        name, _, value = line.partition(b":")
        forms[f"spoof {shown_name}"] = POST + line + b"\r\n" + with_length(b"hello")
        if line.endswith((b"ns/g", b"cpu", b"999999999", b"fine-1")):
            forms[f"spoof in odd case {shown_name}"] = (
                POST + name.swapcase() + b":" + value + b"\r\n" + with_length(b"hello")
            )
            forms[f"spoof by underscore {shown_name}"] = (
                POST + name.replace(b"-", b"_") + b":" + value + b"\r\n" + with_length(b"hello")
            )
            forms[f"spoof twice {shown_name}"] = POST + (line + b"\r\n") * 2 + with_length(b"hello")
    return family("Stoker-*", forms)
