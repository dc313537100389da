"""The client against peers that behave, and against peers that do everything wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from stoker_runtime.http_client import (
    MAX_HEAD_BYTES,
    UNREAD_HIGH_BYTES,
    BadAnswer,
    ConnectFailed,
    ConnectionLost,
    HttpConnection,
    HttpPool,
    ResponseHead,
    request_head,
)

pytestmark = pytest.mark.unit

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GET = request_head(b"GET", b"/", [(b"host", b"peer")])


@asynccontextmanager
async def peer(script: Script, **pool: float) -> AsyncIterator[HttpPool]:
    """A server that runs `script` on each connection, and a pool to it."""
    tasks: set[asyncio.Task[None]] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    client = HttpPool("127.0.0.1", server.sockets[0].getsockname()[1], **pool)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*answers: bytes, close: bool = False) -> Script:
    """Answers each request head on a connection with the next of `answers`, then stays open or closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        if not close:
            await reader.read()

    return script


async def fetch(pool: HttpPool, head: bytes = GET) -> tuple[int, bytes]:
    connection = await pool.acquire()
    connection.start(head)
    answer = await connection.head()
    body = b""
    while chunk := await connection.read():
        body += chunk
    connection.release()
    return answer.status, body


async def final_head(connection: HttpConnection) -> ResponseHead:
    while (head := await connection.head()).status < 200:
        pass
    return head


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_an_answer_with_a_length_is_read_whole_and_its_connection_is_used_again() -> None:
    async with peer(answering(OK, OK)) as pool:
        assert await fetch(pool) == (200, b"hi")
        assert pool.idle == 1
        assert await fetch(pool) == (200, b"hi")
        assert pool.idle == 1


async def test_header_names_come_in_lower_case_and_values_as_sent() -> None:
    async with peer(answering(b"HTTP/1.1 201 Made It\r\nX-Thing: Value\r\nContent-Length: 0\r\n\r\n")) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        head = await connection.head()
        assert (head.status, head.reason, head.content_length, head.keep_alive) == (201, b"Made It", 0, True)
        assert (b"x-thing", b"Value") in head.headers
        assert head.get(b"x-thing") == b"Value"
        assert head.get(b"nothing") is None


async def test_a_chunked_body_arrives_without_its_framing_and_trailers_are_dropped() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n"
    async with peer(answering(answer, OK)) as pool:
        assert await fetch(pool) == (200, b"abcdefg")
        assert await fetch(pool) == (200, b"hi")


async def test_a_body_without_length_ends_with_the_connection() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\n\r\nto the end", close=True)) as pool:
        assert await fetch(pool) == (200, b"to the end")
        assert pool.idle == 0


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_that_never_has_a_body_is_complete_with_its_head(status: bytes) -> None:
    async with peer(answering(b"HTTP/1.1 " + status + b"\r\n\r\n", OK)) as pool:
        assert (await fetch(pool))[1] == b""
        assert await fetch(pool) == (200, b"hi")


async def test_the_answer_to_head_has_no_body_whatever_length_it_names() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", OK)) as pool:
        assert await fetch(pool, request_head(b"HEAD", b"/", [])) == (200, b"")
        assert pool.idle == 1
        assert await fetch(pool) == (200, b"hi")


async def test_interim_answers_are_seen_in_order_before_the_final_one() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with peer(answering(interim + OK)) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        assert [(await connection.head()).status for _ in range(3)] == [102, 103, 200]
        assert await connection.read() == b"hi"
        connection.release()
        assert pool.idle == 1


async def test_an_interim_answer_is_seen_before_the_final_one_is_sent() -> None:
    dispatched = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await dispatched.wait()
        writer.write(OK)
        await reader.read()

    async with peer(script) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        assert (await connection.head()).status == 102
        dispatched.set()
        assert (await connection.head()).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(9000)) + b"\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 5000,
    ],
    ids=lambda garbage: repr(garbage[:60]),
)
async def test_garbage_instead_of_a_head_is_a_bad_answer(garbage: bytes) -> None:
    async with peer(answering(garbage)) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        with pytest.raises(BadAnswer):
            await final_head(connection)
        connection.release()
        assert pool.idle == 0


async def test_broken_chunking_is_a_bad_answer_after_the_good_bytes() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n")) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        assert (await connection.head()).chunked
        assert await connection.read() == b"hi"
        with pytest.raises(BadAnswer, match="not HTTP"):
            await connection.read()


async def test_endless_trailers_are_a_bad_answer() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: " + b"a" * (
        MAX_HEAD_BYTES + 262144
    )
    async with peer(answering(answer)) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        await connection.head()
        assert await connection.read() == b"hi"
        with pytest.raises(BadAnswer, match="larger"):
            await connection.read()


async def test_a_connection_lost_before_any_answer_says_so() -> None:
    async with peer(answering(b"", close=True)) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        with pytest.raises(ConnectionLost) as caught:
            await connection.head()
        assert not caught.value.had_answer


async def test_a_body_cut_short_is_a_lost_connection_with_an_answer() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True)) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        await connection.head()
        assert await connection.read() == b"half"
        with pytest.raises(ConnectionLost) as caught:
            await connection.read()
        assert caught.value.had_answer


async def test_a_stale_connection_fails_before_any_answer_and_is_known_as_reused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK, close=True)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")

    async with peer(script) as pool:
        await fetch(pool)
        connection = await pool.acquire()
        connection.start(GET)
        with pytest.raises(ConnectionLost) as caught:
            await connection.head()
        assert connection.reused
        assert not caught.value.had_answer


async def test_a_connection_that_the_peer_has_closed_does_not_come_out_of_the_pool_again() -> None:
    async with peer(answering(OK, close=True)) as pool:
        for _ in range(5):
            connection = await pool.acquire()
            assert not connection.reused
            connection.start(GET)
            assert (await connection.head()).status == 200
            while await connection.read():
                pass
            connection.release()


async def test_a_connection_whose_early_answer_cut_the_body_short_is_not_used_again() -> None:
    async with peer(answering(OK)) as pool:
        connection = await pool.acquire()
        connection.start(request_head(b"POST", b"/", [(b"content-length", b"100")]))
        assert (await connection.head()).status == 200
        await connection.send(b"x" * 100)  # Dropped: the peer still waits for it.
        assert await connection.read() == b"hi"
        connection.release()
        assert pool.idle == 0


async def test_a_second_answer_to_one_request_is_never_taken_for_the_next() -> None:
    async with peer(answering(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", OK)) as pool:
        assert await fetch(pool) == (200, b"hi")
        assert pool.idle == 0


async def test_bytes_on_an_idle_connection_drop_it() -> None:
    poison = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await poison.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await reader.read()

    async with peer(script) as pool:
        await fetch(pool)
        assert pool.idle == 1
        poison.set()
        while pool.idle:
            await asyncio.sleep(0.001)


async def test_a_connection_that_the_peer_will_close_is_not_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    async with peer(answering(answer)) as pool:
        assert await fetch(pool) == (200, b"hi")
        assert pool.idle == 0


async def test_a_connection_released_before_the_end_of_its_answer_is_closed() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        await connection.head()
        connection.release()
        assert pool.idle == 0
        assert connection.closing


async def test_reading_stops_while_nobody_reads_and_goes_on_after() -> None:
    size = 8 * 2**20
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
        await reader.read()

    async with peer(script) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        await connection.head()
        before = -1
        while before != sent:  # Until the peer makes no more progress.
            before = sent
            await asyncio.sleep(0.05)
        assert sent < size
        assert connection._unread <= UNREAD_HIGH_BYTES + 256 * 1024
        got = 0
        while chunk := await connection.read():
            got += len(chunk)
        assert got == size
        connection.release()
        assert pool.idle == 1


async def test_sending_waits_while_the_peer_does_not_read() -> None:
    go = asyncio.Event()
    got = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        while got < 16 * 2**20:
            got += len(await reader.read(65536))
        writer.write(OK)
        await reader.read()

    async with peer(script) as pool:
        connection = await pool.acquire()
        connection.start(request_head(b"POST", b"/", [(b"content-length", b"%d" % (16 * 2**20))]))
        sent = 0

        async def pump() -> None:
            nonlocal sent
            for _ in range(256):
                await connection.send(b"x" * 65536)
                sent += 1

        pumping = asyncio.create_task(pump())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 256
        go.set()
        await pumping
        assert (await connection.head()).status == 200


async def test_an_early_final_answer_is_readable_while_the_body_is_stuck() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(30)

    async with peer(script) as pool:
        connection = await pool.acquire()
        connection.start(request_head(b"POST", b"/", [(b"content-length", b"%d" % 2**30)]))

        async def pump() -> None:
            for _ in range(1024):
                await connection.send(b"x" * 2**20)

        pumping = asyncio.create_task(pump())
        assert (await connection.head()).status == 413
        assert await connection.read() == b"no"
        await pumping  # What is left is dropped: the answer is there.
        connection.close()


async def test_an_answer_that_came_before_the_reset_is_still_delivered() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    async with peer(script) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        await asyncio.sleep(0.05)
        assert (await connection.head()).status == 200
        assert await connection.read() == b"hi"
        assert await connection.read() == b""
        connection.release()
        assert pool.idle == 0


async def test_taking_what_has_arrived_never_waits() -> None:
    async with peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"")) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        assert (await connection.head()).status == 200
        assert connection.take() == b"ab"
        assert connection.take() == b""
        assert not connection.ended


async def test_idle_connections_are_closed_when_they_grow_old() -> None:
    async with peer(answering(OK, OK), idle_s=0.02) as pool:
        await fetch(pool)
        assert pool.idle == 1
        while pool.idle:
            await asyncio.sleep(0.005)


async def test_the_last_released_connection_is_used_first_and_surplus_ones_are_closed() -> None:
    async with peer(answering(OK, OK), max_idle=1) as pool:
        first, second = await pool.acquire(), await pool.acquire()
        for connection in (first, second):
            connection.start(GET)
            await connection.head()
            assert await connection.read() == b"hi"
        first.release()
        second.release()
        assert pool.idle == 1
        assert second.closing
        assert await pool.acquire() is first


async def test_a_peer_that_does_not_listen_is_a_failed_connection() -> None:
    with pytest.raises(ConnectFailed, match="does not accept"):
        await HttpPool("127.0.0.1", 1).acquire()


async def test_a_closed_pool_opens_nothing() -> None:
    async with peer(answering(OK)) as pool:
        await pool.close()
        with pytest.raises(ConnectFailed, match="closed"):
            await pool.acquire()


async def test_closing_wakes_whoever_reads() -> None:
    async with peer(answering(b"")) as pool:
        connection = await pool.acquire()
        connection.start(GET)
        reading = asyncio.create_task(connection.head())
        await asyncio.sleep(0)
        connection.close()
        with pytest.raises(ConnectionLost):
            await reading


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        (b"GET\r\n", b"/", (b"a", b"b")),
        (b"GET", b"/ HTTP/1.1\r\nx: y", (b"a", b"b")),
        (b"GET", b"/", (b"a\n", b"b")),
        (b"GET", b"/", (b"a", b"b\rc")),
        (b"GET", b"/", (b"a", b"b\0")),
    ],
)
def test_a_request_head_refuses_what_could_smuggle(method: bytes, target: bytes, header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        request_head(method, target, [header])


def test_a_request_head_is_what_goes_on_the_wire() -> None:
    assert (
        request_head(b"POST", b"/x?y", [(b"host", b"h"), (b"n", b"")])
        == b"POST /x?y HTTP/1.1\r\nhost: h\r\nn: \r\n\r\n"
    )
