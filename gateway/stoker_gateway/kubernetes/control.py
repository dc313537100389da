"""The operator's port on a gateway: the stream of demand. mTLS; only the operator gets through.

The first wake after a pause is told at once, later ones coalesced; that a request came for a function that is warm
anyway may wait a little, because there are thousands of those a second.
"""

from collections.abc import Callable
from ssl import SSLContext

import msgspec
from aiohttp import web

from stoker.wire.cluster import DEMAND_MIN_INTERVAL_S, DEMAND_PATH, HEARTBEAT_S, DemandFrame
from stoker_runtime.snapshot_feed import SnapshotFeed

LOAD_WITHIN_S = 0.2

_ENCODER = msgspec.json.Encoder()


class Control:
    """The listener. `frame` makes the line of a number."""

    def __init__(self, frame: Callable[[int], DemandFrame]) -> None:
        self._feed = SnapshotFeed(lambda seq: _ENCODER.encode(frame(seq)), DEMAND_MIN_INTERVAL_S, HEARTBEAT_S)
        self._runner: web.AppRunner | None = None
        self.port = 0

    def woken(self) -> None:
        """Somebody woke something, waits, or waits no longer."""
        self._feed.changed()

    def loaded(self) -> None:
        """A request came for a function that is warm."""
        self._feed.changed(within_s=LOAD_WITHIN_S)

    @property
    def readers(self) -> int:
        """How many follow the demand now: the operator's leader, or nobody."""
        return self._feed.readers

    async def start(self, host: str, port: int, ssl: SSLContext | None) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        app = web.Application(client_max_size=1024)
        app.router.add_get(DEMAND_PATH, self._feed.handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=ssl, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """End the streams and close; a second call does nothing."""
        self._feed.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
