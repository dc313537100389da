"""The two peers of a desync test that keep every byte: a replica behind the agent, and a tap before it."""

import asyncio
import contextlib

from strict_http import Message, read_requests


class RecordingReplica:
    """Reads strictly, tells in its answer what it read, and keeps what came on each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: list[bytearray] = []
        self.seen: list[Message] = []
        """In the order of their arrival, over all connections."""
        self.scripted: tuple[bytes, bool] | None = None
        """What it answers to `/attack`, and whether it hangs up then."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _ReplicaConnection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    def forget(self) -> None:
        """Begin anew. What is on its way still belongs to before."""
        self.seen.clear()
        for stream in self.streams:
            stream.clear()


class _ReplicaConnection(asyncio.Protocol):
    def __init__(self, replica: RecordingReplica) -> None:
        self._replica = replica
        self._stream = bytearray()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._replica.streams.append(self._stream)

    def data_received(self, data: bytes) -> None:
        self._stream += data
        stream = read_requests(self._rest + data)
        self._rest = (self._rest + data)[stream.used :]
        for message in stream.messages:
            self._replica.seen.append(message)
            if message.target == b"/attack" and self._replica.scripted is not None:
                data, closes = self._replica.scripted
                self._transport.write(data)
                if closes:
                    self._transport.close()
                continue
            body = b"" if message.method == b"HEAD" else b"seen"
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nx-seen: %b %b\r\ncontent-length: 4\r\n\r\n%b"
                % (message.method, message.target, body)
            )
        if stream.problem and not stream.incomplete:
            self._transport.close()


class Tap:
    """Passes bytes between the gateway and an agent, and keeps what the gateway sent on each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: list[bytearray] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, agent_port: int) -> None:
        self._agent_port = agent_port
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def forget(self) -> None:
        """Begin anew."""
        for stream in self.streams:
            stream.clear()

    def requests(self) -> list[bytes]:
        """What the gateway sent since, by connection, without the load stream."""
        return [bytes(stream) for stream in self.streams if stream and not stream.startswith(b"GET /v1/load ")]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        stream = bytearray()
        self.streams.append(stream)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._agent_port)
        back = asyncio.create_task(_pump(far_reader, writer, None))
        try:
            await _pump(reader, far_writer, stream)
        finally:
            far_writer.transport.abort()
            back.cancel()
            writer.transport.abort()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bytearray | None) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(65536):
            if keep is not None:
                keep += data
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
