"""A pooled, streaming HTTP/1.1 client for the hops inside the platform (gateway to agent, agent to replica).

Written because those hops need what general clients hide: interim answers (102 before a dispatch), an early final
answer while the body is still being sent, connections that survive a refusal, and little CPU. It knows HTTP framing
and nothing of Stoker: no retries, no redirects, no timeouts but that of connecting.
"""

import asyncio
from collections import deque
from ssl import SSLContext

from stoker_runtime.http_connection import HttpConnection
from stoker_runtime.http_head import BadAnswer, ConnectionLost, ResponseHead, request_head
from stoker_runtime.http_limits import MAX_HEAD_BYTES, MAX_HEADERS, UNREAD_HIGH_BYTES

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "UNREAD_HIGH_BYTES",
    "BadAnswer",
    "ConnectFailed",
    "ConnectionLost",
    "HttpConnection",
    "HttpPool",
    "ResponseHead",
    "request_head",
]


class ConnectFailed(ConnectionError):  # noqa: N818  the name states the fact
    """No connection could be opened: nothing was sent."""


class HttpPool:
    """Connections to one peer. The last one released is the next one used, so that surplus ones grow old and go."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: SSLContext | None = None,
        max_idle: int = 256,
        idle_s: float = 30.0,
        server_hostname: str | None = None,
        max_head_bytes: int = MAX_HEAD_BYTES,
        max_headers: int = MAX_HEADERS,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._idle: deque[HttpConnection] = deque()
        self._all: set[HttpConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def acquire(self, *, timeout_s: float = 5.0) -> HttpConnection:
        """An idle connection, or a new one. Raises ConnectFailed."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.gone():
                connection.reused = True
                return connection
            connection.close()
        return await self.connect(timeout_s=timeout_s)

    async def connect(self, *, timeout_s: float = 5.0) -> HttpConnection:
        """A new connection, for a caller that met a stale one. Raises ConnectFailed."""
        if self._closed:
            raise ConnectFailed(f"the pool to {self._host}:{self._port} is closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(
                        self, loop, max_head_bytes=self._max_head_bytes, max_headers=self._max_headers
                    ),
                    self._host,
                    self._port,
                    ssl=self._ssl,
                    server_hostname=self._server_hostname if self._ssl is not None else None,
                )
        except TimeoutError as exc:
            raise ConnectFailed(f"{self._host}:{self._port} did not accept within {timeout_s:g} s") from exc
        except OSError as exc:
            raise ConnectFailed(f"{self._host}:{self._port} does not accept connections: {exc}") from exc
        if not connection.closing:
            self._all.add(connection)
        if self._closed:
            connection.close()
            raise ConnectFailed(f"the pool to {self._host}:{self._port} is closed")
        return connection

    async def close(self) -> None:
        """Close every connection, used ones too, and return when they are gone."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._all):
            connection.close()
        for _ in range(100):
            if not self._all:
                return
            await asyncio.sleep(0)

    def retire(self) -> None:
        """The peer is no longer to be used: exchanges under way go on to their end, and nothing new begins."""
        self._closed = True
        while self._idle:
            self._idle.popleft().close()

    @property
    def open(self) -> int:
        """How many connections there are, used and idle ones."""
        return len(self._all)

    @property
    def idle(self) -> int:
        """How many connections wait for use."""
        return len(self._idle)

    def put(self, connection: HttpConnection) -> None:
        """Called by a connection that was released and may be used again."""
        if self._closed or len(self._idle) >= self._max_idle:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_s, self._drop_old, loop)

    def forget(self, connection: HttpConnection) -> None:
        """Called by a connection that is closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _drop_old(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = None
        now_s = loop.time()
        while self._idle and now_s - self._idle[0].idle_since_s >= self._idle_s:
            self._idle.popleft().close()
        if self._idle:
            due_s = self._idle[0].idle_since_s + self._idle_s
            self._sweep = loop.call_at(due_s, self._drop_old, loop)
