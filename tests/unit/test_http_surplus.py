"""What a peer sends beyond its one answer never becomes part of the next one on that connection."""

import asyncio
import socket
from typing import cast

import pytest

from stoker_node.answers import answer_lines
from stoker_runtime.http_connection import HttpConnection
from stoker_runtime.http_head import BadAnswer, ResponseHead

pytestmark = pytest.mark.unit

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Idle:
    """Counts what comes back to the pool."""

    def __init__(self) -> None:
        self.count = 0

    def put(self, _connection: HttpConnection) -> None:
        self.count += 1

    def forget(self, _connection: HttpConnection) -> None:
        pass


class Sink:
    """A transport that takes everything."""

    closed = False

    def write(self, _data: bytes) -> None:
        pass

    def get_extra_info(self, _name: str) -> None:
        """It has no socket."""

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True

    close = abort


async def exchange(*segments: bytes, method: bytes = b"GET") -> tuple[HttpConnection, Idle]:
    """A request, its answer in these segments, and the release."""
    owner = Idle()
    connection = HttpConnection(owner, asyncio.get_running_loop())
    connection.connection_made(cast(asyncio.Transport, Sink()))
    connection.start(b"%b / HTTP/1.1\r\nhost: a\r\n\r\n" % method)
    for segment in segments:
        connection.data_received(segment)
    await connection.head()
    while await connection.read():
        pass
    connection.release()
    return connection, owner


async def test_half_a_head_behind_an_answer_ends_the_connection() -> None:
    """Kept, it would swallow the status line of the next user's answer and set the fields before it."""
    _, owner = await exchange(OK + b"HTTP/1.1 200 OK\r\nx-poison: 1\r\nx: ")
    assert owner.count == 0


async def test_half_a_chunk_size_behind_the_answer_to_head_ends_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    _, owner = await exchange(head + b"5\r", method=b"HEAD")
    assert owner.count == 0


@pytest.mark.parametrize("segments", [(OK,), (OK[:10], OK[10:]), (OK[:-2], OK[-2:])])
async def test_an_answer_with_nothing_behind_it_keeps_the_connection(segments: tuple[bytes, ...]) -> None:
    _, owner = await exchange(*segments)
    assert owner.count == 1


async def test_the_answer_to_head_with_nothing_behind_it_keeps_the_connection() -> None:
    _, owner = await exchange(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", method=b"HEAD")
    assert owner.count == 1


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x0b", b"\x1b", b"\x7f"])
async def test_a_reason_phrase_with_a_control_byte_is_no_answer(byte: bytes) -> None:
    with pytest.raises(BadAnswer, match="reason"):
        await exchange(b"HTTP/1.1 200 O%bK\r\ncontent-length: 2\r\n\r\nhi" % byte)


async def test_bytes_that_nobody_asked_for_are_seen_before_the_loop_has_read_them() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: HttpConnection(Idle(), loop), sock=ours)
        assert not connection.gone()
        theirs.send(OK)
        assert connection.gone()
        connection.close()


def test_every_connection_field_of_a_replica_names_what_is_for_its_hop_only() -> None:
    fields = [(b"connection", b"x-a"), (b"x-a", b"1"), (b"connection", b"close, X-B"), (b"x-b", b"2"), (b"x-c", b"3")]
    head = ResponseHead(200, b"OK", fields, True, 0, False)
    lines = answer_lines(head, device=b"d", queue_us=0, exec_us=0)
    assert [line for line in lines if line.startswith(b"x-")] == [b"x-c: 3\r\n"]


def test_platform_fields_of_a_replica_are_dropped_with_underscores_too() -> None:
    head = ResponseHead(200, b"OK", [(b"stoker_outcome", b"refused"), (b"stoker-cold", b"1")], True, 0, False)
    lines = answer_lines(head, device=b"d", queue_us=0, exec_us=0)
    assert not any(b"outcome" in line or b"cold" in line for line in lines)
