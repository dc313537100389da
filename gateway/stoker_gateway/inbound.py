"""The public listener: aiohttp's low-level server with our own request and answer objects around its parser.

aiohttp parses, frames bodies, and notices clients that leave; what it would build per request (a request object,
a response, an access-log line, its own error pages) is left out, because that is most of what it costs. Answers are
written to the transport by whoever makes them, in one piece where they are small.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_server import Server

from stoker.reasons import Reason
from stoker_gateway.config import GatewaySettings

SURPLUS_S = 1.0
"""How long a connection beyond the bound may take for its one request."""
PLAIN_END = b"\n0\r\n\r\n"
"""The last chunk and no trailer: a trailer could not be the line `0`, which has no colon."""


class Reply:
    """What a handler returns: everything is written already; this says only whether the connection goes on."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: "Inbound") -> None:
        """Wait until the client has taken its answer: one that reads none must not be answered any further."""
        await request.taken()

    async def write_eof(self) -> None:
        """Nothing is left to send."""


KEEP, CLOSE = Reply(True), Reply(False)


class Inbound:
    """One request as it came in. Stands where aiohttp expects its BaseRequest, of which it uses only this."""

    __slots__ = ("_task", "message", "payload", "protocol", "writer", "wrote")

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: "Connection",
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        # aiohttp has no path for a CONNECT that is followed by a line end, and says None where its type says str.
        self.message = message if message.path is not None else message._replace(path="")
        self.payload = payload
        self.protocol = protocol
        self.writer = writer
        self._task = task
        self.wrote = False
        """Something was sent to the client."""

    @property
    def ends_plainly(self) -> bool:
        """Whether nothing of it is left in aiohttp's parser, which takes the last trailer of a chunked body for the
        first header of the next request (3.14.5, C parser): behind trailers nothing more may be read from a connection.
        """
        return not self.message.chunked or self.protocol.plain_end is self.payload

    @property
    def may_be_followed(self) -> bool:
        """Whether the connection may carry another request behind this one: all of it was read, and nothing of it is
        left.
        """
        return (
            not self.message.should_close
            and self.message.version == (1, 1)
            and self.payload.is_eof()
            and self.payload.exception() is None
            and self.ends_plainly
        )

    def _cancel(self, exc: BaseException) -> None:
        self.payload.set_exception(exc)

    def _finish(self) -> None:
        """Called by aiohttp when the answer is written."""
        self.protocol.done(self.payload)

    @property
    def transport(self) -> asyncio.Transport | None:
        """Where the answer goes; None when the client is gone."""
        return self.protocol.transport

    def write(self, data: bytes) -> None:
        """Send to the client; silently nothing when it is gone (the handler is being cancelled then)."""
        transport = self.protocol.transport
        if transport is not None and not transport.is_closing():
            self.wrote = True
            transport.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken what was written, which it does as fast as the client reads."""
        if self.protocol.writing_paused:
            await self.writer.drain()

    async def taken(self) -> None:
        """The same for an answer that is over, whose timeout counts no more: cut a client that reads nothing."""
        if self.protocol.writing_paused:
            try:
                async with asyncio.timeout(self.protocol.keepalive_timeout):
                    await self.writer.drain()
            except TimeoutError:
                self.abort()

    def abort(self) -> None:
        """Cut the connection, so that nobody takes what was sent for a whole answer."""
        transport = self.protocol.transport
        if transport is not None:
            transport.abort()


Handle = Callable[[Inbound], Awaitable[Reply]]
OnMalformed = Callable[[Inbound, Reason, str], Reply]


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_ending", "_newest", "forwarded", "held_back", "on_malformed", "peer", "plain_end", "surplus")

    def __init__(self, server: "PublicServer", *, surplus: bool, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.on_malformed = server.on_malformed
        self.surplus = surplus
        """There are as many connections as there may be: it gets one answer that says so."""
        self.peer = b""
        self.forwarded = b""
        """Header lines that say where requests of this connection come from, for the next hop."""
        self.plain_end: StreamReader | None = None
        """The chunked body that came last, once it has ended without trailers and with all that was received."""
        self.held_back = False
        """So many requests wait that aiohttp's parser has stopped, or may have: it counts one too many once a body came
        behind its head, and then nobody tells it to go on (3.14.5).
        """
        self._newest: tuple[RawRequestMessage | _ErrInfo, StreamReader] | None = None
        self._ending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]).encode() if isinstance(peer, tuple) else b"unknown"
        proto = b"https" if transport.get_extra_info("sslcontext") is not None else b"http"
        self.forwarded = b"x-forwarded-proto: %b\r\n" % proto
        # What the kernel does not take is not buffered here: "written" then means that the client has it or will.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._ending = (
            data[-len(PLAIN_END) :] if len(data) >= len(PLAIN_END) else (self._ending + data)[-len(PLAIN_END) :]
        )
        self.held_back = len(self._messages) >= self._max_msg_queue_size - 1
        if self._messages:
            self._newest = self._messages[-1]
        if self._newest is None:
            return
        message, body = self._newest
        if isinstance(message, _ErrInfo):
            self._break_bodies()
        elif message.chunked and body.is_eof():
            self.plain_end = body if self._ending == PLAIN_END and not self.held_back else None

    def done(self, body: StreamReader) -> None:
        """The request with this body was answered: an idle connection keeps nothing of it."""
        if self._newest is not None and self._newest[1] is body:
            self._newest = self.plain_end = None
        if self.held_back:
            self.data_received(b"")

    def _break_bodies(self) -> None:
        """Aiohttp queues an error behind the request whose body it is in, and leaves that body waiting for more."""
        payloads = [payload for _, payload in self._messages]
        if self._current_request is not None:
            payloads.append(self._current_request.payload)  # type: ignore[attr-defined]  # an Inbound
        for payload in payloads:
            if not payload.is_eof() and payload.exception() is None:
                payload.set_exception(RequestPayloadError("the framing of the body is broken"))
                # There is no rest that aiohttp could read off after the answer.
                payload.feed_eof()

    def handle_error(  # type: ignore[override]
        self, request: Inbound, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Reply:
        """Called by aiohttp for what its parser refused, and for exceptions that a handler let through."""
        if status >= 500:
            self.logger.error("request handler failed", exc_info=exc)
            if request.wrote:
                # Another answer behind it would be taken for that to the next request.
                request.abort()
                return CLOSE
            return self.on_malformed(request, Reason.CONTROL_PLANE_UNAVAILABLE, "The gateway failed; see its log.")
        if isinstance(exc, LineTooLong) or (message is not None and "Too many headers" in message):
            return self.on_malformed(
                request, Reason.HEADERS_TOO_LARGE, "The request line or the headers are too large; send fewer."
            )
        return self.on_malformed(request, Reason.MALFORMED_REQUEST, "The request is not well-formed HTTP/1.1.")


class PublicServer(Server):
    """Makes a Connection for each client."""

    def __init__(self, handle: Handle, on_malformed: OnMalformed, settings: GatewaySettings) -> None:
        super().__init__(
            # An Inbound and a Reply where aiohttp's types say BaseRequest and StreamResponse.
            handle,  # type: ignore[arg-type]
            request_factory=Inbound,  # type: ignore[arg-type]
            handler_cancellation=True,
            loop=asyncio.get_running_loop(),
        )
        self.on_malformed = on_malformed
        self._max_connections = settings.max_connections
        self._options: dict[str, Any] = {
            "keepalive_timeout": settings.keep_alive_s,
            "access_log": None,
            "auto_decompress": False,
            "lingering_time": settings.lingering_s,
            "max_line_size": settings.max_line_bytes,
            "max_field_size": settings.max_line_bytes,
            "max_headers": settings.max_headers,
            "read_bufsize": 64 * 1024,
        }

    def __call__(self) -> Connection:
        if len(self._connections) < self._max_connections:
            return Connection(self, surplus=False, **self._options)
        return Connection(self, surplus=True, **self._options | {"keepalive_timeout": SURPLUS_S})
