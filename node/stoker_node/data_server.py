"""The agent's listener for gateways: HTTP/1.1 on httptools, one exchange at a time per connection.

Its peers are trusted (gateways, told apart by mTLS where that is on), so a peer that breaks the protocol is cut off.
On the way in nothing here waits: a request is parsed, judged and queued in the callback that received it. A body
that nobody may send on yet is buffered up to DISPATCH_BYTES, then reading stops.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
from msgspec import Struct

from stoker.reasons import Reason
from stoker.wire.agent import (
    ADMIT_PATH,
    DISPATCH_BYTES,
    GRANT_TTL_S,
    INLINE_BYTES,
    LOAD_PATH,
    RUN_PREFIX,
    Refusal,
    refuse,
)
from stoker_node.admission import Admission, Ask
from stoker_node.answers import granted, processing, refusal_bytes
from stoker_node.call import Call, Phase
from stoker_node.dispatch import Dispatcher
from stoker_node.load_stream import LoadStream
from stoker_runtime.hang_ups import hung_up
from stoker_runtime.http_head import HOP_BY_HOP, named_by_connection

MAX_HEAD_BYTES = 128 * 1024
"""More than any head that a gateway lets through."""
LINGER_S = 1.0
"""How long the rest of a refused body is read, so that the peer sees the answer and not a reset."""

_RUN = RUN_PREFIX.encode()
_ADMIT = ADMIT_PATH.encode()
_LOAD = LOAD_PATH.encode()
_DROPPED = HOP_BY_HOP | {b"expect", b"content-length"}
_PASSED = b"stoker-request-id"


class DataService(Struct, frozen=True):
    """What all connections of one agent share."""

    admission: Admission
    dispatcher: Dispatcher
    load: LoadStream
    clock_us: Callable[[], int]
    connections: set["DataConnection"]
    hang_up_poll_s: float


class _Grant(Struct, frozen=True):
    """An admission whose request has not come yet."""

    ask: Ask
    exec_us: int
    expiry: asyncio.TimerHandle


class DataConnection(asyncio.Protocol):
    """One connection of a gateway."""

    def __init__(self, service: DataService) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._grant: _Grant | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._in_head = True
        self._message_complete = True
        self._closing = False
        self._reading_paused = False
        self._hang_up_poll: asyncio.TimerHandle | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._streaming = False
        self.write_paused = False
        self.request_id = ""
        self._redemption = ""
        """What came of the place that the request named (stoker.slots.places.Redemption)."""

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it went changes nothing
        self._transport = None
        self._closing = True
        self._service.connections.discard(self)
        self._stop_polling()
        self._drop_grant()
        if self._streaming:
            self._service.load.remove(self)
        self.resume_writing()
        call, self._call = self._call, None
        if call is not None:
            self._service.dispatcher.gone(call)

    def data_received(self, data: bytes) -> None:
        if self._closing or self._streaming:
            return  # the rest of a refused body, or noise on a stream
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as err:
            self._malformed(f"the request is not HTTP/1.1: {err}")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._malformed(f"the head of the request is larger than {MAX_HEAD_BYTES} bytes")
            return
        call = self._call
        if call is None:
            return
        if call.phase is Phase.RECEIVING:
            if call.eligible:
                self._service.dispatcher.submit(call)
            else:
                self._service.dispatcher.promise(call)
        if call.body_buffered >= DISPATCH_BYTES and not call.body_complete and not self._reading_paused:
            self._pause()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)
        if self._streaming and not self._closing:
            self._service.load.caught_up(self)

    # httptools.HttpRequestParser.

    def on_message_begin(self) -> None:
        if self._call is not None or not self._message_complete:
            # Also keeps what comes behind an answered request from being taken for a new one.
            raise _Pipelined
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._in_head = True
        self._message_complete = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else: a trailer
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        url, method = self._url, self._parser.get_method()
        if url.startswith(_RUN) and url[len(_RUN) : len(_RUN) + 1] in (b"/", b"?", b""):
            self._run(method, url[len(_RUN) :])
        elif url == _ADMIT and method == b"POST":
            self.write(self._admit())
        elif url == _LOAD and method == b"GET":
            self._streaming = True
            self._service.load.add(self)
        else:
            detail = f"an agent answers {ADMIT_PATH}, {RUN_PREFIX}/ and {LOAD_PATH} only"
            self._refuse_head(refuse(Reason.FUNCTION_NOT_FOUND, detail), large=True, method=method)

    def on_body(self, chunk: bytes) -> None:
        if self._call is not None:
            self._call.add_body(chunk)

    def on_message_complete(self) -> None:
        self._message_complete = True
        if self._call is not None:
            self._call.end_body()

    # What the dispatcher and the hop use. None of it raises once the gateway has gone.

    def acknowledge(self) -> None:
        """Say that the request is dispatched now."""
        self._stop_polling()
        if self._transport is not None:
            self._transport.write(processing(self._redemption))

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def writable(self) -> None:
        """Wait until the gateway has read on, or has gone."""
        if self.write_paused and self._transport is not None:
            self._write_waiter = self._loop.create_future()
            try:
                await self._write_waiter
            finally:
                self._write_waiter = None

    def body_taken(self) -> None:
        """The buffered body was sent on: read more."""
        if self._reading_paused:
            self._reading_paused = False
            if self._transport is not None and not self._closing:
                self._transport.resume_reading()

    def refuse(self, call: Call, refusal: Refusal, *, dispatched: bool) -> None:
        """Answer a call by the agent itself."""
        bodiless = call.head.startswith(b"HEAD ")
        refusal.redemption = self._redemption
        self.write(refusal_bytes(refusal, dispatched=dispatched, close=not self._message_complete, bodiless=bodiless))
        self.finish(call)

    def finish(self, call: Call) -> None:
        """The answer of the call is written whole: the next request may come, if this one's body is all here."""
        assert self._call is call
        self._call = None
        self._stop_polling()
        if not self._message_complete:
            self._linger()

    def abort(self) -> None:
        """Cut the connection, so that a begun answer cannot be taken for a whole one."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close after what was written; the agent stops."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    # Inside.

    def _run(self, method: bytes, target: bytes) -> None:
        if not target.startswith(b"/"):
            target = b"/" + target
        lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
        ours: dict[bytes, bytes] = {}
        hop_only: frozenset[bytes] = frozenset()
        content_length: int | None = None
        chunked = False
        for name, value in self._headers:
            lower = name.lower()
            if lower.startswith(b"stoker-"):
                ours[lower] = value
                if lower == _PASSED:
                    lines.append(b"%b: %b\r\n" % (name, value))
            elif lower == b"transfer-encoding":
                chunked = True
            elif lower not in _DROPPED:
                lines.append(b"%b: %b\r\n" % (name, value))
            elif lower == b"content-length":
                content_length = int(value)
            elif lower == b"connection":
                hop_only = named_by_connection(value)
        if hop_only:
            lines[1:] = [line for line in lines[1:] if line.partition(b":")[0].lower() not in hop_only]
        service = self._service
        now_us = service.clock_us()
        ask = service.admission.ask(ours, now_us)
        grant = self._take_grant(ask)
        refusal = ask if isinstance(ask, Refusal) else None
        if isinstance(ask, Ask):
            self.request_id = ask.request.id
            if grant is not None:
                # The admission was the arrival, and what it promised holds; the objective and the timeout are as fresh
                # as the request.
                ask.keep(grant.ask)
            else:
                refusal = service.admission.judge(ask, now_us)
            self._redemption = "" if ask.redemption is None else ask.redemption.value
        if refusal is not None:
            self._refuse_head(refusal, large=chunked or (content_length or 0) > INLINE_BYTES, method=method)
            return
        assert isinstance(ask, Ask)
        self._call = Call(
            self,
            ask.function,
            ask.flow,
            ask.request,
            b"".join(lines),
            profiled=ask.profiled,
            estimated=ask.estimated,
            chunked=chunked,
            content_length=content_length,
        )
        service.dispatcher.open(self._call)
        if grant is not None:
            service.dispatcher.promise(self._call)

    def _refuse_head(self, refusal: Refusal, *, large: bool, method: bytes) -> None:
        """Refuse before the body: a small one is read off so that the connection stays, a large one is not."""
        self.write(refusal_bytes(refusal, dispatched=False, close=large, bodiless=method == b"HEAD"))
        if large:
            self._linger()

    def _admit(self) -> bytes:
        ours = {lower: value for name, value in self._headers if (lower := name.lower()).startswith(b"stoker-")}
        service = self._service
        now_us = service.clock_us()
        self._drop_grant()
        ask = service.admission.ask(ours, now_us)
        refusal = ask if isinstance(ask, Refusal) else service.admission.judge(ask, now_us)
        if refusal is not None:
            return refusal_bytes(refusal, dispatched=False, close=False)
        assert isinstance(ask, Ask)
        exec_us = ask.request.predicted_exec_us
        ask.flow.promised_us += exec_us
        expiry = self._loop.call_later(GRANT_TTL_S, self._drop_grant)
        self._grant = _Grant(ask, exec_us, expiry)
        return granted("" if ask.redemption is None else ask.redemption.value)

    def _take_grant(self, ask: Ask | Refusal) -> _Grant | None:
        """The grant that was given for this very request, if it still holds. Any request ends a grant."""
        grant = self._grant
        if grant is None:
            return None
        self._drop_grant()
        if isinstance(ask, Refusal) or ask.request.id != grant.ask.request.id or ask.flow is not grant.ask.flow:
            return None
        return grant

    def _drop_grant(self) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            grant.expiry.cancel()
            grant.ask.flow.promised_us -= grant.exec_us

    def _pause(self) -> None:
        self._reading_paused = True
        if self._transport is not None:
            self._transport.pause_reading()
            if self._call is not None and self._call.phase is not Phase.RUNNING and self._hang_up_poll is None:
                self._hang_up_poll = self._loop.call_later(self._service.hang_up_poll_s, self._poll_hang_up)

    def _poll_hang_up(self) -> None:
        """While nothing is read the loop does not notice that the gateway left: ask the kernel."""
        self._hang_up_poll = None
        if self._transport is None or not self._reading_paused:
            return
        if hung_up(self._transport):
            self._transport.abort()
        else:
            self._hang_up_poll = self._loop.call_later(self._service.hang_up_poll_s, self._poll_hang_up)

    def _stop_polling(self) -> None:
        if self._hang_up_poll is not None:
            self._hang_up_poll.cancel()
            self._hang_up_poll = None

    def _linger(self) -> None:
        """The answer is written and said that the connection ends: read off what still comes for a moment."""
        self.body_taken()
        self._closing = True
        self._loop.call_later(LINGER_S, self.close)

    def _malformed(self, detail: str) -> None:
        call, self._call = self._call, None
        if call is not None:
            # Two answers on one connection would be worse than none.
            self.abort()
            self._service.dispatcher.gone(call)
            return
        self.write(refusal_bytes(refuse(Reason.MALFORMED_REQUEST, detail), dispatched=False, close=True))
        self._linger()


class _Pipelined(Exception):  # noqa: N818  raised into the parser, which stops on it
    """A request came before the answer to the one before was whole."""
