"""Some HTTP routes on one address, for tools and for Stoker's own processes.

Requests of functions come in elsewhere, by servers that are made for them. Knows nothing of what is answered.
"""

from collections.abc import Sequence
from ssl import SSLContext

from aiohttp import web


class HttpListener:
    """`await start(...)`, `await stop()`; `port` is what it listens on, 0 before it does."""

    def __init__(self, routes: Sequence[web.RouteDef], *, max_body: int = 1024, streams: bool = False) -> None:
        """`streams`: a handler ends when its reader hangs up."""
        self.port = 0
        self._routes = routes
        self._max_body = max_body
        self._streams = streams
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, ssl: SSLContext | None = None) -> None:
        """Listen; port 0 takes a free one. Raises OSError where the address cannot be had."""
        app = web.Application(client_max_size=self._max_body)
        app.router.add_routes(self._routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=self._streams)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=ssl, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
