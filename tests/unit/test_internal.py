"""The internal listener shows what it is given, and says plainly when it cannot."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from stoker.decisions import RequestRecord
from stoker_runtime.internal import Internal

pytestmark = pytest.mark.unit


class World:
    unready: str | None = None


def broken(_: Any) -> Any:
    raise ZeroDivisionError


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def internal(world: World) -> AsyncIterator[Internal]:
    record = RequestRecord(id="r-1", function="default/ocr", arrived_at="2026-01-01T00:00:00Z")
    internal = Internal(
        metrics=lambda: b"stoker_up 1\n",
        unready=lambda: world.unready,
        routes={
            "/v1/state": lambda _: {"uptimeS": 1},
            "/v1/requests/{id}": lambda path: record if path["id"] == record.id else None,
            "/v1/broken": broken,
        },
    )
    await internal.start()
    yield internal
    await internal.stop()
    await internal.stop()


async def get(internal: Internal, path: str) -> tuple[int, str, str]:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{internal.port}{path}") as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_metrics_are_prometheus_text(internal: Internal) -> None:
    status, kind, text = await get(internal, "/metrics")
    assert (status, text) == (200, "stoker_up 1\n")
    assert kind.startswith("text/plain; version=0.0.4")


async def test_readiness_says_why_not_while_health_stays_good(internal: Internal, world: World) -> None:
    assert (await get(internal, "/readyz"))[0] == 200
    world.unready = "The load stream of the agent is silent."
    status, _, text = await get(internal, "/readyz")
    assert (status, text) == (503, "The load stream of the agent is silent.\n")
    assert (await get(internal, "/healthz"))[0] == 200


async def test_json_routes_answer_structs_dictionaries_and_404(internal: Internal) -> None:
    assert (await get(internal, "/v1/state"))[2] == '{"uptimeS":1}'
    assert '"arrivedAt":"2026-01-01T00:00:00Z"' in (await get(internal, "/v1/requests/r-1"))[2]
    assert (await get(internal, "/v1/requests/r-2"))[0] == 404


async def test_a_broken_route_is_500_and_the_others_go_on(internal: Internal) -> None:
    status, _, text = await get(internal, "/v1/broken")
    assert status == 500
    assert "/v1/broken" in text
    assert (await get(internal, "/healthz"))[0] == 200


async def test_a_port_that_is_taken_raises_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        internal = Internal(metrics=bytes, unready=lambda: None)
        with pytest.raises(OSError, match="in use"):
            await internal.start(port=taken.getsockname()[1])
        await internal.stop()
