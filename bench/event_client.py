"""Reads server-sent events whose data is the time they left, and says how long they took.

Run as a program of its own on the load's core (`read` does that): `python -m bench.event_client URL STREAMS SECONDS`.
Each stream is asked for again when it has ended, until the time is over. Knows nothing of HTTP but where a head ends.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from bench.load import LOAD_CPU

_EVENT = re.compile(rb"data: (\d+)\n\n")
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Streams:
    """What was read. Milliseconds; delay is from an event's leaving to its coming."""

    events: int
    events_per_s: float
    first_p50_ms: float
    """From the request to its first event."""
    delay_p50_ms: float
    delay_p99_ms: float
    errors: int


def read(url: str, streams: int, seconds: float) -> Streams:
    """Read so many streams at once for so long."""
    argv = ["taskset", "-c", LOAD_CPU, sys.executable, "-m", "bench.event_client", url, str(streams), str(seconds)]
    return Streams(**json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout))


class Stream(asyncio.Protocol):
    """One connection that asks for one stream after the other."""

    def __init__(self, request: bytes, count: int, until_ns: int) -> None:
        self.first_ns: list[int] = []
        self.delays_ns: list[int] = []
        self.errors = 0
        self.last_ns = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._count = count
        self._left = 0
        self._counted = False
        """The answer came whole, with a Content-Length: no last chunk ends it."""
        self._until_ns = until_ns
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._asked_ns = 0
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  that it went is what counts
        if not self.over.done():
            self.errors += 1
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        data = self._rest + data
        end = 0
        for event in _EVENT.finditer(data):
            if not self._begun:
                self._begun = True
                self.first_ns.append(now_ns - self._asked_ns)
                self._counted = b"content-length" in data[: event.start()].lower()
                if b" 200 " not in data[:20]:
                    self.errors += 1
            self.delays_ns.append(now_ns - int(event[1]))
            self.last_ns = now_ns
            self._left -= 1
            end = event.end()
        self._rest = data[end:]
        # The last chunk comes with the last event or by itself; also behind a frame's own CRLF.
        if self._begun and (not self._left if self._counted else self._rest.endswith(_LAST_CHUNK)):
            if now_ns < self._until_ns:
                self._ask()
            else:
                self._end()

    def _ask(self) -> None:
        assert self._transport is not None
        self._rest, self._begun, self._left, self._asked_ns = b"", False, self._count, time.monotonic_ns()
        self._transport.write(self._request)

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        if self._transport is not None:
            self._transport.abort()


async def main(url: str, streams: int, seconds: float) -> Streams:
    parts = urlsplit(url)
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    count = int(parse_qs(parts.query)["count"][0])
    begin_ns = time.monotonic_ns()
    until_ns = begin_ns + round(seconds * 1e9)
    loop = asyncio.get_running_loop()
    made = [
        (
            await loop.create_connection(
                lambda: Stream(request, count, until_ns), parts.hostname or "", parts.port or 80
            )
        )[1]
        for _ in range(streams)
    ]
    await asyncio.wait([stream.over for stream in made], timeout=seconds + 30)
    delays = sorted(delay for stream in made for delay in stream.delays_ns)
    first = sorted(first for stream in made for first in stream.first_ns)
    took_s = max(1, max(stream.last_ns for stream in made) - begin_ns) / 1e9
    return Streams(
        events=len(delays),
        events_per_s=len(delays) / took_s,
        first_p50_ms=_quantile_ms(first, 0.5),
        delay_p50_ms=_quantile_ms(delays, 0.5),
        delay_p99_ms=_quantile_ms(delays, 0.99),
        errors=sum(stream.errors for stream in made) + sum(not stream.over.done() for stream in made),
    )


def _quantile_ms(ordered_ns: list[int], share: float) -> float:
    return ordered_ns[min(len(ordered_ns) - 1, int(len(ordered_ns) * share))] / 1e6 if ordered_ns else 0.0


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))))
