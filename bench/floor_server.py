"""The least that a server in Python does for a request, in four forms.

Run as `python -m bench.floor_server FORM PORT REPLICA_PORT`.
`answer`: uvloop, httptools' parser with no look at any header, one answer that was made beforehand. `aiohttp`: the same
answer by the low-level server of aiohttp, which the gateway's listener is built on. `hop`: each request goes to the
replica over a kept connection, head and answer as they are. `hops`: the same by way of a second hop over loopback in
the same process, which says 102 before it sends on, as an agent does. None of them routes, judges, queues, times,
counts, records or survives a peer that does wrong: what they cost is paid before the platform does anything.
"""

import asyncio
import sys
from collections import deque
from typing import cast

import httptools
import uvloop
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

FORMS = ("answer", "aiohttp", "hop", "hops")
HOST = "127.0.0.1"
ANSWER = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


class Peer(asyncio.Protocol):
    """A connection to the next hop, for one request at a time."""

    def __init__(self, idle: deque["Peer"]) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._caller: Inlet | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, caller: "Inlet", request: bytes) -> None:
        assert self._transport is not None
        self._caller = caller
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        assert self._caller is not None
        if data.startswith(PROCESSING):
            data = data[len(PROCESSING) :]
            if not data:
                return
        caller = self._caller
        caller.answer(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._caller = None
        self._idle.append(self)


class Inlet(asyncio.Protocol):
    """A client's connection. `port`: of the next hop; None: it answers itself."""

    def __init__(self, port: int | None, idle: deque[Peer], *, says_102: bool) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._port = port
        self._idle = idle
        self._says_102 = says_102
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data = data
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._transport is not None
        if self._says_102:
            self._transport.write(PROCESSING)
        if self._port is None:
            self._transport.write(ANSWER)
        elif self._idle:
            self._idle.pop().ask(self, self._data)
        else:
            self._dialling = asyncio.get_running_loop().create_task(self._dial(self._port))

    def answer(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def _dial(self, port: int) -> None:
        _, peer = await asyncio.get_running_loop().create_connection(lambda: Peer(self._idle), HOST, port)
        peer.ask(self, self._data)


class Asked:
    """What aiohttp's server needs of a request."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,  # noqa: ARG002  aiohttp passes it
        task: "asyncio.Task[None]",  # noqa: ARG002  as above
    ) -> None:
        self.message = message
        self.payload = payload
        self.protocol = protocol

    def _finish(self) -> None:
        """Called by aiohttp when the answer is written."""


class Answered:
    """What aiohttp's server needs of an answer that is written already."""

    keep_alive = True

    async def prepare(self, request: Asked) -> None:
        """Nothing is left to send."""

    async def write_eof(self) -> None:
        """Nothing is left to send."""


DONE = Answered()


async def answered(request: Asked) -> Answered:
    assert request.protocol.transport is not None
    request.protocol.transport.write(ANSWER)
    return DONE


async def main(form: str, port: int, replica: int) -> None:
    loop = asyncio.get_running_loop()
    if form == "aiohttp":
        made = Server(answered, request_factory=Asked, handler_cancellation=True, loop=loop)  # type: ignore[arg-type]
        server = await loop.create_server(made, HOST, port)
    elif form == "hops":
        near: deque[Peer] = deque()
        far: deque[Peer] = deque()
        agent = await loop.create_server(lambda: Inlet(replica, far, says_102=True), HOST, 0)
        agent_port = int(agent.sockets[0].getsockname()[1])
        server = await loop.create_server(lambda: Inlet(agent_port, near, says_102=False), HOST, port)
    else:
        idle: deque[Peer] = deque()
        to = replica if form == "hop" else None
        server = await loop.create_server(lambda: Inlet(to, idle, says_102=False), HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
