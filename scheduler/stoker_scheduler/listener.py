"""The HTTP side of the extender, on the loopback address of its pod: only the kube-scheduler beside it can call."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from stoker.metrics import EXTENDER_SECONDS, MetricsSink
from stoker_scheduler.extender import Extender
from stoker_scheduler.protocol import Arguments, FilterResult

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
MAX_BODY_BYTES = 32 * 2**20
"""5,000 node names and a pod are well below 1 MiB."""


class Listener:
    """`await start(port)`, `await stop()`."""

    def __init__(self, extender: Extender, metrics: MetricsSink, clock_us: Callable[[], int]) -> None:
        self.port = 0
        self._extender = extender
        self._metrics = metrics
        self._clock_us = clock_us
        self._decoder = msgspec.json.Decoder(Arguments)
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Listen; port 0 takes a free one. Raises OSError."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/filter", self._on_filter)
        app.router.add_post("/prioritize", self._on_prioritize)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _on_filter(self, request: web.Request) -> web.Response:
        arguments = await self._arguments(request)
        if arguments is None:
            # kube-scheduler retries a pod whose extender reports an error; a status would say less.
            return _json(FilterResult(error="Stoker's extender could not read the request; see its log."))
        return _json(self._timed("filter", lambda: self._extender.filter(arguments)))

    async def _on_prioritize(self, request: web.Request) -> web.Response:
        arguments = await self._arguments(request)
        if arguments is None:
            return web.Response(status=400, text="the request could not be read\n")
        return _json(self._timed("prioritize", lambda: self._extender.prioritize(arguments)))

    async def _arguments(self, request: web.Request) -> Arguments | None:
        body = await request.read()
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            log.warning("extender_request_unreadable", path=request.path, error=str(error))
            return None

    def _timed(self, verb: str, call: Callable[[], Any]) -> Any:
        begin_us = self._clock_us()
        answer = call()
        self._metrics.observe(EXTENDER_SECONDS, (self._clock_us() - begin_us) / 1e6, verb)
        return answer


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), headers={"Content-Type": "application/json"})
