"""The HTTP side of the extender, on the loopback address of its pod: only the kube-scheduler beside it can call."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from stoker.metrics import EXTENDER_SECONDS, MetricsSink
from stoker_runtime.http_listener import HttpListener
from stoker_scheduler.extender import Extender
from stoker_scheduler.protocol import Arguments, FilterResult

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
MAX_BODY_BYTES = 32 * 2**20
"""5,000 node names and a pod are well below 1 MiB."""


class Listener(HttpListener):
    """To be started on HOST."""

    def __init__(self, extender: Extender, metrics: MetricsSink, clock_us: Callable[[], int]) -> None:
        routes = [web.post("/filter", self._on_filter), web.post("/prioritize", self._on_prioritize)]
        super().__init__(routes, max_body=MAX_BODY_BYTES)
        self._extender = extender
        self._metrics = metrics
        self._clock_us = clock_us
        self._decoder = msgspec.json.Decoder(Arguments)

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
