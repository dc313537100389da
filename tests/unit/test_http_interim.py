"""Interim answers on the hops inside the platform, for who does not want to be woken for each."""

import asyncio

import pytest

from stoker_runtime.http_client import HttpPool, ResponseHead, request_head

pytestmark = pytest.mark.unit

GET = request_head(b"GET", b"/", [(b"host", b"peer")])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"


async def test_who_is_told_of_interim_answers_is_told_as_they_come_and_waits_for_the_final_one_only() -> None:
    told: list[int] = []
    dispatched, ended = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PROCESSING)
        await dispatched.wait()
        writer.write(HINTS + OK)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PROCESSING + OK)
        await reader.read()
        writer.close()
        ended.set()

    def tell(head: ResponseHead) -> None:
        told.append(head.status)
        dispatched.set()

    server = await asyncio.start_server(script, "127.0.0.1", 0)
    pool = HttpPool("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        connection = await pool.acquire()
        connection.start(GET, on_interim=tell)
        assert (await connection.head()).status == 200
        assert told == [102, 103]
        assert await connection.read() == b"hi"
        connection.release()

        assert await pool.acquire() is connection
        connection.start(GET)
        assert [(await connection.head()).status for _ in range(2)] == [102, 200]
        assert told == [102, 103], "the exchange before is over"
    finally:
        await pool.close()
        await ended.wait()
        server.close()
