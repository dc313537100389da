"""A stream of lines is followed through everything that a peer may do to it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from stoker_runtime import line_stream
from stoker_runtime.line_stream import LineStream

pytestmark = pytest.mark.unit

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """Says `script` to every reader that comes, then keeps the connection open."""

    def __init__(self) -> None:
        self.script: list[bytes] = [HEAD]
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        self.writers.append(writer)
        for piece in self.script:
            writer.write(piece)

    def say(self, data: bytes) -> None:
        self.writers[-1].write(chunk(data))

    def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()


class Reader:
    def __init__(self, port: int, **options: float) -> None:
        self.lines: list[bytes] = []
        self.lost = 0
        self.stream = LineStream(
            "127.0.0.1",
            port,
            "/v1/replicas",
            ssl=None,
            server_hostname=None,
            on_line=self._take,
            on_lost=self._lose,
            **options,  # type: ignore[arg-type]
        )

    def _take(self, line: bytes) -> None:
        if line == b"garbage":
            raise ValueError("not what was expected")
        if line == b"bug":
            raise KeyError("a mistake of ours")
        self.lines.append(line)

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    monkeypatch.setattr(line_stream, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(line_stream, "LAST_PAUSE_S", 0.02)
    one = Peer()
    await one.start()
    yield one
    one.close()


@pytest.fixture
async def follow(peer: Peer) -> AsyncIterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def begin(**options: float) -> Reader:
        readers.append(Reader(peer.port, **options))
        readers[-1].stream.start()
        return readers[-1]

    yield begin
    for reader in readers:
        await reader.stream.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def test_lines_come_whole_however_they_are_cut(peer: Peer, follow: Callable[..., Reader]) -> None:
    reader = follow()
    await until(lambda: len(peer.writers) == 1)
    assert peer.requests[0].startswith(b"GET /v1/replicas HTTP/1.1\r\n")
    assert reader.stream.lost
    for piece in (b"on", b"e\ntw", b"o\nthree\nfo", b"ur", b"\n"):
        peer.say(piece)
        await asyncio.sleep(0.005)
    await until(lambda: len(reader.lines) == 4)
    assert reader.lines == [b"one", b"two", b"three", b"four"]
    assert not reader.stream.lost


@pytest.mark.parametrize("end", ["hang up", "garbage", "bug", "last chunk"])
async def test_a_stream_that_breaks_is_dialled_again(peer: Peer, follow: Callable[..., Reader], end: str) -> None:
    peer.script = [HEAD, chunk(b"hello\n")]
    reader = follow()
    await until(lambda: reader.lines == [b"hello"])
    if end == "hang up":
        peer.writers[-1].transport.abort()
    elif end == "last chunk":
        peer.writers[-1].write(b"0\r\n\r\n")
    else:
        peer.say(end.encode() + b"\n")
    await until(lambda: reader.lines == [b"hello", b"hello"])
    assert reader.lost == 0


async def test_another_status_is_no_stream(peer: Peer, follow: Callable[..., Reader]) -> None:
    peer.script = [b"HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nno\n"]
    reader = follow(stale_s=0.05)
    await until(lambda: len(peer.requests) >= 3 and reader.lost == 1)
    assert reader.lines == []


async def test_silence_is_told_once_and_the_stream_is_dialled_until_it_speaks(
    peer: Peer, follow: Callable[..., Reader]
) -> None:
    peer.script = [HEAD, chunk(b"hello\n")]
    reader = follow(stale_s=0.1)
    await until(lambda: reader.lines == [b"hello"])
    peer.script = [HEAD]
    await until(lambda: reader.lost == 1)
    assert reader.stream.lost
    await until(lambda: len(peer.requests) >= 3)
    assert reader.lost == 1
    peer.script = [HEAD, chunk(b"again\n")]
    await until(lambda: reader.lines[-1] == b"again")
    assert not reader.stream.lost


async def test_a_peer_that_is_not_there_is_told_as_lost(peer: Peer, follow: Callable[..., Reader]) -> None:
    peer.close()
    reader = follow(stale_s=0.05)
    await until(lambda: reader.lost == 1)


async def test_a_line_that_comes_byte_by_byte_is_no_sign_of_life(peer: Peer, follow: Callable[..., Reader]) -> None:
    reader = follow(stale_s=0.15)
    await until(lambda: len(peer.writers) == 1)
    while len(peer.writers) == 1:
        peer.say(b"x")
        await asyncio.sleep(0.01)
    assert reader.lines == []
    assert reader.lost >= 1


async def test_an_endless_line_is_cut_off(peer: Peer, follow: Callable[..., Reader]) -> None:
    peer.script = [HEAD, chunk(b"x" * 5000)]
    reader = follow(max_line_bytes=4000)
    await until(lambda: len(peer.requests) >= 2)
    assert reader.lines == []


async def test_after_stop_nothing_is_called(peer: Peer, follow: Callable[..., Reader]) -> None:
    peer.script = [HEAD, chunk(b"hello\n")]
    reader = follow(stale_s=0.05)
    await until(lambda: reader.lines == [b"hello"])
    await reader.stream.stop()
    await asyncio.sleep(0.1)
    assert (reader.lines, reader.lost) == ([b"hello"], 0)
