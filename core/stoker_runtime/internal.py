"""The internal listener: /metrics, /healthz, /readyz, and JSON routes that the composer hands in.

For operators and the command line, on an address that tenants cannot reach. Knows nothing of what it shows.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web

from stoker_runtime.http_listener import HttpListener
from stoker_runtime.metrics import CONTENT_TYPE

log = structlog.get_logger(__name__)

JsonRoute = Callable[[Mapping[str, str]], Any]
"""Gets the parts of the path (`/v1/requests/{id}` -> {"id": ...}); its result is sent as JSON, None is 404."""


class Internal(HttpListener):
    """Handlers run on the loop and must be short."""

    def __init__(
        self,
        *,
        metrics: Callable[[], bytes],
        unready: Callable[[], str | None],
        routes: Mapping[str, JsonRoute] | None = None,
        refresh: Callable[[], None] | None = None,
    ) -> None:
        """`unready` says in one sentence why no request should be sent here now; None means ready. `refresh` is called
        on the loop before `metrics`, which is not, to set what nobody sets when it changes.
        """
        super().__init__(
            [
                web.get("/metrics", self._on_metrics),
                web.get("/healthz", self._on_health),
                web.get("/readyz", self._on_ready),
                *(web.get(path, _json_handler(route)) for path, route in (routes or {}).items()),
            ]
        )
        self._metrics = metrics
        self._unready = unready
        self._refresh = refresh

    async def _on_metrics(self, _: web.Request) -> web.Response:
        if self._refresh is not None:
            try:
                self._refresh()
            except Exception:
                # The others are still true, and missing ones are noticed.
                log.exception("metrics_not_refreshed")
        # Thousands of series take tens of milliseconds to write out: not on the loop that serves the requests.
        body = await asyncio.to_thread(self._metrics)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _on_health(self, _: web.Request) -> web.Response:
        # Answering at all is the proof: this handler runs on the loop that serves the requests.
        return web.Response(text="ok\n")

    async def _on_ready(self, _: web.Request) -> web.Response:
        reason = self._unready()
        return web.Response(text="ready\n") if reason is None else web.Response(text=f"{reason}\n", status=503)


def _json_handler(route: JsonRoute) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        try:
            answer = route(request.match_info)
            body = msgspec.json.encode(answer)
        except Exception:
            # One broken view must say so and leave the others, and the platform, alone.
            log.exception("internal_route_failed", path=request.path)
            return _json(500, {"error": f"{request.path} could not be computed; the log says why."})
        return _json(404, {"error": f"{request.path} is not known here."}) if answer is None else _json(200, body)

    return handle


def _json(status: int, content: Any) -> web.Response:
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json"})
