"""The operator's port on a gateway: the stream of demand. mTLS; only the operator gets through.

The first wake after a pause is told at once, later ones coalesced; that a request came for a function that is warm
anyway may wait a little, because there are thousands of those a second.
"""

from collections.abc import Callable

import msgspec
from aiohttp import web

from stoker.wire.cluster import DEMAND_MIN_INTERVAL_S, DEMAND_PATH, HEARTBEAT_S, DemandFrame
from stoker_runtime.http_listener import HttpListener
from stoker_runtime.snapshot_feed import SnapshotFeed

LOAD_WITHIN_S = 0.2

_ENCODER = msgspec.json.Encoder()


class Control(HttpListener):
    """The listener. `frame` makes the line of a number."""

    def __init__(self, frame: Callable[[int], DemandFrame]) -> None:
        self._feed = SnapshotFeed(lambda seq: _ENCODER.encode(frame(seq)), DEMAND_MIN_INTERVAL_S, HEARTBEAT_S)
        super().__init__([web.get(DEMAND_PATH, self._feed.handle)], streams=True)

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

    async def stop(self) -> None:
        """End the streams and close; a second call does nothing."""
        self._feed.close()
        await super().stop()
