"""A replica that streams: `GET /events?count=N&gap_us=G` answers with N server-sent events, each the time it left.

Run as `python -m bench.event_origin PORT`. Written on bare sockets, so that it costs little beside what is measured.
The n-th event leaves n * G after the request came (not G after the one before); G 0: as fast as they are taken, each in
a turn of the loop of its own. The times are the machine's monotonic clock, which whoever reads them shares.
"""

import asyncio
import sys
import time
from collections import deque
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Origin(asyncio.Protocol):
    """One connection, one stream at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: deque[tuple[int, int]] = deque()
        self._paused = False
        self._left = self._sent = self._gap_us = 0
        self._began_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it went changes nothing
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
            self._waiting.append((int(query.get("count", ["1"])[0]), int(query.get("gap_us", ["0"])[0])))
        if not self._left:
            self._begin()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._left and not self._gap_us:
            self._loop.call_soon(self._next)

    def _begin(self) -> None:
        if self._waiting and self._transport is not None:
            self._left, self._gap_us = self._waiting.popleft()
            self._sent, self._began_s = 0, self._loop.time()
            self._transport.write(HEAD)
            self._next()

    def _next(self) -> None:
        if self._transport is None:
            return
        event = b"data: %d\n\n" % time.monotonic_ns()
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._left -= 1
        self._sent += 1
        if not self._left:
            self._transport.write(LAST_CHUNK)
            self._begin()
        elif self._gap_us:
            self._loop.call_at(self._began_s + self._sent * self._gap_us / 1e6, self._next)
        elif not self._paused:
            self._loop.call_soon(self._next)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
