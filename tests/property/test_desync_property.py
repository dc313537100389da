"""Whatever bytes a client sends: what the gateway makes of a request is read by every parser as it read it itself.

Mutations of valid requests, byte by byte and word by word, through the parser, the screening and the head for the hop.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from desync_parts import CHUNKED, GET, LAST, POST, SMUGGLED, with_length
from http_readers import READERS, as_the_gateway, parsed
from hypothesis import given, settings
from hypothesis import strategies as st
from settings_of_tests import examples
from strict_http import Message, read_requests

from stoker.model.function import Variant
from stoker_gateway.hop_head import run_head
from stoker_gateway.inbound import Inbound
from stoker_gateway.screening import Screened, screen
from stoker_gateway.visit import VariantState, Visit
from stoker_runtime.http_head import LAST_CHUNK, framed

pytestmark = pytest.mark.property

VALID = (
    GET + b"Accept: */*\r\n\r\n",
    POST + with_length(b"hello"),
    POST + CHUNKED + b"\r\n5;a=b\r\nhello\r\n" + LAST,
    POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n" + SMUGGLED,
    GET + b"Connection: keep-alive, x-a\r\nX-A: b\r\nX-Forwarded-For: 10.0.0.1\r\nStoker-Class: a\r\n\r\n" + SMUGGLED,
)
WORDS = st.sampled_from(
    (
        *(
            b"\r",
            b"\n",
            b"\r\n",
            b"\0",
            b" ",
            b"\t",
            b":",
            b",",
            b";",
            b"_",
            b"-",
            b"0",
            b"5",
            b"\x0b",
            b"\xff",
            b"\r\n ",
        ),
        *(
            b"Content-Length: 3\r\n",
            b"Content_Length: 3\r\n",
            CHUNKED,
            b"transfer_encoding: chunked\r\n",
            b"Host: b\r\n",
        ),
        *(b"Stoker-Function: ns/g\r\n", b"STOKER_VARIANT: cpu\r\n", b"Connection: host, x-a\r\n", LAST, SMUGGLED),
    )
)
CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), WORDS), min_size=1, max_size=4)
VARIANT = VariantState("ns/f", Variant.GPU)


def changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Words put in at places, over so many bytes."""
    for place, over, word in changes:
        at = place % (len(data) + 1)
        data = data[:at] + word + data[at + over :]
    return data


def for_the_hop(message: Any, screened: Screened, body: bytes) -> bytes:
    """The request as it goes to an agent."""
    connection = SimpleNamespace(peer=b"127.0.0.1", forwarded=b"x-forwarded-proto: http\r\n")
    visit = Visit(cast(Inbound, SimpleNamespace(message=message, protocol=connection)), screened, 0)
    if screened.length < 0:
        return run_head(visit, VARIANT, 0, -1, late_ok=True) + (framed(body) if body else b"") + LAST_CHUNK
    return run_head(visit, VARIANT, 0, len(body), late_ok=True) + body


@given(st.sampled_from(VALID), CHANGES)
@settings(max_examples=examples(150))
def test_what_goes_on_is_one_request_and_the_same_to_every_reader(
    valid: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    data = changed(valid, changes)
    for message, body in parsed((data,))[0]:
        screened = screen(message, 64 * 1024)
        if screened.refusal is not None:
            continue
        hop = for_the_hop(message, screened, body)
        wanted = (message.method.encode(), b"/v1/run" + message.path.encode(), body)
        strict = read_requests(hop)
        assert strict.problem == ""
        for name, reader in READERS.items():
            assert [read.core for read in reader(hop).messages] == [wanted], name
        (read,) = strict.messages
        _nothing_is_forged(read, screened)


def _nothing_is_forged(read: Message, screened: Screened) -> None:
    names = [name.replace(b"_", b"-") for name, _ in read.fields]
    once = [name for name in names if name.startswith(b"stoker-") or name in (b"host", b"content-length")]
    assert len(once) == len(set(once))
    assert read.get(b"stoker-function") == b"ns/f"
    assert read.get(b"stoker-variant") == b"gpu"
    assert read.get(b"host") == screened.host


@given(st.sampled_from(VALID), CHANGES)
@settings(max_examples=examples(150))
def test_what_is_well_formed_is_read_as_it_is_written_or_refused(
    valid: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    data = changed(valid, changes)
    strict, ours = read_requests(data), as_the_gateway(data)
    if not strict.problem and not ours.problem:
        assert [message.core for message in ours.messages] == [message.core for message in strict.messages]
