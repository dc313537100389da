"""One HTTP exchange with the API server: connections, timeouts, credentials, and what may be tried again.

Knows verbs and statuses, and nothing of objects.
"""

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Literal
from weakref import WeakSet

import aiohttp
import structlog
from aiohappyeyeballs import AddrInfoType
from msgspec import Struct
from yarl import URL

from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.credentials import Credentials
from stoker_runtime.kube.errors import (
    ApiError,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    error_of,
)

log = structlog.get_logger(__name__)

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Parameters = Mapping[str, str]

JSON = "application/json"

_CLOSE_TURNS = 50
"""A quarter of a second at most."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of all requests of a process."""

    timeout_s: float = 15.0
    """Seconds that one try may take in all, unless the call says otherwise."""
    connect_s: float = 5.0
    tries: int = 4
    """Tries of a read. A write has so many only where it was refused before it was begun (429)."""
    wait_s: float = 10.0
    """Longest pause that a `Retry-After` may ask for; a longer one is the caller's to keep."""
    in_flight: int = 32
    """Requests at once, watches apart. More would only queue in the server, which sheds by 429."""
    backoff: Backoff = Backoff(first_s=0.1, most_s=2.0)


class Call(Struct, frozen=True):
    """One request."""

    method: Method
    path: str
    parameters: Parameters | None = None
    body: bytes | None = None
    content_type: str = JSON
    timeout_s: float | None = None
    """Seconds that one try may take; None: as the limits say."""

    @property
    def what(self) -> str:
        """How errors name it."""
        return f"{self.method} {self.path}"


class Transport:
    """Requests to one API server over kept connections. Made on the loop that uses it; `close` it in the end."""

    def __init__(
        self, config: KubeConfig, *, user_agent: str, rng: Random | None = None, limits: Limits | None = None
    ) -> None:
        self.config = config
        self.limits = limits or Limits()
        self._rng = rng or Random()  # noqa: S311  jitter, no secret
        self._credentials = Credentials(config)
        self._room = asyncio.Semaphore(self.limits.in_flight)
        self._base = URL(config.server)
        self._prefix = self._base.raw_path.rstrip("/")
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0, socket_factory=self._new_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not compressed: inflating a list costs this process more than the bytes cost a cluster's network.
            headers={"User-Agent": user_agent, "Accept": JSON, "Accept-Encoding": "identity"},
            read_bufsize=256 * 1024,
        )

    async def close(self) -> None:
        """Close all connections; running calls end with Unreachable."""
        await self._session.close()
        # One that was cut off amid its TLS handshake takes some turns of the loop, which may be about to end.
        for _ in range(_CLOSE_TURNS):
            if all(sock.fileno() < 0 for sock in tuple(self._sockets)):
                return
            await asyncio.sleep(0.005)

    async def call(self, call: Call) -> bytes:
        """The body of the answer. Raises ApiError, Unreachable, BadKubeConfig.

        Reads are tried again after what time may heal; writes only after 429, which says that nothing was done.
        After a 401 the token is read again, and if it is another one, the request goes out once more.
        """
        read = call.method == "GET"
        failures = 0
        token_renewed = False
        while True:
            error: ApiError | Unreachable
            asked_s = 0.0
            try:
                return await self.once(call)
            except Unauthorized:
                if token_renewed or not self._credentials.refused():
                    raise
                token_renewed = True
                continue
            except (TooManyRequests, ServerFailed) as exc:
                # A 429 without a time is an eviction that a budget forbids, perhaps for hours: not ours to wait.
                if not read and (exc.retry_after_s is None or exc.status != 429):
                    raise
                error, asked_s = exc, exc.retry_after_s or 0.0
            except Unreachable as exc:
                if not read:
                    raise
                error = exc
            failures += 1
            if failures >= self.limits.tries or asked_s > self.limits.wait_s:
                raise error
            pause_s = asked_s + self.limits.backoff.pause_s(failures - 1, self._rng)
            log.debug("kube_retry", call=call.what, error=str(error), pause_s=round(pause_s, 3))
            await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def stream(
        self, path: str, parameters: Parameters, *, silence_s: float, timeout_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A GET whose answer comes in pieces over minutes. Ends with Unreachable after `silence_s` without a byte,
        or after `timeout_s` in all. Raises as `call`, and is never tried again by itself.
        """
        call = Call("GET", path, parameters)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=self.limits.connect_s, sock_read=silence_s)
        with _as_unreachable(call.what):
            async with self._request(call, timeout) as response:
                if response.status != 200:
                    error = error_of(call.what, response.status, response.headers, await response.read())
                    if response.status == 401:
                        self._credentials.refused()
                    raise error
                yield response.content.iter_any()

    async def once(self, call: Call) -> bytes:
        """One try. Raises as `call`."""
        total_s = self.limits.timeout_s if call.timeout_s is None else call.timeout_s
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=min(self.limits.connect_s, total_s))
        async with self._room:
            with _as_unreachable(call.what):
                async with self._request(call, timeout) as response:
                    answer: bytes = await response.read()
                    status, headers = response.status, response.headers
        if 200 <= status < 300:
            return answer
        raise error_of(call.what, status, headers, answer)

    def _request(self, call: Call, timeout: aiohttp.ClientTimeout) -> Any:
        headers = {}
        if authorization := self._credentials.authorization():
            headers["Authorization"] = authorization
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        url = self._base.with_path(self._prefix + call.path, encoded=True)
        if call.parameters:
            url = url.with_query(call.parameters)
        tls = self._credentials.tls()
        return self._session.request(
            call.method,
            url,
            headers=headers,
            data=call.body,
            timeout=timeout,
            ssl=True if tls is None else tls,
            server_hostname=self.config.tls_server_name or None,
            # A redirect would carry the token to wherever it points.
            allow_redirects=False,
        )

    def _new_socket(self, address: AddrInfoType) -> socket.socket:
        sock = _kept_alive_socket(address)
        self._sockets.add(sock)
        return sock


class _as_unreachable:  # noqa: N801  reads as what it does
    """Turns what aiohttp and the sockets raise into Unreachable."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(exc, TimeoutError):
            raise Unreachable(f"{self._what} was not answered in time.") from exc
        if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            raise Unreachable(
                f"{self._what}: the server's certificate is not one to trust ({exc}); check the authority.", unsent=True
            ) from exc
        if isinstance(exc, aiohttp.ClientConnectorError):
            raise Unreachable(f"{self._what}: no connection ({exc.os_error}).", unsent=True) from exc
        if isinstance(exc, aiohttp.ClientError | OSError | ssl.SSLError):
            raise Unreachable(f"{self._what}: the connection broke ({exc or type(exc).__name__}).") from exc
        if isinstance(exc, RuntimeError) and "closed" in str(exc):
            raise Unreachable(f"{self._what}: this client is closed.", unsent=True) from exc


def _kept_alive_socket(address: AddrInfoType) -> socket.socket:
    """A socket on which the kernel notices a peer that vanished (a node without power sends no FIN) in 30 s."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return sock
