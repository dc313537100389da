"""Serves a stream of JSON lines, each a whole snapshot: the other end of stoker_runtime.line_stream.

A reader gets one line at once, then one after changes (coalesced) and at least one every heartbeat. One that reads
slowly skips lines, because each says everything; one that does not read at all is dropped. So nothing is kept for a
reader but the newest line. Knows nothing of what the lines mean.
"""

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import web

from stoker.wire.cluster import STALE_S

log = structlog.get_logger(__name__)


class SnapshotFeed:
    """`snapshot` gets the line's number and gives its text without the line's end; it is called on the loop."""

    def __init__(
        self, snapshot: Callable[[int], bytes], min_interval_s: float, heartbeat_s: float, *, stall_s: float = STALE_S
    ) -> None:
        self._snapshot = snapshot
        self._min_interval_s = min_interval_s
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._readers: set[asyncio.Event] = set()
        self._seq = 0
        self._line = b""
        self._sent_s = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = float("inf")
        self._closed = False

    @property
    def readers(self) -> int:
        """How many listen now."""
        return len(self._readers)

    def changed(self, *, within_s: float = 0.0) -> None:
        """Something is different: say it as soon as the interval allows, or not later than after `within_s`.

        Cheap, and may be called often; from the loop's thread only.
        """
        if self._readers:
            now_s = asyncio.get_running_loop().time()
            self._publish_at(max(now_s + within_s, self._sent_s + self._min_interval_s))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A handler of aiohttp. Who may read is the listener's business."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        news = asyncio.Event()
        self._readers.add(news)
        try:
            # Now and for everybody: the newest line is then one for all.
            self._publish()
            while not self._closed:
                news.clear()
                try:
                    # aiohttp waits for the reader here each time 64 KiB were written: more is never kept.
                    async with asyncio.timeout(self._stall_s):
                        await response.write(self._line)
                except TimeoutError:
                    log.warning(
                        "stream_reader_dropped", path=request.path, peer=request.remote, stalled_s=self._stall_s
                    )
                    if request.transport is not None:
                        request.transport.abort()
                    break
                except ConnectionError:
                    break
                await news.wait()
        finally:
            self._readers.discard(news)
            if not self._readers:
                self._cancel()
        return response

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._cancel()
        for news in self._readers:
            news.set()

    def _publish_at(self, due_s: float) -> None:
        if due_s < self._due_s and not self._closed:
            self._cancel()
            self._due_s = due_s
            self._timer = asyncio.get_running_loop().call_at(due_s, self._publish)

    def _publish(self) -> None:
        self._cancel()
        self._sent_s = asyncio.get_running_loop().time()
        try:
            self._line = self._snapshot(self._seq + 1) + b"\n"
        except Exception:
            # What was said last would be a lie by now: readers hear nothing and treat this process as gone.
            log.exception("snapshot_failed")
        else:
            self._seq += 1
            for news in self._readers:
                news.set()
        self._publish_at(self._sent_s + self._heartbeat_s)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_s = float("inf")
