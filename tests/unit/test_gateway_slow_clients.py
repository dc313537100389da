"""Clients that send or read too slowly lose their connection, and what they held is there for others."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from gateway_fake_agent import Client, GatewayUnderTest, Run, Start, function, serve, starting

from stoker.model.function import QueueBounds
from stoker.reasons import Outcome, Reason
from stoker_gateway import pace

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

Reader = Callable[[GatewayUnderTest, int], Awaitable[socket.socket]]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that a test can wait for."""
    monkeypatch.setattr(pace, "BODY_WINDOW_S", 0.1)
    monkeypatch.setattr(pace, "ANSWER_WINDOW_S", 0.1)


async def trickle(client: Client, every_s: float = 0.01) -> None:
    """A byte now and then, until the connection ends."""
    try:
        while True:
            await client.send(b"x")
            await asyncio.sleep(every_s)
    except ConnectionError:
        pass


async def slow_upload(g: GatewayUnderTest, length: int, sent: int) -> Client:
    client = await g.client()
    await client.send(b"POST /ns/f/ HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length + b"x" * sent)
    return client


@pytest.mark.parametrize(("length", "sent"), [(1_000, 10), (300_000, 70_000)])
async def test_a_body_that_trickles_is_408_and_gives_its_place_back(start: Start, length: int, sent: int) -> None:
    g = await start(function(queue=QueueBounds(max_requests=1), timeout_us=30_000_000))

    async def wait_for_body(run: Run) -> None:
        await run.gone()

    g.agent.on_run = wait_for_body
    client = await slow_upload(g, length, sent)
    trickling = asyncio.create_task(trickle(client))
    async with asyncio.timeout(5):
        answer = await client.answer()
    assert (answer.status, answer.problem().reason) == (408, "BodyTooSlow")
    assert answer.headers["connection"] == "close"
    trickling.cancel()
    record = await g.ended()
    assert (record.outcome, record.reason) == (Outcome.REFUSED, Reason.BODY_TOO_SLOW)
    await g.until(g.at_rest)
    g.agent.on_run = serve
    assert (await g.call()).status == 200, "there is room in the queue of one"


async def test_a_chunked_body_that_trickles_is_408_too(start: Start) -> None:
    g = await start(function(timeout_us=30_000_000))
    client = await g.client()
    await client.send(b"POST /ns/f/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    async with asyncio.timeout(5):
        assert (await client.answer()).status == 408
    assert not g.agent.runs


async def test_a_body_that_comes_in_pieces_but_fast_enough_is_taken(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BODY_RATE_BYTES", 20_000)
    g = await start(function(timeout_us=30_000_000))
    client = await slow_upload(g, 400_000, 0)
    for _ in range(20):
        await client.send(b"x" * 20_000)
        await asyncio.sleep(0.02)
    assert (await client.answer()).body == b"x" * 400_000


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """Makes a client that has asked and reads nothing yet, with so much room for it in its kernel."""
    with contextlib.ExitStack() as opened:

        async def ask(g: GatewayUnderTest, room: int) -> socket.socket:
            sock = opened.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", g.gateway.port))
            await loop.sock_sendall(sock, b"GET /ns/f/ HTTP/1.1\r\nhost: x\r\n\r\n")
            return sock

        yield ask


async def test_a_client_that_does_not_read_its_answer_is_cut_and_the_replica_is_free(
    start: Start, reader: Reader
) -> None:
    g = await start(function(timeout_us=30_000_000))
    hung_up = asyncio.Event()

    async def endless(run: Run) -> None:
        await run.processing()
        await run.raw(
            b"HTTP/1.1 200 OK\r\nstoker-dispatched: 1\r\nstoker-device: d\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        try:
            while True:
                await run.raw(piece)
        except ConnectionError:
            hung_up.set()
            raise

    g.agent.on_run = endless
    await reader(g, 4_096)
    async with asyncio.timeout(10):
        record = await g.ended()
        await hung_up.wait()
    assert (record.outcome, record.reason) == (Outcome.FAILED, Reason.CLIENT_GONE)
    assert "read its answer" in record.detail
    await g.until(g.at_rest)


async def test_a_client_that_reads_slowly_but_fast_enough_gets_all_of_it(start: Start, reader: Reader) -> None:
    g = await start(function(timeout_us=30_000_000))
    size = 8_000_000

    async def large(run: Run) -> None:
        await run.processing()
        await run.answer(b"x" * size)

    g.agent.on_run = large
    sock = await reader(g, 256_000)
    loop, got = asyncio.get_running_loop(), 0
    async with asyncio.timeout(20):
        while got < size:
            piece = await loop.sock_recv(sock, 100_000)
            assert piece, "it was cut"
            got += len(piece)
            await asyncio.sleep(0.005)
    assert (await g.ended()).outcome is Outcome.SERVED
