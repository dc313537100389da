"""One HTTP/1.1 connection to a peer inside the platform: framing, back pressure, and what a peer may do wrong.

One connection carries one exchange at a time, and one task reads it: start(), then head() until the final head,
then read() until b"", then release(). A second task may send() meanwhile. Whatever the peer does (hangs up, sends
garbage, an endless head, bytes that nobody asked for) ends in ConnectionLost or BadAnswer, or in a connection that
is not used again. Knows nothing of Stoker; stoker_runtime.http_client has the pool and the reason why.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Protocol

import httptools

from stoker_runtime.hang_ups import IdleWatch
from stoker_runtime.http_head import BadAnswer, ConnectionLost, ResponseHead
from stoker_runtime.http_limits import JOIN_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, UNREAD_HIGH_BYTES, UNREAD_LOW_BYTES

_NO_BODY_STATUS = frozenset((204, 304))
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Owner(Protocol):
    """Who gets a connection back."""

    def put(self, connection: "HttpConnection") -> None:
        """It may carry another exchange."""

    def forget(self, connection: "HttpConnection") -> None:
        """It is closed."""


class HttpConnection(asyncio.Protocol):
    """One connection. See the module for the order of calls."""

    __slots__ = (
        "_busy",
        "_chunks",
        "_close_delimited",
        "_complete",
        "_content_length",
        "_drain_waiter",
        "_error",
        "_final",
        "_got",
        "_head_bytes",
        "_head_request",
        "_headers",
        "_heads",
        "_keep_alive",
        "_loop",
        "_max_head_bytes",
        "_max_headers",
        "_on_interim",
        "_owner",
        "_parser",
        "_read_waiter",
        "_reading_paused",
        "_reason",
        "_surplus",
        "_transfer_encoding",
        "_transport",
        "_unread",
        "_watch",
        "_writing_paused",
        "idle_since_s",
        "reused",
    )

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        *,
        max_head_bytes: int = MAX_HEAD_BYTES,
        max_headers: int = MAX_HEADERS,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._heads: deque[ResponseHead] = deque()
        self._chunks: deque[bytes] = deque()
        self._read_waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self._reading_paused = self._writing_paused = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._content_length: int | None = None
        self._transfer_encoding: bytes | None = None
        self._busy = False
        self._reset()
        self.reused = False
        """Whether it came from the pool: it may have gone stale unnoticed."""
        self.idle_since_s = 0.0

    def _reset(self) -> None:
        self._error: Exception | None = None
        self._final = self._complete = self._got = self._surplus = False
        self._keep_alive = self._close_delimited = self._head_request = False
        self._head_bytes = self._unread = 0

    # What callers use.

    @property
    def closing(self) -> bool:
        """Whether it can carry no further exchange."""
        return self._transport is None or self._transport.is_closing()

    def gone(self) -> bool:
        """Whether it can carry no further exchange, or the loop has yet to hear so: the peer has hung up while it was
        idle, or has sent what would be taken for the next answer.
        """
        return self._transport is None or self._transport.is_closing() or self._watch.stirred()

    @property
    def busy(self) -> bool:
        """Whether an exchange was started and neither released nor closed."""
        return self._busy

    @property
    def ended(self) -> bool:
        """Whether the whole answer has arrived and was read."""
        return self._complete and not self._chunks

    @property
    def arrived(self) -> bool:
        """Whether the whole answer has arrived, read or not."""
        return self._complete

    def start(self, head: bytes, body: bytes = b"", on_interim: Callable[[ResponseHead], None] | None = None) -> None:
        """Begin an exchange: send a whole request head, and the body where it is complete already.

        `on_interim` gets the interim heads, and must not raise: nobody who waits for the final one is woken for them.
        """
        if self._busy:
            raise RuntimeError("the exchange before on this connection was not released")
        self._busy = True
        self._reset()
        self._on_interim = on_interim
        self._head_request = head.startswith(b"HEAD ")
        transport = self._transport
        if transport is None or transport.is_closing():
            self._error = ConnectionLost("the connection was closed while it was idle", had_answer=False)
        elif not body:
            transport.write(head)
        elif len(body) <= JOIN_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    async def send(self, chunk: bytes) -> None:
        """Send raw body bytes; waits while the peer is slow. After the whole answer came they are dropped, and the
        connection is not used again: the peer would take the next request for the rest of this body.

        A caller that does not send its whole body must close() the connection instead of releasing it.
        """
        if self._complete:
            self._surplus = True
            return
        if self._error is not None:
            raise self._error
        assert self._transport is not None
        self._transport.write(chunk)
        while self._writing_paused and not self._complete:
            if self._error is not None:
                raise self._error
            self._drain_waiter = self._loop.create_future()
            try:
                await self._drain_waiter
            finally:
                self._drain_waiter = None

    async def head(self) -> ResponseHead:
        """The next head, interim (1xx; see start()) or final. Raises ConnectionLost or BadAnswer."""
        while not self._heads:
            if self._error is not None:
                raise self._error
            if self._complete:
                raise RuntimeError("the final head of this exchange was read before")
            await self._wait()
        return self._heads.popleft()

    async def read(self) -> bytes:
        """The next bytes of the body without their framing, b"" at its end. Raises ConnectionLost or BadAnswer."""
        while not self._chunks:
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        chunk = self._chunks.popleft()
        self._consumed(len(chunk))
        return chunk

    def take(self) -> bytes:
        """What has arrived of the body by now, without waiting; b"" says nothing about the end."""
        if not self._chunks:
            return b""
        taken = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._consumed(self._unread)
        return taken

    def release(self) -> None:
        """Back to the pool if the answer was read whole and the peer keeps the connection; closed otherwise."""
        if self._busy and self.renew():
            self._owner.put(self)

    def renew(self) -> bool:
        """End the exchange but keep the connection for the next start(); False if it had to be closed."""
        keep = (
            self._complete
            and self._keep_alive
            and not self._surplus
            and not self._chunks
            and not self._heads
            and self._drain_waiter is None
            and self._transport is not None
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() == 0
        )
        if not keep:
            self.close()
            return False
        if self._head_request:
            # The parser waits for the body that the answer to a HEAD names but never has.
            self._parser = httptools.HttpResponseParser(self)
        self._busy, self._on_interim = False, None
        return True

    def close(self) -> None:
        """Drop the connection at once, with what was not sent or read. A waiting reader gets ConnectionLost."""
        self._busy = False
        if not self._complete and self._error is None:
            self._error = ConnectionLost("the connection was closed on this side", had_answer=self._got)
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._watch = IdleWatch(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.forget(self)
        if not self._busy or self._complete or self._error is not None:
            pass
        elif self._close_delimited and exc is None:
            self._complete = True
        else:
            told = f": {exc}" if exc is not None else ""
            self._error = ConnectionLost(
                f"the connection was lost before the answer was whole{told}", had_answer=self._got
            )
        self._wake()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._complete:
            # Nobody asked for it: what it answers is unknown, so nothing after it can be trusted.
            self._surplus = True
            if self._transport is not None:
                self._transport.close()
            return
        self._got = True
        self._head_bytes += len(data)  # on_body() takes it back to 0: trailers and chunk extensions are bounded too.
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if self._complete:
                self._surplus = True
            else:
                self._fail(exc.__context__ if isinstance(exc.__context__, BadAnswer) else BadAnswer(_words(exc)))
            return
        if self._head_request and self._complete and not data.endswith(b"\r\n\r\n"):
            # Of a body that must not be there the parser tells only whole pieces.
            self._surplus = True
        if self._head_bytes > self._max_head_bytes and not self._complete:
            self._fail(BadAnswer(f"the head of the answer is larger than {self._max_head_bytes} bytes"))
        elif self._unread > UNREAD_HIGH_BYTES and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    # httptools.HttpResponseParser.

    def on_message_begin(self) -> None:
        if self._final:
            self._surplus = True  # A second answer to one request, be it only the first bytes of one.

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._final:
            return  # A trailer.
        name = name.lower()
        if name == b"content-length":
            self._content_length = int(value)
        elif name == b"transfer-encoding":
            if self._transfer_encoding is not None or value.lower() != b"chunked":
                raise BadAnswer(f"the answer has a Transfer-Encoding other than chunked: {value[:40]!r}")
            self._transfer_encoding = value
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._final:
            return
        if len(self._headers) > self._max_headers:
            raise BadAnswer(f"the answer has more than {self._max_headers} headers")
        if _CONTROL.search(self._reason):
            raise BadAnswer("the reason phrase of the answer holds a control byte")
        status = self._parser.get_status_code()
        chunked = self._transfer_encoding is not None
        head = ResponseHead(
            status, self._reason, self._headers, self._parser.should_keep_alive(), self._content_length, chunked
        )
        self._headers, self._reason = [], b""
        self._content_length = self._transfer_encoding = None
        if status < 200:
            if status < 100 or status == 101:
                raise BadAnswer(f"the answer has status {status}, which nobody asked for")
            if self._on_interim is not None:
                self._on_interim(head)
                return
        else:
            self._final = True
            self._keep_alive = head.keep_alive
            if self._head_request or status in _NO_BODY_STATUS:
                self._complete = self._head_request
            else:
                self._close_delimited = not chunked and head.content_length is None
        self._heads.append(head)
        self._wake()

    def on_body(self, chunk: bytes) -> None:
        if self._complete:
            self._surplus = True
            return
        self._chunks.append(chunk)
        self._head_bytes = 0
        self._unread += len(chunk)
        if self._read_waiter is not None:
            self._wake()

    def on_message_complete(self) -> None:
        if self._final and not self._complete:
            self._complete = True
            self._wake()

    # Inside.

    async def _wait(self) -> None:
        self._read_waiter = self._loop.create_future()
        try:
            await self._read_waiter
        finally:
            self._read_waiter = None

    def _wake(self) -> None:
        waiter = self._read_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._complete or self._error is not None:
            waiter = self._drain_waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _consumed(self, count: int) -> None:
        self._unread -= count
        if self._reading_paused and self._unread <= UNREAD_LOW_BYTES:
            self._reading_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._transport is not None:
            self._transport.abort()
        self._wake()


def _words(exc: Exception) -> str:
    return f"the answer is not HTTP/1.1: {exc}"
