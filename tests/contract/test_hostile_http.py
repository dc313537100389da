"""Malformed and ambiguous HTTP against the real listener: refused in the platform's own form, and never forwarded.

Each form is one that two HTTP parsers are known to read differently, or that a proxy must not pass on. The agent
behind the gateway is warm and records every byte that it gets from it.
"""

import asyncio

import pytest
from gateway_fake_agent import Answer, GatewayUnderTest, Start, function, starting

pytestmark = pytest.mark.contract
start = pytest.fixture(starting)

H = b"Host: 127.0.0.1\r\n"
POST = b"POST /ns/f/ HTTP/1.1\r\n" + H
GET = b"GET /ns/f/ HTTP/1.1\r\n" + H
SMUGGLED = b"GET /ns/f/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

CORPUS: dict[str, tuple[int, bytes]] = {
    # Framing: length against coding, and lengths that disagree.
    "CL and TE": (400, POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED),
    "TE and CL": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED),
    "two CL that differ": (400, POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED),
    "two CL that agree": (400, POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "CL as a list": (400, POST + b"Content-Length: 0, 0\r\n\r\n"),
    "CL with a plus": (400, POST + b"Content-Length: +4\r\n\r\nbody"),
    "CL negative": (400, POST + b"Content-Length: -1\r\n\r\n"),
    "CL in hexadecimal": (400, POST + b"Content-Length: 0x4\r\n\r\nbody"),
    "CL empty": (400, POST + b"Content-Length: \r\n\r\n"),
    "CL with a space inside": (400, POST + b"Content-Length: 4 4\r\n\r\nbody"),
    "CL too large for 64 bits": (400, POST + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "CL with a vertical tab": (400, POST + b"Content-Length: \x0b4\r\n\r\nbody"),
    "TE gzip, chunked": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "TE chunked, gzip": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "TE chunked, chunked": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "TE twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "TE unknown": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "TE with a quirk": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "TE on HTTP/1.0": (400, b"POST /ns/f/ HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "space before the colon": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    # Lines: what ends one, and what may stand in it.
    "bare LF after headers": (400, GET.replace(b"\r\n", b"\n") + b"\n"),
    "bare LF inside": (400, GET + b"X: 1\nY: 2\r\n\r\n"),
    "bare CR inside": (400, GET + b"X: 1\rY: 2\r\n\r\n"),
    "NUL in a value": (400, GET + b"X: a\0b\r\n\r\n"),
    "NUL in a name": (400, GET + b"X\0: a\r\n\r\n"),
    "obs-fold": (400, GET + b"X: 1\r\n folded\r\n\r\n"),
    "header without colon": (400, GET + b"Broken\r\n\r\n"),
    "empty header name": (400, GET + b": x\r\n\r\n"),
    "space in a header name": (400, GET + b"X Y: x\r\n\r\n"),
    "leading space before the first header": (400, b"GET /ns/f/ HTTP/1.1\r\n Host: x\r\n\r\n"),
    "control byte in a value": (400, GET + b"X: a\x01b\r\n\r\n"),
    # Hosts.
    "no Host": (400, b"GET /ns/f/ HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, GET + b"Host: other\r\n\r\n"),
    "Host empty": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: \r\n\r\n"),
    "Host with a path": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with user info": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "Host with a bad port": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "Host as a list": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "Host with bytes above 127": (400, b"GET /ns/f/ HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"),
    # Request lines.
    "HTTP/0.9": (400, b"GET /ns/f/\r\n\r\n"),
    "HTTP/2.0": (400, b"GET /ns/f/ HTTP/2.0\r\n" + H + b"\r\n"),
    "HTTP/1.2": (400, b"GET /ns/f/ HTTP/1.2\r\n" + H + b"\r\n"),
    "HTTP/1.10": (400, b"GET /ns/f/ HTTP/1.10\r\n" + H + b"\r\n"),
    "lower case version": (400, b"GET /ns/f/ http/1.1\r\n" + H + b"\r\n"),
    "a space in the target": (400, b"GET /ns/f/a b HTTP/1.1\r\n" + H + b"\r\n"),
    "a tab in the line": (400, b"GET\t/ns/f/ HTTP/1.1\r\n" + H + b"\r\n"),
    "unknown method": (400, b"BREW /ns/f/ HTTP/1.1\r\n" + H + b"\r\n"),
    "CONNECT": (400, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
    "absolute-form": (400, b"GET http://127.0.0.1/ns/f/ HTTP/1.1\r\n" + H + b"\r\n"),
    "asterisk-form": (400, b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n"),
    "relative target": (400, b"GET ns/f/ HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment": (400, b"GET /ns/f/#frag HTTP/1.1\r\n" + H + b"\r\n"),
    "bytes above 127 in the target": (400, b"GET /ns/f/\xc3\xa4 HTTP/1.1\r\n" + H + b"\r\n"),
    "control byte in the target": (400, b"GET /ns/f/\x01 HTTP/1.1\r\n" + H + b"\r\n"),
    # Other protocols.
    "h2c upgrade": (400, GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"),
    "h2c by prior knowledge": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "websocket upgrade": (400, GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"),
    "Upgrade without Connection": (400, GET + b"Upgrade: h2c\r\n\r\n"),
    "Connection: upgrade alone": (400, GET + b"Connection: upgrade\r\n\r\n"),
    "TLS on the plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "an unknown expectation": (400, POST + b"Expect: 200-ok\r\nContent-Length: 4\r\n\r\nbody"),
    # Sizes.
    "a header of 20 KiB": (431, GET + b"X: " + b"a" * 20_480 + b"\r\n\r\n"),
    "a header name of 20 KiB": (431, GET + b"X" * 20_480 + b": a\r\n\r\n"),
    "a target of 20 KiB": (431, b"GET /ns/f/" + b"a" * 20_480 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "headers of 80 KiB in all": (
        431,
        GET + b"".join(b"X-%d: " % i + b"a" * 8192 + b"\r\n" for i in range(10)) + b"\r\n",
    ),
    "200 headers": (431, GET + b"".join(b"X-%d: a\r\n" % i for i in range(200)) + b"\r\n"),
}


async def reply(g: GatewayUnderTest, data: bytes) -> tuple[Answer, bytes]:
    """The first answer, and whatever comes until the gateway closes."""
    client = await g.client()
    client.writer.write(data)
    answer = await client.answer()
    try:
        rest = await client.reader.read()
    except ConnectionError:
        rest = b""
    return answer, rest


@pytest.mark.parametrize("form", CORPUS)
async def test_a_hostile_request_is_refused_and_never_forwarded(start: Start, form: str) -> None:
    g = await start()
    before = g.agent.bytes_in
    status, data = CORPUS[form]
    answer, rest = await reply(g, data)
    assert answer.status == status
    problem = answer.problem()
    assert problem.reason in ("MalformedRequest", "HeadersTooLarge")
    assert problem.request_id == answer.headers["stoker-request-id"]
    assert answer.headers["server"] == "stoker"
    assert answer.headers["connection"] == "close"
    assert answer.headers["stoker-outcome"] == "refused"
    assert b"smuggled" not in rest
    assert b"HTTP/1.1 200" not in rest
    await asyncio.sleep(0)
    assert (g.agent.bytes_in, g.agent.runs, g.agent.admissions) == (before, [], [])


@pytest.mark.parametrize(
    "chunks",
    [
        b'4;ext="\r\n"\r\nbody\r\n0\r\n\r\n',
        b"4\nbody\n0\n\n",
        b"0x4\r\nbody\r\n0\r\n\r\n",
        b"-4\r\nbody\r\n0\r\n\r\n",
        b" 4\r\nbody\r\n0\r\n\r\n",
        b"4\r\nbodyX\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nbody\r\n0\r\n\r\n",
        b"4\r\nbody0\r\n\r\n",
        b"\r\nbody\r\n0\r\n\r\n",
    ],
)
async def test_broken_chunking_is_refused_and_never_whole_at_the_agent(start: Start, chunks: bytes) -> None:
    g = await start()
    answer, rest = await reply(g, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED)
    assert answer.status == 400
    assert b"HTTP/1.1 200" not in rest
    assert not g.agent.runs


async def test_a_body_longer_than_its_length_is_the_next_request_and_judged_as_one(start: Start) -> None:
    g = await start()
    answer, rest = await reply(g, POST + b"Content-Length: 4\r\n\r\nbodyleftover\r\n\r\n")
    assert answer.status == 400  # Both came in one segment, and the second is no request.
    assert rest == b""
    assert not g.agent.runs


async def test_a_head_that_never_ends_is_ended_by_the_idle_time(start: Start) -> None:
    g = await start(keep_alive_s=0.05)
    client = await g.client()
    await client.send(b"GET /ns/f/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
    assert await client.closed()
    assert not g.agent.runs


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + GET + b"X:\t padded \t\r\n\r\n",
        b"GET  /ns/f/ HTTP/1.1\r\n" + H + b"X: padded\r\n\r\n",
    ],
)
async def test_what_is_tolerated_goes_on_in_one_normal_form(start: Start, data: bytes) -> None:
    g = await start()
    client = await g.client()
    await client.send(data)
    assert (await client.answer()).status == 200
    (run,) = g.agent.runs
    assert (run.target, run.header("x")) == ("/v1/run/", "padded")


async def test_well_formed_requests_pass_between_all_the_hostile_ones(start: Start) -> None:
    g = await start(function())
    for form in ("CL and TE", "obs-fold", "h2c upgrade"):
        await reply(g, CORPUS[form][1])
        assert (await g.call()).status == 200
    assert len(g.agent.runs) == 3
