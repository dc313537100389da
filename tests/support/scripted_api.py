"""An API server that answers from a script: for faults that a real one cannot be made to produce.

Each request takes the next answer for its kind (list, watch, or a method and path); the last one stays. What was asked
is kept in `requests`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web
from msgspec import Struct

from stoker_runtime.kube.config import KubeConfig

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked(Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedApi:
    """`async with ScriptedApi() as api: api.script("GET /api/v1/pods", answer, answer)`."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.config = KubeConfig(server="http://127.0.0.1:0")
        self._scripts: dict[str, list[Answer]] = {}
        self._runner: web.AppRunner | None = None

    def script(self, what: str, *answers: Answer) -> None:
        """`what` is `METHOD /path`, or `WATCH /path`."""
        self._scripts[what] = list(answers)

    def asked(self, what: str) -> list[Asked]:
        return [one for one in self.requests if _name(one.method, one.path, one.query) == what]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.001)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.config = KubeConfig(server=f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method, request.path, dict(request.query), dict(request.headers), await request.content.read()
        )
        self.requests.append(asked)
        answers = self._scripts.get(_name(asked.method, asked.path, asked.query), [failing(404, "NotFound")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request)


def _name(method: str, path: str, query: dict[str, str]) -> str:
    return f"WATCH {path}" if query.get("watch") == "true" else f"{method} {path}"


def ok(content: Any, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=status)

    return answer


def failing(status: int, reason: str = "", message: str = "no", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        content = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return web.json_response(content, status=status, headers=named)

    return answer


def garbage(body: bytes = b"<html>not an API</html>", status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type="text/html")

    return answer


def cut_off() -> Answer:
    """The connection ends without an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer


def hanging(seconds: float = 60.0) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response()

    return answer


def stream(*pieces: bytes, then: str = "end", opened: asyncio.Event | None = None) -> Answer:
    """A watch that sends these pieces and then ends, hangs, or breaks off (`then`: end, hang, break)."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if opened is not None:
            opened.set()
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.005)  # so that pieces arrive apart
        if then == "hang":
            await asyncio.sleep(60)
        if then == "break":
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def thing(name: str, version: int, *, namespace: str = "a", uid: str = "", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, **more}


def listing(version: int, *items: dict[str, Any], rest: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": rest}, "items": list(items) or None}


def event(kind: str, content: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": content}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Thing", "metadata": {"resourceVersion": str(version)}})


def error_event(code: int, reason: str) -> bytes:
    return event("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "too old"})
